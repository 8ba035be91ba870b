"""Examples and folds in, out-of-fold predictions and fitted networks on the disk out. Predictions are in the unit of the label.

Of each fold's training rows about a fifth is set apart, groups whole: after each epoch the error on it is measured, the best epoch
is taken, and the fold ends when it gets no better. The fold's own rows are scored once, at the end. Imports torch.

Each epoch leaves a checkpoint with what is trained, the optimiser, the schedule, the random states and the place in the order of
the rows, so that a fold that was stopped goes on as if it had not been.
"""

import errno
import hashlib
import json
import math
import random
import shutil
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save as as_safetensors
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerState
from transformers.trainer_utils import set_seed
from transformers.utils import logging

from core.errors import JobError
from core.events import BatchHalved, EpochScored, FoldScored, Notify, StepDone, ignore
from core.multimodal.config import FinetuneSettings
from core.multimodal.data import Collator, Example
from core.multimodal.model import AudioTextRegressor, Labels, standardise
from core.runtime.cache import content_hash
from core.runtime.device import Device, free_memory, in_batches, in_memory, is_out_of_memory, use_all_cores
from core.scoring import metrics
from core.scoring.folds import Fold, stopping_split
from core.workspace import to_json, write_json, write_whole

# Raise it whenever the network or its training changes: what was left half done by other versions is not gone on with.
VERSION = 1
TRAINED = "trained.safetensors"
_MADE_OF = "made_of.txt"
_STATE, _RANDOM, _WHOLE = "trainer_state.json", "rng_state.pth", "whole.json"
_STEPS_TOLD = 40  # of a fold, so that a chart has enough and a file not too many
_DONE = "done.npz"

# Makes the network of a fold, with its labels' scale, on the CPU; random numbers are drawn from torch's generator.
Build = Callable[[Labels], AudioTextRegressor]


@dataclass(frozen=True, slots=True)
class FoldFit:
    """What came of one fold.

    Attributes
    ----------
    predictions : np.ndarray [shape=(k,)], of the fold's own rows
    test : np.ndarray [shape=(q,)], of the test clips
    epoch : float, the one that was taken; NaN where no rows could be set apart and the last one was
    stop_rmse : float, on the rows that were set apart; NaN where there were none
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
    examples, test, settings, groups : as for ``fit_fold``
    revisions : hashes of the encoders' weights

    Returns
    -------
    changed : bool, something was there and is gone now
    """
    clips = [[one.heard and one.heard.name, one.tokens, one.has_text, repr(one.label)] for one in (*examples, *test)]
    said = [VERSION, to_json(settings), list(revisions), groups and list(groups), len(examples), clips]
    made_of = hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=16).hexdigest()
    note = folder / _MADE_OF
    if note.is_file() and note.read_text(encoding="utf-8") == made_of:
        return False
    changed = folder.is_dir()
    shutil.rmtree(folder, ignore_errors=True)
    write_whole(note, lambda file: file.write(made_of.encode()))
    return changed


