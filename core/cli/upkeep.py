"""Commands that look after the installation: the cache, the doctor, the browser workbench, the schema of the settings."""

import argparse
import signal
import sys
from pathlib import Path

from core.cli.common import read_workspace
from core.cli.console import print_json
from core.errors import ParameterError
from core.workspace import Workspace


def cache_info(options: argparse.Namespace) -> int:
    """Say what the cache of a workspace holds."""
    from core.cli.doctor import size_text
    from core.extraction.extract import is_current
    from core.runtime.cache import VectorCache

    path = _read_cache(options)
    with VectorCache(path, read_only=True) as store:
        stored = store.stored()
    print(f"{path}: {size_text(path.stat().st_size)}")
    for of in stored:
        name = f"{of.set_name} of the first {of.max_seconds:g} s" if of.set_name else "of an unknown set"
        use = "in use" if is_current(of) else "of an earlier definition: earmark cache prune removes them"
        print(f"  {of.vectors:8d} vectors, {size_text(of.bytes):>9}  {name} ({use})")
    if kept := list(read_workspace(options).frames.glob("audio_*.npy")):
        size = size_text(sum(file.stat().st_size for file in kept))
        print(f"  {len(kept):8d} clips,   {size:>9}  encoded for fine-tuning (earmark cache prune --frames removes them)")
    if cut := [file for file in read_workspace(options).segments.glob("*/*.wav") if not file.name.startswith(".")]:
        size = size_text(sum(file.stat().st_size for file in cut))
        print(
            f"  {len(cut):8d} segments, {size:>8}  cut out of recordings (earmark cache prune removes those of files that are gone)"
        )
    return 0


def cache_verify(options: argparse.Namespace) -> int:
    """Check every vector of a cache against its checksum."""
    from core.runtime.cache import VectorCache

    path = _read_cache(options)
    with VectorCache(path, read_only=True) as store:
        damaged = store.damaged()
        vectors = sum(of.vectors for of in store.stored())
    if damaged:
        print(f"{len(damaged)} of {vectors} vectors are damaged; they are never used, and earmark cache prune removes them")
        return 1
    print(f"{vectors} vectors, all whole")
    return 0


def cache_prune(options: argparse.Namespace) -> int:
    """Remove from a workspace what this version will not use, and segments of recordings that are gone or were changed."""
    if read_workspace(options).cache.is_file() or options.frames or not read_workspace(options).segments.is_dir():
        _prune_vectors(options)
    _prune_segments(read_workspace(options))
    return 0


def _prune_segments(workspace: Workspace) -> None:
    from core import jobs
    from core.cli.doctor import size_text
    from core.data.segments import prune

    if not workspace.segments.is_dir():
        return
    if active := [job.id for job in jobs.list_jobs(workspace.jobs) if jobs.status(job) in jobs.ACTIVE]:
        print(f"segments of recordings stay, as job {active[0]} may need them; run it again when it has ended")
        return
    pruned = prune(workspace.segments)
    print(f"segments of {pruned.recordings} of {pruned.among} recordings removed, {size_text(pruned.bytes)} freed")


def _prune_vectors(options: argparse.Namespace) -> None:
    from core.cli.doctor import size_text
    from core.extraction.extract import is_current
    from core.multimodal.frames import is_whole, torn_frames
    from core.runtime.cache import VectorCache

    path = _read_cache(options)
    before = path.stat().st_size
    with VectorCache(path) as store:
        removed = store.remove(store.damaged(), definitions=[of.definition for of in store.stored() if not is_current(of)])
    freed = max(0, before - path.stat().st_size)
    files = list(read_workspace(options).frames.glob("audio_*.npy"))
    gone = [file for file in files if options.frames or not is_whole(file)]
    freed += sum(file.stat().st_size for file in gone)
    for file in (*gone, *torn_frames(read_workspace(options).frames)):
        file.unlink(missing_ok=True)
    heard = f" and {len(gone)} of {len(files)} clips encoded for fine-tuning" if files else ""
    print(f"{removed} vectors{heard} removed, {size_text(freed)} freed")


def doctor(options: argparse.Namespace) -> int:
    """Examine the installation."""
    from core.cli.doctor import examine

    found = examine(read_workspace(options))
    if options.json:
        print_json({"findings": found})
    else:
        section = ""
        for finding in found:
            if finding.section != section:
                section = finding.section
                print(section)
            print(f"  {finding.name:16} {finding.value}")
            if finding.problem:
                print(f"  {'':16} problem: {finding.problem}")
    return 1 if any(finding.problem for finding in found) else 0


def app(options: argparse.Namespace) -> int:
    """Open the workbench in the browser."""
    import subprocess

    root = Path(__file__).resolve().parents[2]
    if not (root / "app" / "__main__.py").is_file():
        raise ParameterError(f"{root}: the browser workbench is not part of this installation; install Earmark from its repository")
    words = [sys.executable, "-m", "app", "--workspace", str(read_workspace(options).root), "--from", str(Path.cwd())]
    words += [] if options.port is None else ["--port", str(options.port)]
    child = subprocess.Popen(words, cwd=root)
    signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())
    try:
        return child.wait()
    except KeyboardInterrupt:  # a terminal tells the child too; another sender may not have
        try:
            return child.wait(timeout=3)
        except subprocess.TimeoutExpired:
            child.terminate()
            return child.wait()


def config_schema(options: argparse.Namespace) -> int:
    """Print the JSON schema of a settings file."""
    import json

    from core.settings import schema

    print(json.dumps(schema(), indent=2))
    return 0


def _read_cache(options: argparse.Namespace) -> Path:
    path = read_workspace(options).cache
    if not path.is_file():
        raise ParameterError(f"{path} is not there: nothing was extracted into this workspace yet (another one: --workspace)")
    return path
