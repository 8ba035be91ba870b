"""A search on labels that the sample rate of the file tells, which is not audible: an encoder with random weights adds nothing."""

from dataclasses import replace

import numpy as np
import pytest

from core.data.dataset import read_dataset
from core.ensemble.auto import AutoSettings
from core.extraction.config import ExtractSettings
from core.tasks import auto
from core.tasks.auto import find_best
from core.tasks.ladder import QUICK, Step
from core.workspace import Workspace
from tests.conftest import write_clip, write_table

EXTRACT = ExtractSettings(workers=0, features=("metadata",))
SETTINGS = AutoSettings(folds=3, repeats=1, workers=0)
CLIPS, SECONDS = 60, 0.4


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Low noises of one length at different sample rates, the workspace, and the rate of each clip, scaled."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("sounds")
    rates = rng.integers(16_000, 48_000, CLIPS)
    for number, rate in enumerate(rates):
        waves = np.zeros(round(rate * SECONDS) // 2 + 1, complex)
        waves[20:400] = rng.normal(size=(380, 2)) @ (1, 1j)  # 50 to 1000 Hz, whatever the rate
        sound = np.fft.irfft(waves, round(rate * SECONDS))
        write_clip(root / f"audios/train/clip{number}.wav", (0.3 * sound / np.abs(sound).max()).astype(np.float32), sr=int(rate))
    write_table(root / "csvs/train.csv", ["filename", "label"], [[f"clip{number}.wav", number % 7] for number in range(CLIPS)])
    return read_dataset(root), Workspace.resolve(root / "workspace"), (rates - rates.mean()) / rates.std()


@pytest.fixture
def rejects(sounds, tmp_path, monkeypatch):
    """Whether a search leaves a Whisper with random weights out, by seed of the weights and the labels."""
    from tests.tiny_models import tiny_whisper

    dataset, workspace, rate = sounds

    def run(seed):
        rng = np.random.default_rng(seed)
        label = rate + 0.5 * rng.normal(size=CLIPS)
        rows = tuple(replace(row, label=float(value)) for row, value in zip(dataset.train, label, strict=True))
        whisper = tiny_whisper(tmp_path / f"whisper{seed}", seed=seed)
        steps = [
            Step("baseline", "handcrafted features", ("metadata", "mfcc"), QUICK),
            Step("encoder", "an encoder with random weights", (f"encoder:{whisper}@L1+2",)),
        ]
        monkeypatch.setattr(auto, "plan_steps", lambda *_, **__: steps)
        monkeypatch.setattr(auto, "audio_models", list)
        best = find_best(replace(dataset, train=rows), EXTRACT, SETTINGS, workspace)
        step = next(step for step in best.record.ladder if step.name == "encoder")
        assert not step.skipped
        return not step.kept

    return run


def test_an_encoder_with_random_weights_is_rejected(rejects):
    assert all(rejects(seed) for seed in range(2))


@pytest.mark.slow
def test_an_encoder_with_random_weights_is_rejected_in_nine_of_ten_seeds(rejects):
    assert sum(rejects(seed) for seed in range(10)) >= 9
