"""Handcrafted features: one clip in, one named vector a set out.

``FEATURES.csv`` beside this file is the one source of what a column is: its set and place, family, unit, definition, NaN rule and
reference. Each family is a module with one function, ``columns(frames) -> dict``; a set takes from its families the columns that
the table names. Conventions (n_fft 2048, hop 512, standard deviations of the population, linear percentiles) stand in
``frames.py``, which sets there are in ``sets.py``, how one of them is taken over windows in ``windows.py``.
"""

import hashlib
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from threadpoolctl import ThreadpoolController

from core.data.audio import ANALYSIS_RATE_HZ, Clip
from core.errors import AudioError, JobError
from core.features.sets import (
    NEVER,
    SET_VERSIONS,
    Column,
    FeatureSet,
    canonical,
    chooser,
    columns,
    named_sets,
    names,
    parse_set,
    possible_columns,
    set_of,
    width,
)
from core.features.windows import WINDOWS_VERSION, cut, pool

__all__ = [
    "SET_VERSIONS",
    "WINDOWS_VERSION",
    "Column",
    "FeatureSet",
    "Trace",
    "canonical",
    "chooser",
    "columns",
    "extract",
    "is_compiled",
    "named_sets",
    "names",
    "parse_set",
    "possible_columns",
    "prepare",
    "set_of",
    "trace",
    "width",
]

COMPILE_WAIT_S = 300.0

_prepared = threading.Event()  # this process has passed ``prepare``


