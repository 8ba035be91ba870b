"""Measure, and write bench.md: what a clip costs beside plain librosa, what a data set costs, and how well the numbers agree.

Everything that is compared runs side by side, in turn, in one run of this script. Times are in seconds.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import soundfile

from bench.common import RATE_HZ, sounds

ROOT = Path(__file__).resolve().parents[1]
LONG_S, SHORT_S = 45, 3
LONG_CLIPS = 409
SHORT_COUNTS = (100, 1000, 10_000)
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
FAMILIES = ("energy", "silence", "spectral", "voice", "mfcc", "mel", "chroma", "rhythm", "hpss", "quality")


def main() -> None:
    """Run the sections that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "bench.md")
    options = parser.parse_args()
    wanted = options.sections or list(SECTIONS)
    source = recordings()
    lines = ["# Measurements", "", f"`make bench` wrote this on {machine()}.", "", f"Sound: {source.name}{note(source)}.", ""]
    with tempfile.TemporaryDirectory(prefix="earmark-bench-") as folder:
        for name in wanted:
            print(f"{name} ...", file=sys.stderr, flush=True)
            lines += [*SECTIONS[name](source, Path(folder)), ""]
    options.out.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(f"wrote {options.out}", file=sys.stderr)


def recordings() -> Path:
    """The data set that the sounds come from: the larger one where it is named, else the bundled one."""
    named = os.environ.get("EARMARK_TEST_DATA")
    return Path(named) / "speech-fluency" if named else ROOT / "examples" / "piano-touch"


def note(source: Path) -> str:
    """What to know of the recordings."""
    return "" if source.name == "speech-fluency" else ", the bundled set (EARMARK_TEST_DATA names no folder with larger ones)"


