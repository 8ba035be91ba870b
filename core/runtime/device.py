"""Where PyTorch computes: the device of this machine, and batches that shrink until they fit into its memory. Sizes in bytes."""

import functools
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from core.errors import JobError, ParameterError
from core.events import Notify, StageStarted, ignore
from core.runtime.pool import cores

DEVICES = ("auto", "cuda", "cpu")
_DRIVERS = ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")  # without any of them no GPU can answer
_PROBE_S = 120.0
_PROBE = """
import json, torch
found = {}
if torch.cuda.is_available():
    of = torch.cuda.get_device_properties(0)
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    found = {"name": of.name, "memory_bytes": of.total_memory, "precision": "bf16" if bf16 else "fp32"}
print(json.dumps(found))
"""

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Device:
    """The device that PyTorch computes on.

    Attributes
    ----------
    kind : str, cuda or cpu
    name : str, for people
    memory_bytes : int, of the GPU; 0 for the processor
    precision : str, of large models on it: bf16, which keeps the range of fp32, where the GPU computes in it; else fp32
    """

    kind: str
    name: str
    memory_bytes: int = 0
    precision: str = "fp32"


CPU = Device("cpu", "processor")


def has_torch() -> bool:
    """Whether PyTorch is installed; it is not imported."""
    return find_spec("torch") is not None


def require_torch(what: str) -> None:
    """Refuse what needs PyTorch where it is not installed.

    Raises
    ------
    ParameterError
    """
    if not has_torch():
        raise ParameterError(f"{what} needs PyTorch, which is not installed; run: pip install 'earmark[deep]'")


@functools.cache
def probe() -> Device:
    """The best device of this machine, as a process of its own finds it: this one stays free of PyTorch.

    Returns
    -------
    device : Device; the processor where there is no driver of a GPU, or PyTorch cannot use it
    """
    if not has_torch() or not any(Path(path).exists() for path in _DRIVERS):
        return CPU
    try:
        asked = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_S, check=True)
        found = json.loads(asked.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return CPU  # a driver that does not answer is no GPU
    return Device("cuda", **found) if found else CPU


def choose(device: str = "auto") -> Device:
    """The device of a setting.

    Parameters
    ----------
    device : str, auto, cuda or cpu

    Raises
    ------
    ParameterError
        There is no such device here.
    """
    if device not in DEVICES:
        raise ParameterError(f"device={device!r} not among {', '.join(DEVICES)}")
    if device == "cpu":
        return CPU
    found = probe()
    if device == "cuda" and found.kind != "cuda":
        raise ParameterError("device='cuda': PyTorch finds no GPU on this machine; take 'auto' or 'cpu', and see earmark doctor")
    return found


def use_all_cores() -> None:
    """Let PyTorch compute with every core of this process; the environment of a worker leaves it one."""
    import torch

    torch.set_num_threads(cores())


@contextmanager
def exclusive(device: Device, notify: Notify = ignore) -> Iterator[None]:
    """Hold the GPU of this machine exclusively: two jobs that train on it take turns. The processor is shared.

    Parameters
    ----------
    device : Device
    notify : told where another job has it, with StageStarted
    """
    if device.kind == "cpu":
        yield
        return
    lock = FileLock(Path(tempfile.gettempdir()) / f"earmark-{device.kind}-{os.getuid()}.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        notify(StageStarted(f"waiting: another job has the {device.name}"))
        held = lock.acquire()
        notify(StageStarted("reading encoders and texts"))
    with held:
        yield


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch says that memory ran out, of the GPU or of the machine."""
    import torch

    said = ("DefaultCPUAllocator", "out of memory", "_ALLOC_FAILED")  # by the processor's, CUDA itself, and its libraries
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in said)
    )


@contextmanager
def in_memory(what: str) -> Iterator[None]:
    """Put something on a device; where memory does not hold it, the error has a readable message.

    Raises
    ------
    JobError
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise JobError(f"the memory of the device does not hold {what}; take --device cpu, or a smaller model") from None


def in_batches(
    function: Callable[[Sequence[Item]], Sequence[Value]],
    items: Sequence[Item],
    *,
    batch: int,
    halved: Callable[[int], None],
) -> list[Value]:
    """Apply a function to items, some at once; where memory runs out the batch is halved and the work goes on.

    Parameters
    ----------
    function : of a sequence of items, gives one value each; it keeps nothing of a call that fails
    items : sequence
    batch : int >= 1, items at once
    halved : told the new size each time

    Returns
    -------
    values : list, in the order of the items

    Raises
    ------
    JobError
        Memory does not hold a single item.
    """
    values: list[Value] = []
    while len(values) < len(items):
        part = items[len(values) : len(values) + batch]
        failed = False
        try:
            values += function(part)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failed = True
        if failed:  # outside of the handler: the error's frames hold the tensors that fill the memory
            free_memory()
            if len(part) == 1:
                raise JobError(
                    "the memory of the device does not hold a single piece of a clip; take --device cpu, or a smaller model"
                )
            batch = max(1, len(part) // 2)
            halved(batch)
    return values


def free_memory() -> None:
    """Give back what PyTorch holds in reserve."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