def fit_fold(
    examples: Sequence[Example],
    test: Sequence[Example],
    fold: Fold,
    number: int,
    settings: FinetuneSettings,
    *,
    build: Build,
    collator: Collator,
    device: Device,
    folder: Path,
    groups: Sequence[str] | None = None,
    notify: Notify = ignore,
) -> tuple[FoldFit, AudioTextRegressor | None]:
    """Train the network of one fold, or take what stands in the folder already.

    Parameters
    ----------
    examples : sequence of Example with labels, of all rows
    test : sequence of Example, further clips to score
    fold : Fold
    number : int, of the fold
    settings : FinetuneSettings
    build : Build
    collator : Collator
    device : Device
    folder : for checkpoints; a fold that is finished there is not trained again
    groups : sequence of str [n], optional: kept whole where rows are set apart
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
    labels = np.array([example.label for example in examples])
    if (kept := _finished(folder / _DONE)) is not None:
        notify(FoldScored(number, metrics.rmse(labels[fold.test_rows], kept.predictions)))
        return kept, None
    started = time.perf_counter()
    fit_rows, stop_rows = stopping_split(fold.train_rows, labels, seed=settings.seed + number, groups=groups)
    scale = standardise(labels[fit_rows])
    batch, accumulation = settings.batch, settings.accumulation
    while True:
        trainer = _trainer(
            [examples[row] for row in fit_rows],
            [examples[row] for row in stop_rows],
            scale,
            number,
            settings,
            build=build,
            collator=collator,
            device=device,
            folder=folder,
            batch=batch,
            accumulation=accumulation,
            notify=notify,
        )
        if _train(trainer, folder):
            break
        del trainer
        free_memory()
        if batch == 1:
            raise JobError("the memory of the device does not hold a single clip; take --device cpu, or smaller models")
        part = 2 if batch % 2 == 0 else batch  # so that as many steps as before make an epoch
        batch, accumulation = batch // part, accumulation * part
        notify(BatchHalved("fine-tuning", batch))
    network: Any = trainer.model
    scored = [
        predict(network, some, collator, device=device, batch=batch) for some in ([examples[row] for row in fold.test_rows], test)
    ]
    network.to("cpu").eval()
    best = trainer.state.best_metric
    taken = [one["epoch"] for one in trainer.state.log_history if best is not None and one.get("eval_rmse") == best]
    trained = sum(one.numel() for one in network.parameters() if one.requires_grad)
    fit = FoldFit(
        predictions=np.clip(scored[0], scale.low, scale.high),
        test=np.clip(scored[1], scale.low, scale.high),
        epoch=float(taken[0]) if taken else math.nan,
        stop_rmse=math.nan if best is None else float(best),
        seconds=time.perf_counter() - started,
        labels=scale,
        trained=trained,
        parameters=sum(one.numel() for one in network.parameters()),
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

    def some(part: Sequence[Example]) -> list[float]:
        read: dict[str, Any] = {name: _to(value, device.kind) for name, value in collator(part).items() if name != "labels"}
        with torch.inference_mode():
            found: list[float] = network(**read)["logits"].cpu().tolist()
        return found

    return np.array(in_batches(some, examples, batch=batch, halved=lambda size: None), float)


def trained_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What is trained of a network, by name."""
    return {name: one.detach().cpu().contiguous() for name, one in network.named_parameters() if one.requires_grad}


def load_trained(network: torch.nn.Module, path: Path) -> None:
    """Put what was trained back into a network of the same shape."""
    known = dict(network.named_parameters())
    state = load_file(path)
    with torch.no_grad():
        for name, value in state.items():
            known[name].copy_(value)