def machine() -> str:
    """What this runs on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "librosa", "numba"))
    return f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}, {versions}"


def write_clips(source: Path, folder: Path, count: int, seconds: int) -> Path:
    """A plain folder of WAV clips, each with a gain and an offset of its own: no two have the same bytes."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    rows = ["filename,label"]
    for index, y in zip(range(count), sounds(source, seconds), strict=False):
        changed = y * rng.uniform(0.3, 0.9) / max(1e-9, np.abs(y).max()) + rng.uniform(-0.01, 0.01)
        soundfile.write(folder / f"clip_{index:05d}.wav", changed, RATE_HZ, subtype="PCM_16")
        rows.append(f"clip_{index:05d}.wav,{index % 10}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def child(code: str, *arguments: object, cores: int | None = None, environment: dict[str, str] | None = None) -> dict:
    """Run Python code in a process of its own; it prints one JSON object last."""
    affinity = f"import os; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{cores}])\n" if cores else ""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", affinity + code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(environment or {}), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def median_s(function: Callable[[], object], runs: int) -> float:
    """Median time of a call, after one that does not count."""
    function()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


# One clip


def one_clip(source: Path, folder: Path) -> list[str]:
    """``ultra`` beside plain librosa, and where the time goes."""
    path = folder / "one.wav"
    soundfile.write(path, next(sounds(source, LONG_S)), RATE_HZ, subtype="PCM_16")
    code = "import json, sys; from bench.__main__ import time_one_clip; print(json.dumps(time_one_clip(sys.argv[1])))"
    took = child(code, path, cores=1, environment=ONE_THREAD)
    ratio = took["plain"] / took["ultra"]
    floor = sum(took["floor"].values())
    lines = [
        f"## One clip of {LONG_S} s, one core, warm",
        "",
        f"The 160 columns of `ultra`, each the median of {took['runs']} turns of both:",
        "",
        "| | seconds | |",
        "|---|---|---|",
        f"| plain librosa (`bench/plain_librosa.py`) | {took['plain']:.2f} | 1 |",
        f"| Earmark | {took['ultra']:.3f} | **{ratio:.0f} times faster** |",
        f"| Earmark, all 289 columns | {took['all']:.3f} | {took['plain'] / took['all']:.0f} times faster |",
        "",
        f"The floor of any such extractor is {1000 * floor:.0f} ms; `ultra` takes {took['ultra'] / floor:.1f} times that:",
        "",
        "| floor | ms |",
        "|---|---|",
        *(f"| {name} | {1000 * seconds:.1f} |" for name, seconds in took["floor"].items()),
        "",
        "Where the time of `ultra` goes (what families share is counted where it is first needed):",
        "",
        "| part | ms |",
        "|---|---|",
        *(f"| {name} | {1000 * seconds:.1f} |" for name, seconds in took["parts"].items()),
    ]
    return lines


def time_one_clip(path: str, runs: int = 7) -> dict:
    """Times of one clip, in this process."""
    import librosa

    from bench import plain_librosa
    from core import features
    from core.data.audio import read_clip, to_analysis_rate
    from core.features import chroma, pitch
    from core.features.frames import Frames

    features.prepare()
    sides = {
        "plain": lambda: plain_librosa.extract(path),
        "ultra": lambda: features.extract(read_clip(path), ("ultra",)),
        "all": lambda: features.extract(read_clip(path), ("ultra", "mfcc", "metadata")),
    }
    turns: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(runs + 1):
        for name, function in sides.items():
            began = time.perf_counter()
            function()
            if turn:
                turns[name].append(time.perf_counter() - began)

    clip = read_clip(path)
    frames = Frames(clip)
    y, sr = frames.y, frames.sr
    centres = np.arange(0, len(y), int(sr * pitch.PITCH_PERIODS / pitch.FLOOR_HZ / pitch.FRAMES_PER_PITCH_WINDOW))
    window = {"window": round(pitch.PITCH_PERIODS * sr / pitch.FLOOR_HZ), "max_lag": sr / pitch.FLOOR_HZ}
    floor = {
        "decode": lambda: read_clip(path),
        "resample": lambda: to_analysis_rate(clip.mono, clip.sample_rate_hz),
        "one STFT": lambda: librosa.stft(y),
        "one pitch autocorrelation": lambda: pitch._autocorrelation(y, centres, **window),
        "one constant-Q": lambda: chroma.constant_q(y, sr=sr, tuning=0.0),
    }
    floor_s = {name: median_s(function, runs) for name, function in floor.items()}

    parts: dict[str, list[float]] = {}
    for turn in range(runs + 1):
        fresh = None
        for name in ("decode and resample", "spectrogram", *FAMILIES):
            began = time.perf_counter()
            if name == "decode and resample":
                fresh = Frames(read_clip(path))
                _ = fresh.y
            elif name == "spectrogram":
                _ = fresh.magnitude, fresh.power
            else:
                importlib.import_module(f"core.features.{name}").columns(fresh)
            if turn:
                parts.setdefault(name, []).append(time.perf_counter() - began)
    return {
        "runs": runs,
        **{name: float(np.median(times)) for name, times in turns.items()},
        "floor": floor_s,
        "parts": {name: float(np.median(times)) for name, times in parts.items()},
    }


# Data sets

EXTRACT = """
import json, resource, sys, time
from pathlib import Path
began = time.perf_counter()
from core.extraction.extract import extract_clips
from core.extraction.config import ExtractSettings
clips = sorted(Path(sys.argv[1]).glob("*.wav"))[: int(sys.argv[3])]
done = extract_clips(clips, ExtractSettings(), cache_path=Path(sys.argv[2]) / "cache.sqlite")
assert len(done.vectors) == len(clips), done.failures
took = time.perf_counter() - began
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": took, "peak_mb": peak_mb, "computed": done.computed}))
"""


def data_set(source: Path, folder: Path) -> list[str]:
    """``earmark extract`` on 409 clips, cold and warm."""
    clips = write_clips(source, folder / "long", LONG_CLIPS, LONG_S)
    command = [sys.executable, "-m", "core.cli", "extract", str(clips / "labels.csv"), "--workspace", str(folder / "workspace")]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return [
        f"## {LONG_CLIPS} clips of {LONG_S} s, all 289 columns, all cores, start-up and export included",
        "",
        "| | seconds |",
        "|---|---|",
        f"| cold | {times[0]:.1f} |",
        f"| warm | {min(times[1:]):.2f} |",
    ]


def scale(source: Path, folder: Path) -> list[str]:
    """Time per clip and memory of the parent, from 100 to 10 000 clips."""
    clips = write_clips(source, folder / "short", max(SHORT_COUNTS), SHORT_S)
    lines = [
        f"## Clips of {SHORT_S} s, all 289 columns, all cores, none from the cache",
        "",
        "Start-up (about 4 s, once) is inside; the last column leaves it out. Memory is the parent's peak.",
        "",
        "| clips | seconds | ms per clip | parent MB | warm seconds | ms per clip without start-up |",
        "|---|---|---|---|---|---|",
    ]
    first = None
    for count in SHORT_COUNTS:
        workspace = folder / f"workspace-{count}"
        cold = child(EXTRACT, clips, workspace, count)
        warm = child(EXTRACT, clips, workspace, count)
        assert (cold["computed"], warm["computed"]) == (count, 0)
        beyond = "" if first is None else f"{1000 * (cold['seconds'] - first[1]) / (count - first[0]):.1f}"
        first = first or (count, cold["seconds"])
        per_clip = 1000 * cold["seconds"] / count
        lines.append(
            f"| {count} | {cold['seconds']:.1f} | {per_clip:.1f} | {cold['peak_mb']:.0f} | {warm['seconds']:.2f} | {beyond} |"
        )
    return lines


def compiling(source: Path, folder: Path) -> list[str]:
    """What the first clip on a new machine costs."""
    del source
    code = "import json, time; t = time.perf_counter(); from core import features; features.prepare(); "
    code += "print(json.dumps({'seconds': time.perf_counter() - t}))"
    cache = {"NUMBA_CACHE_DIR": str(folder / "numba")}
    cold, warm = child(code, environment=cache), child(code, environment=cache)
    return [
        "## Compiling, once on a machine, kept on the disk",
        "",
        "| a process until it is ready | seconds |",
        "|---|---|",
        f"| nothing compiled yet | {cold['seconds']:.1f} |",
        f"| compiled before | {warm['seconds']:.1f} |",
    ]


# Agreement


def agreement(source: Path, folder: Path) -> list[str]:
    """Every clip against librosa and Praat: the gates of the tests, and what lies outside."""
    del folder
    from tests.features.oracle import EXACT
    from tests.features.test_praat import GATES, praat
    from tests.features.test_reference import compare, equal, within

    sets = [source] if source.name != "speech-fluency" else [source, source.parent / "piano-touch"]
    lines = [
        "## Agreement with librosa and Praat, every clip",
        "",
        "A column agrees with librosa on a clip where it lies within 1e-2 of |reference| + standard deviation. Constant-Q chroma",
        "is compared by correlation: librosa thins its filters by 1 %, and hears loud moments in quiet ones.",
        "",
    ]
    for root in sets:
        paths = sorted((root / "audios").glob("*/*"))
        plain, outside, least = 0, [], 1.0
        for column, (ours, theirs) in compare(paths).items():
            if "chroma_cqt" in column:
                least = min(least, float(np.corrcoef(ours, theirs)[0, 1]))
                continue
            fits = equal(ours, theirs) if column.split(".")[1] in EXACT else within(ours, theirs, 1e-2)
            plain += 1
            outside += [f"{column}: {path.name}" for path, fit in zip(paths, fits, strict=True) if not fit]
        listed = "; ".join(outside) or "none"
        lines.append(f"- {root.name}, {len(paths)} clips: {plain} columns, exceptions: {listed}. Constant-Q: r >= {least:.4f}.")
    if source.name == "speech-fluency":
        lines += ["", "| voice column | r with Praat, every clip of speech-fluency | gate |", "|---|---|---|"]
        lines += [f"| {name} | {r:.3f} | {GATES[name]} |" for name, r in praat_correlations(sets[0], praat, list(GATES)).items()]
    return lines


def praat_correlations(root: Path, praat: Callable[[Path], dict[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Correlation of each voice column over all clips of a data set."""
    from core.data.audio import read_clip
    from core.features import voice
    from core.features.frames import Frames

    paths = sorted((root / "audios").glob("*/*"))
    ours, theirs = [voice.columns(Frames(read_clip(path))) for path in paths], [praat(path) for path in paths]
    return {name: float(np.corrcoef([v[name] for v in ours], [v[name] for v in theirs])[0, 1]) for name in names}


# Training


def training(source: Path, folder: Path) -> list[str]:
    """Five models on five folds: ``fast`` in one pool beside ``classic`` model after model."""
    from bench.training import MODELS, save

    sets = [source] if source.name != "speech-fluency" else [source, source.parent / "piano-touch"]
    lines = [
        "## Training: five models on five folds, 289 columns",
        "",
        f"{', '.join(MODELS)}; grouped folds, the same for both. `classic` runs model after model with all threads; `fast` as",
        "Earmark trains it: one pool of single-threaded fits, start-up and writing the models included.",
        "OMP_WAIT_POLICY=PASSIVE on both sides.",
        "",
        "| data set | rows | classic, s | fast, s | faster | OOF RMSE classic | fast | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for root in sets:
        file = folder / f"{root.name}.npz"
        rows = save(root, file, folder / "training")
        found = {way: trained(way, file) for way in ("fast", "classic")}
        fast, classic = found["fast"], found["classic"]
        change = fast["rmse"] / classic["rmse"] - 1
        times = f"{classic['seconds']:.1f} | {fast['seconds']:.1f} | **{classic['seconds'] / fast['seconds']:.1f} times**"
        lines.append(f"| {root.name} | {rows} | {times} | {classic['rmse']:.4f} | {fast['rmse']:.4f} | {change:+.1%} |")
    return lines


def trained(way: str, file: Path) -> dict:
    """One of the two ways, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench.training", way, str(file)],
        cwd=ROOT,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def workbench(source: Path, folder: Path) -> list[str]:
    """First paint, page switches, a tick, 10 000 clips."""
    from bench.workbench import section

    return section(source, folder)


def encoders(source: Path, folder: Path) -> list[str]:
    """Pretrained encoders and ``torch200`` beside plain loops."""
    from bench.encoders import section

    return section(source, folder)


def finetuning(source: Path, folder: Path) -> list[str]:
    """Training on frames that are kept beside computing them anew."""
    from bench.finetuning import section

    return section(source, folder)


SECTIONS = {
    "one-clip": one_clip,
    "data-set": data_set,
    "scale": scale,
    "compiling": compiling,
    "agreement": agreement,
    "training": training,
    "encoders": encoders,
    "finetuning": finetuning,
    "workbench": workbench,
}

if __name__ == "__main__":
    main()
