"""Examples and folds in, out-of-fold predictions and fitted networks on the disk out. Predictions are in the unit of the label.

Of each fold's training rows about a fifth are validation rows, groups whole: after each epoch the error on them is measured, the
best epoch is taken, and the fold ends when it gets no better. The fold's own rows are scored once, at the end. Imports torch.
"""

import hashlib
import json
import math
import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EarlyStoppingCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import set_seed
from transformers.utils import logging

from core.errors import JobError
from core.events import BatchHalved, FoldScored, Notify, ignore
from core.multimodal.config import FinetuneSettings
from core.multimodal.data import Collator, Example
from core.multimodal.model import AudioTextRegressor, Labels, standardise
from core.multimodal.trainer import CheckpointTrainer, ProgressReporter, last_checkpoint, score_epoch
from core.runtime.device import Device, free_memory, in_batches, in_memory, is_out_of_memory, use_all_cores
from core.scoring import metrics
from core.scoring.folds import Fold, stopping_split
from core.workspace import to_json, write_whole

# Raise it whenever the network or its training changes: what was left half done by other versions is not gone on with.
VERSION = 1
_MADE_OF = "made_of.txt"
_REPORTED_STEPS = 40  # of a fold, so that a chart has enough and a file not too many
_DONE = "done.npz"

# Makes the network of a fold, with its labels' scale, on the CPU; random numbers are drawn from torch's generator.
Build = Callable[[Labels], AudioTextRegressor]


@dataclass(frozen=True, slots=True)
class Training:
    """What all folds of a fine-tuning share.

    Attributes
    ----------
    examples : sequence of Example with labels, of all rows
    test : sequence of Example, further clips to score
    settings : FinetuneSettings
    build : Build
    collator : Collator
    device : Device
    groups : sequence of str [n] or None: kept whole among the validation rows
    """

    examples: Sequence[Example]
    test: Sequence[Example]
    settings: FinetuneSettings
    build: Build
    collator: Collator
    device: Device
    groups: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class _FoldData:
    """The training rows of a fold: those that are fitted, those that stop the training, and the scale of the fitted labels."""

    number: int
    fitted: list[Example]
    stopping: list[Example]
    labels: Labels


