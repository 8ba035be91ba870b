"""What this installation stands on: versions, machine, disk, workspace. Sizes in bytes, each finding with what is wrong with it."""

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core import __version__, features, jobs
from core.data import ffmpeg
from core.errors import EarmarkError, FileError
from core.events import unread_lines
from core.extraction.extract import is_current
from core.runtime.cache import VectorCache
from core.runtime.device import has_torch, probe
from core.runtime.pool import cores
from core.workspace import Workspace, read_json

LIBRARIES = (
    *("numpy", "scipy", "librosa", "numba", "soxr", "soundfile", "scikit-learn", "xgboost", "lightgbm", "catboost"),
    *("streamlit", "torch", "torchaudio", "transformers", "Resemblyzer"),
)
LITTLE_SPACE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes
    ----------
    section, name : str
    value : str
    problem : str, what is wrong and what to do; empty where all is well
    """

    section: str
    name: str
    value: str
    problem: str = ""


def examine(workspace: Workspace) -> list[Finding]:
    """Look at everything that has stopped somebody's work before; nothing is changed, and a missing workspace is not created."""
    return [*_versions(), *_machine(), *_space(workspace), *_workspace(workspace)]


def _versions() -> list[Finding]:
    import soundfile

    found = [Finding("versions", "earmark", __version__), Finding("versions", "python", platform.python_version())]
    for name in LIBRARIES:
        try:
            found.append(Finding("versions", name, version(name)))
        except PackageNotFoundError:
            found.append(Finding("versions", name, "not installed"))
    missing = f"not installed; M4A, AAC, WebM, WMA, AMR and videos need it: {ffmpeg.install_command()}"
    return [
        *found,
        Finding("versions", "libsndfile", soundfile.__libsndfile_version__),
        Finding("versions", "ffmpeg", ffmpeg.version() or missing),
    ]


def _machine() -> list[Finding]:
    compiled = "yes" if features.is_compiled() else "no: the next extraction does it once, in about half a minute"
    found = [
        Finding("machine", "system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        Finding("machine", "cores", str(cores())),
        Finding("machine", "gpu", _gpu()),
        Finding("machine", "compiled", compiled),
    ]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        problem = "" if memory >= cores() << 29 else "under 0.5 GB for each core: use fewer --workers"
        found.insert(2, Finding("machine", "memory", size_text(memory), problem))
    return found


def _gpu() -> str:
    if not has_torch():
        return "unknown: torch is not installed"
    found = probe()
    return f"{found.name}, {size_text(found.memory_bytes)}" if found.kind == "cuda" else "none that torch can use"


def _space(workspace: Workspace) -> list[Finding]:
    found = []
    for name, folder in (("workspace", workspace.root), ("temporary files", Path(tempfile.gettempdir()))):
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(there).free
        problem = f"little space: free some of the disk of {there}" if free < LITTLE_SPACE_BYTES else ""
        found.append(Finding("disk", name, f"{size_text(free)} free", problem))
    return found


def _workspace(workspace: Workspace) -> list[Finding]:
    root = workspace.root
    there = next(parent for parent in (root, *root.parents) if parent.exists())
    writable = os.access(there, os.W_OK | os.X_OK)
    problem = "" if writable else f"{there} is not writable: change its rights, or name another with --workspace"
    if not root.exists():
        return [Finding("workspace", "folder", f"{root} (not there yet; the first job creates it)", problem)]
    found = [Finding("workspace", "folder", str(root), problem)]
    if workspace.cache.is_file():
        try:
            with VectorCache(workspace.cache, read_only=True) as store:
                stored = store.stored()
            old = sum(of.vectors for of in stored if not is_current(of))
            size = size_text(workspace.cache.stat().st_size)
            value = f"{sum(of.vectors for of in stored)} vectors, {size}" + (f"; {old} of an earlier definition" if old else "")
            problem = "" if os.access(workspace.cache, os.W_OK) else "not writable: change its rights"
            found.append(Finding("workspace", "cache", value, problem))
        except EarmarkError as error:
            found.append(Finding("workspace", "cache", "cannot be read", str(error)))
    states = [jobs.status(job) for job in jobs.list_jobs(workspace.jobs)]
    counts = {state: states.count(state) for state in sorted(set(states))}
    found.append(Finding("workspace", "jobs", ", ".join(f"{number} {state}" for state, number in counts.items()) or "none"))
    return [*found, *_damaged(workspace.jobs)]


def _damaged(folder: Path) -> Iterator[Finding]:
    """Files of jobs and runs that cannot be read; they cost nothing but themselves."""
    from core.runs import ABOUT, RECORD, check_about, read_run

    readers: dict[str, Callable[[Path], object]] = {
        jobs.SPEC: lambda path: jobs.read_job(path.parent),
        RECORD: lambda path: read_run(path.parent),
        jobs.RESULT: read_json,
        ABOUT: lambda path: check_about(path.parent),
    }
    for path in sorted(path for name in (*readers, jobs.EVENTS) for path in folder.glob(f"*/{name}")):
        try:
            if path.name in readers:
                readers[path.name](path)
            elif not path.is_file():
                raise FileError(path, "expected a file, found a folder")
            elif lines := unread_lines(path):  # such as one that a full disk cut off
                yield Finding("workspace", path.parent.name, f"{path.name} has {lines} damaged lines, which are left out")
        except FileNotFoundError:  # deleted at this moment
            continue
        except EarmarkError as error:
            yield Finding("workspace", path.parent.name, f"{path.name} cannot be read", str(error))


def size_text(count: float) -> str:
    """A size with the unit that suits it.

    Examples
    --------
    >>> size_text(1_500_000)
    '1.5 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
