import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import JobError
from core.events import BatchHalved, EpochScored, FoldScored, StepDone
from core.extraction.machine import Production
from core.multimodal.config import FinetuneSettings
from core.multimodal.data import Collator, Example, make_examples
from core.multimodal.frames import encode_clips
from core.runtime.device import CPU
from core.runtime.weights import find
from core.scoring.folds import Fold
from core.workspace import Workspace
from tests.conftest import PIANO
from tests.tiny_models import tiny_encoder, tiny_text_encoder

torch = pytest.importorskip("torch")

from core.multimodal import train  # noqa: E402
from core.multimodal.fitted import build_network, find_encoders  # noqa: E402
from core.multimodal.model import AudioTextRegressor, Labels  # noqa: E402
from core.multimodal.train import Training, finish_fold, fit_fold, predict  # noqa: E402

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
FOLD = Fold(np.arange(30), np.arange(30, 40))


@pytest.fixture
def heard(tmp_path, rng):
    """Frames of 40 clips whose first number is their label, among noise."""
    examples = []
    for place in range(40):
        label = rng.normal()
        frames = 0.2 * rng.normal(size=(int(rng.integers(5, 30)), 16))
        frames[:, 0] += label
        np.save(tmp_path / f"{place}.npy", frames.astype(np.float16))
        examples.append(Example(tmp_path / f"{place}.npy", (), False, 5 + 2 * label))
    return examples


def fit(examples, folder, *, told=None, fold=FOLD, test=(), build=None, **options):
    settings = FinetuneSettings(**{"text": "none", "epochs": 4} | options)
    made = build or (lambda labels: AudioTextRegressor(settings, labels, audio_width=16))
    notify = (told if told is not None else []).append
    training = Training(examples, test, settings, made, Collator(waveforms=False), CPU)
    return fit_fold(training, fold, 0, folder=folder, notify=notify)


def test_what_can_be_heard_is_learned_and_told_of(heard, tmp_path):
    told = []
    done, network = fit(heard, tmp_path / "fold", told=told, epochs=8, patience=8, test=heard[:3])
    truth = np.array([example.label for example in heard])
    error = float(np.sqrt(np.mean((done.predictions - truth[30:]) ** 2)))
    assert error < 0.75 * truth.std()
    scored = [event for event in told if isinstance(event, EpochScored)]
    assert [event.epoch for event in scored] == list(range(1, len(scored) + 1))
    assert done.stop_rmse == min(event.rmse for event in scored)
    assert scored[round(done.epoch) - 1].rmse == done.stop_rmse
    steps = [event for event in told if isinstance(event, StepDone)]
    assert steps[-1].step == steps[-1].steps == 6 * 8  # 24 rows to fit on, 4 at once
    assert told[-1] == FoldScored(0, pytest.approx(error))
    assert done.trained == done.parameters == sum(one.numel() for one in network.parameters())
    assert len(done.test) == 3


def test_the_folds_own_labels_are_never_looked_at(heard, tmp_path):
    done, _ = fit(heard, tmp_path / "one")
    other = [replace(example, label=1e6) if place >= 30 else example for place, example in enumerate(heard)]
    again, _ = fit(other, tmp_path / "other")
    np.testing.assert_array_equal(again.predictions, done.predictions)
    assert again.labels == done.labels


def test_the_scale_of_the_labels_and_the_range_of_predictions_are_of_the_rows_that_are_fitted_on(heard, tmp_path):
    done, _ = fit(heard, tmp_path / "fold", epochs=1)
    truth = np.array([example.label for example in heard])
    assert truth[:30].min() <= done.labels.low < done.labels.mean < done.labels.high <= truth[:30].max()
    assert done.predictions.min() >= done.labels.low
    assert done.predictions.max() <= done.labels.high