@dataclass(frozen=True, slots=True)
class _Batches:
    """Clips that are computed at once, and how many such batches make a step."""

    size: int
    accumulation: int

    def halve(self) -> "_Batches":
        """Smaller batches, of which as many steps as before make an epoch."""
        part = 2 if self.size % 2 == 0 else self.size
        return _Batches(self.size // part, self.accumulation * part)

    def steps(self, clips: int, *, epochs: int) -> int:
        """Steps of the whole training."""
        return math.ceil(math.ceil(clips / self.size) / self.accumulation) * epochs


@dataclass(frozen=True, slots=True)
class FoldFit:
    """What came of one fold.

    Attributes
    ----------
    predictions : np.ndarray [shape=(k,)], of the fold's own rows
    test : np.ndarray [shape=(q,)], of the test clips
    epoch : float, the one that was taken; NaN where there could be no validation rows and the last one was
    stop_rmse : float, on the validation rows; NaN where there were none
    seconds : float
    labels : Labels
    trained, parameters : int, numbers that were trained, and all
    """

    predictions: np.ndarray
    test: np.ndarray
    epoch: float
    stop_rmse: float
    seconds: float
    labels: Labels
    trained: int
    parameters: int


def begin(
    folder: Path,
    examples: Sequence[Example],
    test: Sequence[Example],
    settings: FinetuneSettings,
    *,
    groups: Sequence[str] | None,
    revisions: Sequence[str],
) -> bool:
    """Keep what folds have left in a folder only where they were trained on the same clips, labels, texts and weights.

    Parameters
    ----------
    folder : of the folders of the folds
    examples, test, settings, groups : as in ``Training``
    revisions : hashes of the encoders' weights

    Returns
    -------
    changed : bool, something was there and is gone now
    """
    clips = [[clip.heard and clip.heard.name, clip.tokens, clip.has_text, repr(clip.label)] for clip in (*examples, *test)]
    ingredients = [VERSION, to_json(settings), list(revisions), groups and list(groups), len(examples), clips]
    made_of = hashlib.blake2b(json.dumps(ingredients, sort_keys=True).encode(), digest_size=16).hexdigest()
    note = folder / _MADE_OF
    if note.is_file() and note.read_text(encoding="utf-8") == made_of:
        return False
    changed = folder.is_dir()
    shutil.rmtree(folder, ignore_errors=True)
    write_whole(note, lambda file: file.write(made_of.encode()))
    return changed


def fit_fold(
    training: Training, fold: Fold, number: int, *, folder: Path, notify: Notify = ignore
) -> tuple[FoldFit, AudioTextRegressor | None]:
    """Train the network of one fold, or take what stands in the folder already.

    Parameters
    ----------
    training : Training
    fold : Fold
    number : int, of the fold
    folder : for checkpoints; a fold that is finished there is not trained again
    notify : called with StepDone, EpochScored, BatchHalved and FoldScored

    Returns
    -------
    fit : FoldFit
    network : with the best state, on the CPU; None where the fold stood there already

    Raises
    ------
    JobError
        The loss is not a number any more, or memory does not hold a single clip.
    """
    labels = np.array([example.label for example in training.examples])
    if (stored := _load_fit(folder / _DONE)) is not None:
        notify(FoldScored(number, metrics.rmse(labels[fold.test_rows], stored.predictions)))
        return stored, None
    started = time.perf_counter()
    rows = stopping_split(fold.train_rows, labels, seed=training.settings.seed + number, groups=training.groups)
    fitted, stopping = ([training.examples[row] for row in part] for part in rows)
    data = _FoldData(number, fitted, stopping, standardise(labels[rows[0]]))
    trainer, batch = _fit_in_memory(training, data, folder, notify)
    network: Any = trainer.model
    held_out = [training.examples[row] for row in fold.test_rows]
    scored = [
        predict(network, clips, training.collator, device=training.device, batch=batch) for clips in (held_out, training.test)
    ]
    network.to("cpu").eval()
    best = trainer.state.best_metric
    best_epochs = [logs["epoch"] for logs in trainer.state.log_history if best is not None and logs.get("eval_rmse") == best]
    fit = FoldFit(
        predictions=np.clip(scored[0], data.labels.low, data.labels.high),
        test=np.clip(scored[1], data.labels.low, data.labels.high),
        epoch=float(best_epochs[0]) if best_epochs else math.nan,
        stop_rmse=math.nan if best is None else float(best),
        seconds=time.perf_counter() - started,
        labels=data.labels,
        trained=sum(weights.numel() for weights in network.parameters() if weights.requires_grad),
        parameters=sum(weights.numel() for weights in network.parameters()),
    )
    notify(FoldScored(number, metrics.rmse(labels[fold.test_rows], fit.predictions)))
    return fit, network


def finish_fold(fit: FoldFit, folder: Path) -> None:
    """Note that a fold is done, once its network is stored, and let go of its checkpoints."""
    numbers = {"epoch": fit.epoch, "stop_rmse": fit.stop_rmse, "seconds": fit.seconds}
    numbers |= {"mean": fit.labels.mean, "std": fit.labels.std, "low": fit.labels.low, "high": fit.labels.high}
    numbers |= {"trained": fit.trained, "parameters": fit.parameters}
    arrays: dict[str, Any] = {"predictions": fit.predictions, "test": fit.test} | numbers
    write_whole(folder / _DONE, lambda file: np.savez(file, **arrays))
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)


def predict(
    network: AudioTextRegressor, examples: Sequence[Example], collator: Collator, *, device: Device, batch: int = 8
) -> np.ndarray:
    """Predictions of a network [shape=(n,)], in the unit of the label and in full precision; nothing is clipped.

    Raises
    ------
    JobError
        Memory does not hold the network, or not a single clip.
    """
    use_all_cores()
    with in_memory("the network"):
        network.to(device.kind).eval()

    def predict_batch(clips: Sequence[Example]) -> list[float]:
        inputs: dict[str, Any] = {name: _to(value, device.kind) for name, value in collator(clips).items() if name != "labels"}
        with torch.inference_mode():
            predictions: list[float] = network(**inputs)["logits"].cpu().tolist()
        return predictions

    return np.array(in_batches(predict_batch, examples, batch=batch, halved=lambda size: None), float)


