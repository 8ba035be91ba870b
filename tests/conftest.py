"""Signals whose answer can be said aloud, small data sets made of them, and the real ones."""

import csv
import importlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from core.extraction.matrix import Matrix, save_matrix
from core.runs import MATRIX, OOF, Run, read_run

ROOT = Path(__file__).resolve().parents[1]
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a shell; what tests start is to hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["MLFLOW_TRACKING_URI"] = "off"  # for jobs in processes of their own too; tests of the copies name an address
PIANO = ROOT / "examples" / "piano-touch"
COUNT_CORES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "core").rglob("[!_]*.py"))
    if re.search(r"from core\.runtime\.pool import .*\bcores\b", path.read_text())
]
WITH_PROCESSES = ("runtime", "jobs", "data", "extraction")  # rooms whose tests look at what processes do


@pytest.fixture(scope="session", autouse=True)
def _one_core_for_each_test_process() -> Iterator[None]:
    """Threads of PyTorch wait for each other busily, and two test processes with all cores each take twice as long."""
    with pytest.MonkeyPatch.context() as patch:
        if "PYTEST_XDIST_WORKER" in os.environ:
            patch.setattr("core.runtime.device.cores", lambda: 1)
        yield


@contextmanager
def without_processes() -> Iterator[None]:
    """Run here what would take a process for each core: these start in seconds, and read clips of tests in milliseconds."""
    for name in COUNT_CORES:  # what is first imported in here would keep the count of none
        importlib.import_module(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.runtime.pool.cores", lambda: 0)
        yield


@pytest.fixture(autouse=True)
def _without_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.path.parent.name in WITH_PROCESSES or request.node.get_closest_marker("slow"):
        yield
    else:
        with without_processes():
            yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def piano() -> Path:
    """The bundled data set."""
    return PIANO


def shared_set(name: str) -> Path:
    """A larger data set, where the tests were told of it."""
    folder = os.environ.get("EARMARK_TEST_DATA")
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"EARMARK_TEST_DATA does not name a folder with {name}/")
    return Path(folder) / name


@pytest.fixture
def speech() -> Path:
    return shared_set("speech-fluency")


def tone(frequency_hz: float, *, seconds: float = 1.0, sr: int = 22050, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * sr)) / sr)


def write_clip(path: Path, samples: np.ndarray, *, sr: int = 22050, subtype: str | None = None, format: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        soundfile.write(file, samples, sr, subtype=subtype, format=format or path.suffix[1:].upper())
    return path


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_dataset(root: Path, n: int = 12, *, test: int = 3, seconds: float = 0.5) -> Path:
    """A data set whose label is the loudness of a noisy tone: learnable, small and quick."""
    rng = np.random.default_rng(1)
    for split, count in (("train", n), ("test", test)):
        rows = []
        if count == 0:
            continue
        for index in range(count):
            label = 1 + index % 6
            samples = 0.12 * label * tone(220 + 10 * index, seconds=seconds) + 0.001 * rng.normal(size=round(seconds * 22050))
            write_clip(root / "audios" / split / f"{split}{chr(97 + index % 26)}{index // 26}x.wav", samples)
            row = [f"{split}{chr(97 + index % 26)}{index // 26}x", label, f"speaker{index % 4}"]
            rows.append(row if split == "train" else [row[0], row[2]])
        header = ["filename", "label", "speaker"] if split == "train" else ["filename", "speaker"]
        write_table(root / "csvs" / f"{split}.csv", header, rows)
    return root


def write_run(folder: Path, *, ensemble: dict[str, Any] | None = None, scores: dict[str, Any] | None = None, **record: Any) -> Run:
    """A finished run of two members on six clips in two repeats of three folds, as if it had been trained."""
    settings = {"members": ["svr", "ridge:mfcc:seed=7"], "folds": 3, "repeats": 2, "groups": None, "stratified": False, "seed": 42}
    settings |= ensemble or {}
    fits = settings["folds"] * settings["repeats"] * len(settings["members"])
    folds = settings["folds"] * settings["repeats"]
    by_fold = {"fold_rmse": [float(number + 1) for number in range(folds)], "fold_rmse_mean": (folds + 1) / 2, "fold_rmse_std": 1.5}
    rmse = {"svr": 0.7, "ridge:mfcc:seed=7": 0.9}
    whole = {
        "run_id": folder.name,
        "created": "2026-11-23T10:00:00.000000+00:00",
        "versions": {"earmark": "1.0"},
        "dataset": {"path": "/nowhere/loudness", "name": "loudness", "fingerprint": "0123456789ab", "train_clips": 6},
        "settings": {
            "layout": {"label_column": None},
            "extract": {"features": ["mfcc"], "max_seconds": 45.0},
            "ensemble": settings,
        },
        "columns": ["mfcc.a"],
        "model_files": {str(number): "" for number in range(2 * fits + 1)},
        "scores": {
            "oof_rmse": 0.5,
            "oof_rmse_by_repeat": [0.4, 0.6],
            "oof_mae": 0.375,
            "oof_pearson": 0.875,
            "oof_r2": 0.75,
            "fold_rmse": [(number + 1) / 10 for number in range(folds)],
            "fold_rmse_mean": 0.35,
            "fold_rmse_std": 0.125,
            "constant_rmse": 1.5,
            "leak_gap": 0.25,
            "models": {name: {"oof_rmse": rmse.get(name, 1.0)} | by_fold for name in settings["members"]},
            "blend": {"svr": 0.75, "ridge:mfcc:seed=7": 0.25},
            "interval_coverage": 0.9,
            "interval": {"level": 0.9, "mean_width": 2.5},
            "self_test": None,
            "badges": {"oof_rmse": "nested", "interval_coverage": "out-of-fold"},
        }
        | (scores or {}),
        "submission": None,
        "seconds": 90.0,
    } | record
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(whole))
    (folder / "oof.csv").write_text("filename,label,fold,oof_prediction\n")
    arrays = {
        "filenames": np.array(["a", "b", "c", "d", "e", "f"]),
        "contents": np.array(["00", "11", "22", "33", "44", "55"]),
        "labels": np.arange(6.0),
        "groups": np.array([""] * 6),
        "folds": np.array([[0, 1, 2, 0, 1, 2], [2, 1, 0, 0, 1, 2]]),
        "predictions": np.arange(6.0) + np.array([[0.5], [-0.5]]),
    }
    np.savez_compressed(folder / OOF, **arrays)
    save_matrix(Matrix(np.arange(6.0, dtype=np.float32)[:, None], np.arange(6.0), ("mfcc.a",), tuple("abcdef")), folder / MATRIX)
    return read_run(folder)


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """``write_dataset`` in the folder of the test."""

    def make(n: int = 12, *, name: str = "loudness", **options: Any) -> Path:
        return write_dataset(tmp_path / name, n, **options)

    return make