def extract(clip: Clip, sets: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Compute feature sets of one clip over one shared frame analysis, and one for each window.

    Parameters
    ----------
    clip : Clip
    sets : tuple of str, names of sets of audio

    Returns
    -------
    vectors : dict of str to np.ndarray [shape=(len(columns(set)),)], float32; NaN only where its column has a rule for it

    Raises
    ------
    AudioError
        A column that is always defined came out without a finite value: the clip is named, its vector is not used.
    """
    prepare()
    return _extract(clip, sets)


@dataclass(frozen=True, slots=True)
class Trace:
    """What the columns of pauses and of pitch are made of, along a clip.

    Attributes
    ----------
    pauses_s : np.ndarray [shape=(k, 2)], begin and end of each pause of at least 0.2 s
    pitch_times_s : np.ndarray [shape=(t,)]
    f0_hz : np.ndarray [shape=(t,)], NaN where nothing is voiced
    """

    pauses_s: np.ndarray
    pitch_times_s: np.ndarray
    f0_hz: np.ndarray


def trace(clip: Clip) -> Trace:
    """Follow pauses and pitch of a clip, with the thresholds of the columns; the first time on a machine it compiles for seconds.

    Raises
    ------
    JobError
        As ``prepare``.
    """
    from core.features.frames import HOP_LENGTH, Frames, runs
    from core.features.pitch import track_pitch
    from core.features.silence import MIN_PAUSE_S, silent_frames

    frames = Frames(clip)
    with nullcontext() if _prepared.is_set() or is_compiled() else _alone(), _threads().limit(limits=1):
        silent = runs(silent_frames(frames.level_db))
        track = track_pitch(frames.y, sr=frames.sr)
    hop_s = HOP_LENGTH / frames.sr
    # A frame stands for the hop around its centre.
    pauses_s = np.array([(start - 0.5, end - 0.5) for start, end in silent if (end - start) * hop_s >= MIN_PAUSE_S]) * hop_s
    return Trace(np.clip(pauses_s.reshape(-1, 2), 0, frames.seconds), track.times_s, track.f0_hz)


def prepare(first: bool = True) -> None:
    """Compile, or load what was compiled, for this process.

    numba's cache on the disk takes a function compiled by two processes at once for one of the other's kinds: the machine code is
    then wrong, and a clip ends in a crash. So processes pass here one by one, with a signal that reaches all compiled code.

    Parameters
    ----------
    first : bool, False where another process has just passed: there is nothing left to compile, so none needs to wait

    Raises
    ------
    JobError
        The others do not let this process pass.
    """
    if _prepared.is_set():
        return
    sr = ANALYSIS_RATE_HZ
    t = np.arange(2 * sr) / sr
    voice = sum(np.sin(2 * np.pi * 150 * harmonic * t) / harmonic for harmonic in range(1, 9))
    sound = 0.05 * voice * (t % 0.5 < 0.3) + 0.3 * (np.arange(len(t)) % (sr // 2) < 50)  # syllables and clicks
    clip = Clip(Path("prepare"), sound[:, None].astype(np.float32), sr, len(t) / sr, 0)
    with _alone() if first else nullcontext():
        _extract(clip, tuple(SET_VERSIONS))
    if first:
        with suppress(OSError):  # the mark only decides whether the next process says that it compiles
            _temporary(f"compiled-{_code_stamp()}").touch()
    _prepared.set()


@contextmanager
def _alone() -> Iterator[None]:
    """One process of this user at a time."""
    path = _temporary("compile.lock")
    try:
        with FileLock(path, timeout=COMPILE_WAIT_S):
            yield
    except Timeout:
        raise JobError(
            f"another process of Earmark has been compiling for {COMPILE_WAIT_S / 60:.0f} minutes and holds {path}; end it"
        ) from None
    except OSError as error:
        raise JobError(
            f"{path}: {error.strerror}; it must be writable for you: remove it, or name another folder in TMPDIR"
        ) from None


def is_compiled() -> bool:
    """Whether this code was compiled on this machine before; the first time takes about half a minute."""
    return _temporary(f"compiled-{_code_stamp()}").exists()


def _temporary(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"earmark-{os.getuid()}-{name}"


@cache
def _code_stamp() -> str:
    """Changes when this code, or a library that compiles, does."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    states = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in sources]
    of = (states, sys.version, version("numba"), version("librosa"), os.environ.get("NUMBA_CACHE_DIR"))
    return hashlib.blake2b(repr(of).encode(), digest_size=8).hexdigest()


def _extract(clip: Clip, sets: tuple[str, ...]) -> dict[str, np.ndarray]:
    windows_s = {name: parse_set(name).window_s for name in sets}
    vectors = {}
    # Sums run in one order whatever the number of threads, so that a vector has the same bits on any machine of one kind.
    with _threads().limit(limits=1), warnings.catch_warnings():
        # librosa warns of clips shorter than a window; the padding that it then uses is what the definitions ask for.
        warnings.filterwarnings("ignore", message="n_fft=.* is too large", category=UserWarning)
        warnings.filterwarnings("ignore", message="Trying to estimate tuning from empty", category=UserWarning)
        for window_s in dict.fromkeys(windows_s.values()):
            alike = [name for name in sets if windows_s[name] == window_s]
            bases = [parse_set(name).base for name in alike]
            parts = [_analyse(part, bases) for part in (cut(clip, window_s) if window_s else [clip])]
            for name, base in zip(alike, bases, strict=True):
                vectors[name] = pool([part[base] for part in parts]) if window_s else parts[0][base]
    return vectors


def _analyse(clip: Clip, sets: Sequence[str]) -> dict[str, np.ndarray]:
    """Vectors of sets of FEATURES.csv."""
    from core.features import basic, chroma, energy, hpss, mel, metadata, mfcc, quality, rhythm, silence, spectral, voice
    from core.features.frames import Frames

    modules = (basic, energy, silence, spectral, voice, mfcc, mel, chroma, rhythm, hpss, quality, metadata)
    families = {module.__name__.rsplit(".", 1)[-1]: module for module in modules}
    frames = Frames(clip)
    values: dict[str, dict[str, float]] = {}
    vectors = {}
    for set_name in sets:
        for column in columns(set_name):
            if column.family not in values:
                values[column.family] = families[column.family].columns(frames)
        vectors[set_name] = _vector(clip, columns(set_name), values)
    return vectors


def _vector(clip: Clip, wanted: tuple[Column, ...], values: dict[str, dict[str, float]]) -> np.ndarray:
    vector = np.array([values[column.family][column.name] for column in wanted], np.float32)
    for column, value in zip(wanted, vector, strict=True):
        if np.isinf(value) or (np.isnan(value) and column.nan_when == NEVER):
            raise AudioError(clip.path, f"feature {column.set}.{column.name} has no finite value ({value}), which it always should")
    return vector


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()
