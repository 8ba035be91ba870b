"""A training that is killed goes on with the fits that it has not finished, and ends with the numbers of an undisturbed one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from core.cli.commands import main
from core.ensemble import EnsembleSettings, train
from core.extraction.matrix import Matrix
from core.runs import OOF
from tests.conftest import ROOT
from tests.extraction.test_nothing_lost import workers_of

# Runs a command and is killed as soon as so many fits are kept.
KILLED_AFTER = """
import os, signal, sys
from core.ensemble import fits
keep, left = fits._keep, int(sys.argv.pop(1))
def keep_or_die(*of):
    global left
    keep(*of)
    left -= 1
    if left == 0: os.kill(os.getpid(), signal.SIGKILL)
fits._keep = keep_or_die
from core.cli import main
sys.exit(main(sys.argv[1:]))
"""
OF_THE_MOMENT = ("run_id", "created", "seconds", "submission", "model_files")  # a .skops file holds the time of day


def words(root, workspace, *, members, workers, more=()):
    line = ["train", root, "--features", "mfcc,metadata", "--models", members, "--folds", "3", "--repeats", "2", "--self-test"]
    return [str(word) for word in (*line, *more, "--workers", workers, "--workspace", workspace, "--json")]


def start(*command):
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, *map(str, command)], env={**os.environ, "PYTHONPATH": str(ROOT)}, **options)


def fits_kept(jobs):
    """How many fits are kept, while folders come and go."""
    return sum(name.endswith(".npz") for _, _, names in os.walk(jobs) for name in names)


def finish(line, capsys):
    """End a training in this process: its run's folder, and its record without what is of the moment."""
    assert main(line) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    folder = Path(line[line.index("--workspace") + 1]) / "jobs" / printed["run_id"]
    record = json.loads((folder / "run.json").read_text())
    for verdict in record["scores"]["verdicts"].values():
        del verdict["minutes"], verdict["sentence"]
    return folder, Path(record["submission"]), {name: of for name, of in record.items() if name not in OF_THE_MOMENT}


def assert_same(resumed, undisturbed):
    """Bit for bit."""
    (one, one_submission, one_record), (other, other_submission, other_record) = resumed, undisturbed
    assert one_record == other_record
    assert set(json.loads((one / "run.json").read_text())["model_files"]) == set(
        json.loads((other / "run.json").read_text())["model_files"]
    )
    for name in ("oof.csv", "test_predictions.csv", "models/ensemble.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    with np.load(one / OOF) as mine, np.load(other / OOF) as theirs:
        assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
    assert one_submission.read_bytes() == other_submission.read_bytes()
    assert not (one / "checkpoints").exists()


@pytest.mark.slow
def test_a_training_killed_in_a_repeat_and_stopped_in_its_self_test_ends_as_if_undisturbed(
    make_dataset, tmp_path, capsys, monkeypatch
):
    """Two members, two folds and two repeats are eight fits, and three self-tests of one repeat twelve."""
    root = make_dataset(16, test=3, seconds=0.3)
    options = {"members": "svr,ridge", "workers": 0, "more": ("--folds", "2")}
    line = words(root, tmp_path / "killed", **options)
    assert start("-c", KILLED_AFTER, 6, *line).wait() == -signal.SIGKILL  # in the second repeat
    fit, done = train.fit, []

    def count(task):
        done.append(task)
        return fit(task)

    def stop(task):  # in the second self-test
        if len(done) == 2 + 5:
            raise KeyboardInterrupt
        return count(task)

    monkeypatch.setattr(train, "fit", stop)
    assert main(line) == 130
    monkeypatch.setattr(train, "fit", count)
    resumed = finish(line, capsys)
    assert len(done) == 8 + 12 - 6
    undisturbed = finish(words(root, tmp_path / "whole", **options), capsys)
    assert len(done) == 2 * (8 + 12) - 6
    assert_same(resumed, undisturbed)
    sets = {some for model in resumed[2]["scores"]["models"].values() for some in model["sets"]}
    assert sets <= {"mfcc", "metadata", "mfcc,metadata"}


def test_a_training_stopped_while_a_model_is_written_leaves_no_part_of_it(tmp_path, rng, monkeypatch):
    X = rng.normal(size=(20, 3))
    matrix = Matrix(X, X[:, 0], ("a", "b", "c"), tuple(map(str, range(20))))
    settings = EnsembleSettings(members=("ridge",), folds=2, workers=0)
    folders = {"folder": tmp_path / "models", "files": train.WorkFiles(checkpoints=tmp_path / "checkpoints")}

    def stop(written, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            train.train_ensemble(matrix, settings, **folders)
    [part] = tmp_path.rglob(".*.skops")
    part.rename(part.with_name(".1-ridge.preprocess.skops"))  # as a process of another number leaves it
    train.train_ensemble(matrix, settings, **folders)
    assert list(tmp_path.rglob(".*")) == []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_a_training_with_every_switch_killed_at_random_moments_ends_as_if_undisturbed(make_dataset, tmp_path, capsys):
    """Kills of the training or of one of its workers, at any of its 81 fits: also in the trainings without a switch."""
    root = make_dataset(18, test=6, seconds=0.3)
    options = {"members": "lightgbm,svr,ridge", "workers": 2, "more": ("--augment", "1", "--tta", "1", "--pseudo-labels")}
    line = words(root, tmp_path / "killed", **options)
    moments = random.Random(1)
    kills = 0
    for goal in sorted(moments.sample(range(1, 75), 5)):
        process = start("-m", "core.cli", *line)
        while process.poll() is None and fits_kept(tmp_path / "killed/jobs") < goal:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.1))
        if moments.random() < 0.3 and (workers := workers_of(process.pid)):
            os.kill(moments.choice(workers), signal.SIGKILL)
            time.sleep(0.5)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
    assert kills >= 3
    assert_same(finish(line, capsys), finish(words(root, tmp_path / "whole", **options), capsys))
