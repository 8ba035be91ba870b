"""The training loop of one network: Hugging Face's Trainer with small checkpoints, which say whether they are whole. Imports torch.

Each epoch leaves a checkpoint with what is trained, the optimiser, the schedule, the random states and the place in the order of
the rows, so that a training that was stopped resumes as if it had not been.
"""

import errno
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save as as_safetensors
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import TrainerState

from core.errors import JobError
from core.events import EpochScored, Notify, StepDone
from core.runtime.cache import content_hash
from core.runtime.device import Device
from core.scoring import metrics
from core.workspace import write_json, write_whole

TRAINED = "trained.safetensors"
_STATE, _RANDOM, _WHOLE = "trainer_state.json", "rng_state.pth", "whole.json"


class CheckpointTrainer(Trainer):
    """Trainer of transformers that keeps only what is trained, has a faster rate for the head, and stops at a non-finite loss."""

    head_learning_rate: float
    patience: int

    @property
    def _network(self) -> torch.nn.Module:
        assert self.model is not None
        return self.model

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            trainable = [(name, weights) for name, weights in self._network.named_parameters() if weights.requires_grad]
            groups = []
            for rate, adapters in ((self.args.learning_rate, True), (self.head_learning_rate, False)):
                for decay, wide in ((self.args.weight_decay, True), (0.0, False)):  # no decay of biases, norms and single vectors
                    group = [
                        weights for name, weights in trainable if ("lora_" in name) == adapters and (weights.dim() > 1) == wide
                    ]
                    if group:
                        groups.append({"params": group, "lr": rate, "weight_decay": decay})
            self.optimizer = torch.optim.AdamW(groups, lr=self.args.learning_rate)
        return self.optimizer

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*arguments, **options)
        if not torch.isfinite(loss):
            raise non_finite_error(f"the loss of step {self.state.global_step + 1}")
        return loss

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        write_whole(folder / TRAINED, lambda file: file.write(as_safetensors(trained_state(self._network))))

    def _save_checkpoint(self, *arguments: Any, **options: Any) -> None:
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(*arguments, **options)
        except RuntimeError as error:  # how torch reports a full disk
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

    def is_finished(self, checkpoint: str) -> bool:
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


class ProgressReporter(TrainerCallback):
    """Reports steps and epochs; restored ones are reported again, so that a chart that starts over is complete."""

    def __init__(self, fold: int, notify: Notify, device: Device):
        self._fold, self._notify, self._device = fold, notify, device

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for logs in state.log_history:
            self._report(logs, state)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self._report((logs or {}) | {"step": state.global_step, "epoch": state.epoch or 0.0}, state)

    def _report(self, logs: dict[str, float], state: Any) -> None:
        step, epoch = int(logs["step"]), float(logs["epoch"])
        if "loss" in logs:
            used = torch.cuda.max_memory_allocated() if self._device.kind == "cuda" else _resident_bytes()
            rate = float(logs["learning_rate"])
            self._notify(StepDone(self._fold, step, state.max_steps, epoch, float(logs["loss"]), rate, used / 1e9))
        elif "eval_rmse" in logs:
            self._notify(EpochScored(self._fold, round(epoch), float(logs["eval_rmse"]), float(logs["eval_loss"])))


def score_epoch(evaluation: Any) -> dict[str, float]:
    """Score of an epoch, as the Trainer asks for it."""
    predictions = np.asarray(evaluation.predictions, float)
    if not np.isfinite(predictions).all():
        raise non_finite_error("what the network says after an epoch")
    return {"rmse": metrics.rmse(np.asarray(evaluation.label_ids, float), predictions)}


def trained_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What is trained of a network, by name."""
    return {name: weights.detach().cpu().contiguous() for name, weights in network.named_parameters() if weights.requires_grad}


def load_trained(network: torch.nn.Module, path: Path) -> None:
    """Put what was trained back into a network of the same shape."""
    known = dict(network.named_parameters())
    state = load_file(path)
    with torch.no_grad():
        for name, value in state.items():
            known[name].copy_(value)


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole, as is the best one that it names. Those that are not whole are removed."""
    whole: dict[str, tuple[int, str]] = {}
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            hashes = json.loads((checkpoint / _WHOLE).read_text(encoding="utf-8"))
            damaged = [name for name, made in hashes.items() if content_hash(checkpoint / name).hex() != made]
            state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError, AttributeError, RecursionError):
            damaged = [_WHOLE]
        if damaged:
            shutil.rmtree(checkpoint, ignore_errors=True)
        else:
            whole[checkpoint.name] = (int(state["global_step"]), Path(state["best_model_checkpoint"] or checkpoint).name)
    usable = [(step, name) for name, (step, best) in whole.items() if best in whole]
    return str(folder / max(usable)[1]) if usable else None


def non_finite_error(what: str) -> JobError:
    """The error of a loss or prediction that is not finite."""
    return JobError(
        f"{what} is not a number; the last whole epoch is kept. "
        "Take a lower --learning-rate, or look for labels and clips that stand out"
    )


def _resident_bytes() -> int:
    """Memory of this process."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