class _Trainer(Trainer):
    """Trainer of transformers that keeps only what is trained, has a faster rate for the head, and stops at a loss that is none."""

    head_learning_rate: float
    patience: int

    @property
    def _network(self) -> torch.nn.Module:
        assert self.model is not None
        return self.model

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            named = [(name, one) for name, one in self._network.named_parameters() if one.requires_grad]
            groups = []
            for rate, adapters in ((self.args.learning_rate, True), (self.head_learning_rate, False)):
                for decay, wide in ((self.args.weight_decay, True), (0.0, False)):  # no decay of biases, norms and single vectors
                    some = [one for name, one in named if ("lora_" in name) == adapters and (one.dim() > 1) == wide]
                    if some:
                        groups.append({"params": some, "lr": rate, "weight_decay": decay})
            self.optimizer = torch.optim.AdamW(groups, lr=self.args.learning_rate)
        return self.optimizer

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*arguments, **options)
        if not torch.isfinite(loss):
            raise _no_number(f"the loss of step {self.state.global_step + 1}")
        return loss

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        write_whole(folder / TRAINED, lambda file: file.write(as_safetensors(trained_state(self._network))))

    def _save_checkpoint(self, *arguments: Any, **options: Any) -> None:
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(*arguments, **options)
        except RuntimeError as error:  # torch says so of a disk that takes no more
            reason = str(error).splitlines()[0]
            raise OSError(errno.EIO, f"a checkpoint could not be written, the disk may be full ({reason})", str(folder)) from None
        write_json(folder / _WHOLE, {path.name: content_hash(path).hex() for path in folder.iterdir()})
        kept = {folder.name, Path(self.state.best_model_checkpoint or folder).name}
        for other in folder.parent.glob("checkpoint-*"):
            if other.name not in kept:
                shutil.rmtree(other, ignore_errors=True)

    def _save_rng_state(self, output_dir: str) -> None:
        if not self.args.use_cpu:
            super()._save_rng_state(output_dir)
            return
        numpy_state: Any = np.random.get_state()  # noqa: NPY002 - the one that libraries draw from
        kind, keys, *rest = numpy_state
        state = {"python": random.getstate(), "numpy": (kind, keys.tolist(), *rest), "torch": torch.get_rng_state()}
        torch.save(state, Path(output_dir) / _RANDOM)  # a GPU that may be full of other work is not asked

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if not self.args.use_cpu or checkpoint is None:
            super()._load_rng_state(checkpoint)
            return
        state = torch.load(Path(checkpoint) / _RANDOM, weights_only=True)
        random.setstate(state["python"])
        np.random.set_state(state["numpy"])  # noqa: NPY002
        torch.set_rng_state(state["torch"])

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_trained(self._network, Path(resume_from_checkpoint) / TRAINED)

    def _load_best_model(self) -> None:
        best = Path(str(self.state.best_model_checkpoint)).name  # its folder may have been moved
        load_trained(self._network, Path(str(self.args.output_dir)) / best / TRAINED)

    def is_over(self, checkpoint: str) -> bool:
        """Whether a fold ended with this checkpoint, by the last of its epochs or because it got no better; its state is taken."""
        state = TrainerState.load_from_json(str(Path(checkpoint) / _STATE))
        patience = state.stateful_callbacks.get("EarlyStoppingCallback", {})
        waited = patience.get("attributes", {}).get("early_stopping_patience_counter", 0) if isinstance(patience, dict) else 0
        if state.global_step < state.max_steps and waited < self.patience:
            return False
        self.state = state
        if state.best_model_checkpoint is None:
            self._load_from_checkpoint(checkpoint)
        else:
            self._load_best_model()
        return True


class _Teller(TrainerCallback):
    """Reports steps and epochs; restored ones are told again, so that a chart that begins anew is whole."""

    def __init__(self, fold: int, notify: Notify, device: Device):
        self._fold, self._notify, self._device = fold, notify, device

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for one in state.log_history:
            self._tell(one, state)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self._tell((logs or {}) | {"step": state.global_step, "epoch": state.epoch or 0.0}, state)

    def _tell(self, logs: dict[str, float], state: Any) -> None:
        step, epoch = int(logs["step"]), float(logs["epoch"])
        if "loss" in logs:
            used = torch.cuda.max_memory_allocated() if self._device.kind == "cuda" else _resident_bytes()
            rate = float(logs["learning_rate"])
            self._notify(StepDone(self._fold, step, state.max_steps, epoch, float(logs["loss"]), rate, used / 1e9))
        elif "eval_rmse" in logs:
            self._notify(EpochScored(self._fold, round(epoch), float(logs["eval_rmse"]), float(logs["eval_loss"])))