def _fit_in_memory(training: Training, data: _FoldData, folder: Path, notify: Notify) -> tuple[CheckpointTrainer, int]:
    """Train with batches that memory holds, smaller ones where it runs out; their size comes with the trainer."""
    batches = _Batches(training.settings.batch_clips, training.settings.accumulation)
    while True:
        trainer = _make_trainer(training, data, batches, folder, notify)
        if _train(trainer, folder):
            return trainer, batches.size
        del trainer
        free_memory()
        if batches.size == 1:
            raise JobError("the memory of the device does not hold a single clip; take --device cpu, or smaller models")
        batches = batches.halve()
        notify(BatchHalved("fine-tuning", batches.size))


def _make_trainer(training: Training, data: _FoldData, batches: _Batches, folder: Path, notify: Notify) -> CheckpointTrainer:
    settings, device = training.settings, training.device
    use_all_cores()
    set_seed(settings.seed + data.number)
    network = training.build(data.labels)
    if device.kind == "cuda":
        with in_memory("the network"):
            network.to("cuda")
    arguments = _arguments(training, data, batches, folder)
    assert arguments.device.type == device.kind
    arguments._n_gpu = 1  # of several, the first: a batch is not dealt out
    reporter = ProgressReporter(data.number, notify, device)
    trainer = CheckpointTrainer(
        model=network,
        args=arguments,
        data_collator=training.collator,
        train_dataset=data.fitted,
        eval_dataset=data.stopping or None,
        compute_metrics=score_epoch,
        callbacks=[reporter, EarlyStoppingCallback(settings.patience)] if data.stopping else [reporter],
    )
    trainer.head_learning_rate, trainer.patience = settings.head_learning_rate, settings.patience
    trainer.model_accepts_loss_kwargs = False  # its loss is a mean, which is divided by the accumulated batches
    trainer.remove_callback(PrinterCallback)
    return trainer


def _arguments(training: Training, data: _FoldData, batches: _Batches, folder: Path) -> TrainingArguments:
    settings, device = training.settings, training.device
    steps = batches.steps(len(data.fitted), epochs=settings.epochs)
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batches.size,
        per_device_eval_batch_size=batches.size,
        gradient_accumulation_steps=batches.accumulation,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=math.ceil(settings.warmup * steps),
        max_grad_norm=settings.clip_norm,
        bf16=device.precision == "bf16",
        use_cpu=device.kind == "cpu",
        seed=settings.seed + data.number,
        data_seed=settings.seed + data.number,
        eval_strategy="epoch" if data.stopping else "no",
        save_strategy="epoch",
        load_best_model_at_end=bool(data.stopping),
        metric_for_best_model="rmse" if data.stopping else None,
        greater_is_better=False if data.stopping else None,
        restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, steps // _REPORTED_STEPS),
        logging_nan_inf_filter=False,
        label_names=["labels"],
        remove_unused_columns=False,
        dataloader_pin_memory=device.kind == "cuda",
        report_to=[],
        disable_tqdm=True,
    )


def _train(trainer: CheckpointTrainer, folder: Path) -> bool:
    """Train from the last whole checkpoint on; false where memory ran out."""
    checkpoint = last_checkpoint(folder)
    if checkpoint is not None and trainer.is_finished(checkpoint):
        return True
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # it tells of every setting that it leaves alone
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        logging.set_verbosity(level)
    return True


def _to(value: Any, device: str) -> Any:
    return [one.to(device) for one in value] if isinstance(value, list) else value.to(device)


def _load_fit(path: Path) -> FoldFit | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            labels = Labels(*(float(kept[name]) for name in ("mean", "std", "low", "high")))
            epoch, stop_rmse, seconds = (float(kept[name]) for name in ("epoch", "stop_rmse", "seconds"))
            trained, parameters = int(kept["trained"]), int(kept["parameters"])
            return FoldFit(kept["predictions"], kept["test"], epoch, stop_rmse, seconds, labels, trained, parameters)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