@pytest.mark.parametrize("stop_after", [6, 9, 14])  # at the end of an epoch, and inside of two others
def test_a_fold_that_was_stopped_goes_on_as_if_it_had_not_been(heard, tmp_path, monkeypatch, stop_after):
    expected, _ = fit(heard, tmp_path / "whole", test=heard[:3])
    step, done = train.CheckpointTrainer.training_step, []

    def killed(self, *arguments, **options):
        if len(done) == stop_after:
            raise KeyboardInterrupt
        done.append(1)
        return step(self, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(train.CheckpointTrainer, "training_step", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(heard, tmp_path / "stopped", test=heard[:3])
    torch.manual_seed(99)  # what came between does not matter
    told = []
    resumed, _ = fit(heard, tmp_path / "stopped", told=told, test=heard[:3])
    np.testing.assert_array_equal(resumed.predictions, expected.predictions)
    np.testing.assert_array_equal(resumed.test, expected.test)
    assert (resumed.epoch, resumed.stop_rmse) == (expected.epoch, expected.stop_rmse)
    assert [event.epoch for event in told if isinstance(event, EpochScored)] == [
        1,
        2,
        3,
        4,
    ]  # told anew, for a chart that begins anew


@pytest.mark.parametrize("file", ["trainer_state.json", "trained.safetensors", "optimizer.pt", "whole.json"])
def test_a_torn_checkpoint_is_passed_over(heard, tmp_path, file):
    expected, _ = fit(heard, tmp_path / "whole")
    fit(heard, tmp_path / "torn")
    newest = max(tmp_path.glob("torn/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    whole = (newest / file).read_bytes()
    (newest / file).write_bytes(whole[: len(whole) // 2])
    resumed, _ = fit(heard, tmp_path / "torn")
    np.testing.assert_array_equal(resumed.predictions, expected.predictions)


def test_without_its_best_epoch_a_checkpoint_is_not_gone_on_with(heard, tmp_path):
    expected, _ = fit(heard, tmp_path / "whole")
    fit(heard, tmp_path / "torn")
    newest = max(tmp_path.glob("torn/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    best = json.loads((newest / "trainer_state.json").read_text())["best_model_checkpoint"]
    (Path(best) / "trained.safetensors").write_bytes(b"")
    resumed, _ = fit(heard, tmp_path / "torn")
    np.testing.assert_array_equal(resumed.predictions, expected.predictions)


def test_a_disk_that_takes_no_more_is_named_as_such(heard, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 128 vs 22")  # as torch puts it

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        with pytest.raises(OSError, match="a checkpoint could not be written"):
            fit(heard, tmp_path / "fold")
    expected, _ = fit(heard, tmp_path / "whole")
    resumed, _ = fit(heard, tmp_path / "fold")
    np.testing.assert_array_equal(resumed.predictions, expected.predictions)


def test_a_fold_that_gets_no_better_ends_and_stays_ended(heard, tmp_path, rng):
    noise = [replace(example, label=float(rng.normal())) for example in heard]
    told = []
    done, _ = fit(noise, tmp_path / "fold", told=told, epochs=30, patience=2)
    epochs = [event.epoch for event in told if isinstance(event, EpochScored)]
    assert epochs[-1] == round(done.epoch) + 2 < 30
    told = []
    again, _ = fit(noise, tmp_path / "fold", told=told, epochs=30, patience=2)  # killed before the fold was noted as done
    assert not any(isinstance(event, StepDone) for event in told)
    np.testing.assert_array_equal(again.predictions, done.predictions)


def test_a_finished_fold_is_read_from_the_disk(heard, tmp_path):
    done, _ = fit(heard, tmp_path / "fold", test=heard[:2])
    finish_fold(done, tmp_path / "fold")
    assert not list(tmp_path.glob("fold/checkpoint-*"))
    told = []
    again, network = fit(heard, tmp_path / "fold", told=told, test=heard[:2])
    assert network is None
    assert [type(event) for event in told] == [FoldScored]
    np.testing.assert_array_equal(again.predictions, done.predictions)
    assert again.labels == done.labels


def test_where_memory_runs_out_half_as_many_clips_make_one_step_of_two_parts(heard, tmp_path, monkeypatch):
    told, seen = [], []

    class Large(AudioTextRegressor):
        def forward(self, **read):
            seen.append(len(read["frames"]))
            if len(read["frames"]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(**read)

    settings = FinetuneSettings(text="none", epochs=2, batch_clips=8)
    done, _ = fit(
        heard, tmp_path / "fold", told=told, batch=8, epochs=2, build=lambda labels: Large(settings, labels, audio_width=16)
    )
    assert [event.batch for event in told if isinstance(event, BatchHalved)] == [4, 2]
    steps = [event for event in told if isinstance(event, StepDone)]
    assert steps[-1].steps == 2 * 3  # as with 8 at once: 24 rows
    assert max(seen[seen.index(2) :]) == 2
    assert np.isfinite(done.predictions).all()


def test_memory_for_not_even_one_clip_is_said_in_words(heard, tmp_path, monkeypatch):
    def huge(self, predicted, labels):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(AudioTextRegressor, "_loss", huge)
    with pytest.raises(JobError, match="does not hold a single clip; take --device cpu, or smaller models"):
        fit(heard, tmp_path / "fold")


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_epoch(heard, tmp_path, monkeypatch):
    whole, calls = AudioTextRegressor._loss, []

    def bad(self, predicted, labels):
        calls.append(1)
        loss = whole(self, predicted, labels)
        return loss * float("nan") if len(calls) == 12 else loss  # 6 steps and 2 batches to score an epoch: in the second

    with monkeypatch.context() as patched:
        patched.setattr(AudioTextRegressor, "_loss", bad)
        with pytest.raises(JobError, match="the loss of step 10 is not a number; the last whole epoch is kept"):
            fit(heard, tmp_path / "fold")
    [kept] = tmp_path.glob("fold/checkpoint-*")
    state = torch.load(kept / "optimizer.pt", weights_only=True)
    assert kept.name == "checkpoint-6"
    assert all(torch.isfinite(value["exp_avg"]).all() for value in state["state"].values())
    expected, _ = fit(heard, tmp_path / "whole")
    resumed, _ = fit(heard, tmp_path / "fold")
    np.testing.assert_array_equal(resumed.predictions, expected.predictions)


def test_weights_that_are_no_numbers_after_an_epoch_are_told_of_like_a_loss(heard, tmp_path, monkeypatch):
    forward = AudioTextRegressor.forward

    def bad(self, **read):
        outputs = forward(self, **read)
        return outputs if self.training else outputs | {"logits": outputs["logits"] * float("nan")}

    monkeypatch.setattr(AudioTextRegressor, "forward", bad)
    with pytest.raises(JobError, match="what the network says after an epoch is not a number"):
        fit(heard, tmp_path / "fold")


def test_a_job_on_the_processor_keeps_no_random_state_of_a_gpu(heard, tmp_path):  # which may be full of other work
    fit(heard, tmp_path / "fold", epochs=2)
    for checkpoint in tmp_path.glob("fold/checkpoint-*"):
        assert set(torch.load(checkpoint / "rng_state.pth", weights_only=True)) == {"python", "numpy", "torch"}


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("x"), RuntimeError("CUDA error: out of memory"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")]
)
def test_a_network_that_memory_does_not_hold_is_said_so_in_words(heard, error):
    class Large(AudioTextRegressor):
        def to(self, *arguments, **options):
            raise error

    network = Large(FinetuneSettings(text="none"), Labels(0.0, 1.0, 0.0, 1.0), audio_width=16)
    with pytest.raises(JobError, match="does not hold the network; take --device cpu, or a smaller model"):
        predict(network, heard, Collator(waveforms=False), device=CPU)


def test_too_few_rows_to_set_some_apart_train_to_the_last_epoch(heard, tmp_path):
    told = []
    done, _ = fit(heard[:3], tmp_path / "fold", told=told, fold=Fold(np.arange(2), np.arange(2, 3)), epochs=2)
    assert np.isnan(done.stop_rmse)
    assert np.isfinite(done.predictions).all()
    assert not any(isinstance(event, EpochScored) for event in told)


@pytest.fixture(scope="module")
def piano(tmp_path_factory):
    """Recorded notes: their frames, which tell the pitch; a digit in words that has nothing to do with it; and models."""
    root = tmp_path_factory.mktemp("tasks")
    audio = tiny_encoder("wav2vec2", root / "audio")
    text = tiny_text_encoder("distilbert", root / "text", words="the clip says " + " ".join(DIGITS))
    with (PIANO / "csvs" / "train.csv").open() as file:
        rows = list(csv.DictReader(file))
    of_stem = {path.stem: path for path in (PIANO / "audios" / "train").iterdir()}
    paths = [of_stem[row["filename"]] for row in rows]
    files = encode_clips(paths, find(str(audio)), Workspace(root / "ws"), Production(CPU, 45.0, workers=0)).files
    digits = np.random.default_rng(0).integers(0, 10, len(rows))
    pitch = np.array([float(row["midi"]) for row in rows])
    return audio, text, [files[path] for path in paths], digits, _standard(pitch)


def _standard(values):
    return (values - values.mean()) / values.std()


def score(piano, folder, labels, **options):
    """RMSE on 40 clips of a network that was fitted on the others, in standard deviations of the label."""
    audio, text, files, digits, _ = piano
    settings = FinetuneSettings(
        audio_model=str(audio), text_model=str(text), **{"epochs": 12, "patience": 12, "batch": 8} | options
    )
    encoders = find_encoders(settings)
    heard = files if settings.uses_audio else [None] * len(files)
    texts = [f"the clip says {DIGITS[digit]}" for digit in digits]
    examples = make_examples(texts, labels.tolist(), heard, encoders.text, encoders.tokenizer)
    order = np.random.default_rng(1).permutation(len(labels))
    fold = Fold(np.sort(order[40:]), np.sort(order[:40]))
    collator = Collator(waveforms=False, pad_token=encoders.pad_token)
    training = Training(examples, [], settings, lambda scale: build_network(settings, scale, encoders), collator, CPU)
    done, _ = fit_fold(training, fold, 0, folder=folder)
    return float(np.sqrt(np.mean((done.predictions - labels[fold.test_rows]) ** 2)) / labels[fold.test_rows].std())


@pytest.mark.slow
def test_it_uses_what_carries_the_label(piano, tmp_path):
    *_, digits, pitch = piano
    read = _standard(digits.astype(float))
    assert score(piano, tmp_path / "a", pitch) < 0.6
    assert score(piano, tmp_path / "b", read) < 0.3
    assert score(piano, tmp_path / "c", pitch, audio_encoder="none") > 0.9  # what is read says nothing of it
    assert score(piano, tmp_path / "d", read, text="none") > 0.9


@pytest.mark.parametrize("fusion", ["attention", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gated", "concat"))])
def test_together_they_tell_what_neither_tells_alone(piano, tmp_path, fusion):
    *_, digits, pitch = piano
    both = (pitch + _standard(digits.astype(float))) / 2**0.5
    alone = min(score(piano, tmp_path / "a", both, text="none"), score(piano, tmp_path / "b", both, audio_encoder="none"))
    assert score(piano, tmp_path / "c", both, fusion=fusion) < 0.75 * alone


def test_sixteen_clips_are_learned_by_heart(piano, tmp_path):
    audio, text, _, digits, _ = piano
    settings = FinetuneSettings(
        audio_model=str(audio), text_model=str(text), audio_encoder="lora", dropout=0.0, epochs=60, learning_rate=1e-3, loss="mse"
    )
    encoders = find_encoders(settings)
    clips = [PIANO / "audios" / "train" / name for name in sorted(path.name for path in (PIANO / "audios/train").iterdir())[:16]]
    waves = encode_clips(clips, encoders.audio, Workspace(tmp_path), Production(CPU, 2.0, workers=0), encode=False).files
    labels = np.random.default_rng(3).normal(size=16)
    texts = [f"the clip says {DIGITS[digit]}" for digit in digits[:16]]
    examples = make_examples(texts, labels.tolist(), [waves[clip] for clip in clips], encoders.text, encoders.tokenizer)
    # The rows that are set apart are scored too: all are fitted on where there are none.
    told = []
    train_all = Fold(np.arange(16), np.arange(16))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(train, "stopping_split", lambda rows, labels, **options: (rows, rows[:0]))
        collator = Collator(waveforms=True, pad_token=encoders.pad_token)
        training = Training(examples, [], settings, lambda scale: build_network(settings, scale, encoders), collator, CPU)
        done, _ = fit_fold(training, train_all, 0, folder=tmp_path / "fold", notify=told.append)
    assert float(np.sqrt(np.mean((done.predictions - labels) ** 2))) < 0.1 * labels.std()