def _trainer(
    examples: Sequence[Example],
    stop: Sequence[Example],
    scale: Labels,
    number: int,
    settings: FinetuneSettings,
    *,
    build: Build,
    collator: Collator,
    device: Device,
    folder: Path,
    batch: int,
    accumulation: int,
    notify: Notify,
) -> _Trainer:
    use_all_cores()
    set_seed(settings.seed + number)
    network = build(scale)
    if device.kind == "cuda":
        with in_memory("the network"):
            network.to("cuda")
    steps = math.ceil(math.ceil(len(examples) / batch) / accumulation) * settings.epochs
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=math.ceil(settings.warmup * steps),
        max_grad_norm=settings.clip_norm,
        bf16=device.precision == "bf16",
        use_cpu=device.kind == "cpu",
        seed=settings.seed + number,
        data_seed=settings.seed + number,
        eval_strategy="epoch" if stop else "no",
        save_strategy="epoch",
        load_best_model_at_end=bool(stop),
        metric_for_best_model="rmse" if stop else None,
        greater_is_better=False if stop else None,
        restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, steps // _STEPS_TOLD),
        logging_nan_inf_filter=False,
        label_names=["labels"],
        remove_unused_columns=False,
        dataloader_pin_memory=device.kind == "cuda",
        report_to=[],
        disable_tqdm=True,
    )
    assert arguments.device.type == device.kind
    arguments._n_gpu = 1  # of several, the first: a batch is not dealt out
    trainer = _Trainer(
        model=network,
        args=arguments,
        data_collator=collator,
        train_dataset=list(examples),
        eval_dataset=list(stop) or None,
        compute_metrics=_rmse,
        callbacks=[_Teller(number, notify, device)] + ([EarlyStoppingCallback(settings.patience)] if stop else []),
    )
    trainer.head_learning_rate, trainer.patience = settings.head_learning_rate, settings.patience
    trainer.model_accepts_loss_kwargs = False  # its loss is a mean, which is divided by the accumulated batches
    trainer.remove_callback(PrinterCallback)
    return trainer


def _train(trainer: _Trainer, folder: Path) -> bool:
    """Train from the last whole checkpoint on; false where memory ran out."""
    checkpoint = _last_checkpoint(folder)
    if checkpoint is not None and trainer.is_over(checkpoint):
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


def _rmse(found: Any) -> dict[str, float]:
    """Score of an epoch, as the Trainer asks for it."""
    predictions = np.asarray(found.predictions, float)
    if not np.isfinite(predictions).all():
        raise _no_number("what the network says after an epoch")
    return {"rmse": metrics.rmse(np.asarray(found.label_ids, float), predictions)}


def _no_number(what: str) -> JobError:
    return JobError(
        f"{what} is not a number; the last whole epoch is kept. "
        "Take a lower --learning-rate, or look for labels and clips that stand out"
    )


def _to(value: Any, device: str) -> Any:
    return [one.to(device) for one in value] if isinstance(value, list) else value.to(device)


def _last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole, as is the best one that it names. Those that are not whole are removed."""
    whole: dict[str, tuple[int, str]] = {}
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            hashes = json.loads((checkpoint / _WHOLE).read_text(encoding="utf-8"))
            damaged = [name for name, made in hashes.items() if content_hash(checkpoint / name).hex() != made]
            state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            damaged = [_WHOLE]
        if damaged:
            shutil.rmtree(checkpoint, ignore_errors=True)
        else:
            whole[checkpoint.name] = (int(state["global_step"]), Path(state["best_model_checkpoint"] or checkpoint).name)
    usable = [(step, name) for name, (step, best) in whole.items() if best in whole]
    return str(folder / max(usable)[1]) if usable else None


def _finished(path: Path) -> FoldFit | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            labels = Labels(*(float(kept[name]) for name in ("mean", "std", "low", "high")))
            epoch, stop_rmse, seconds = (float(kept[name]) for name in ("epoch", "stop_rmse", "seconds"))
            trained, parameters = int(kept["trained"]), int(kept["parameters"])
            return FoldFit(kept["predictions"], kept["test"], epoch, stop_rmse, seconds, labels, trained, parameters)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _resident_bytes() -> int:
    """Memory of this process."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
