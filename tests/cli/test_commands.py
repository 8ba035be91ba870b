"""The command line as a user types it: what it prints, what it returns, and that it never shows a traceback."""

import csv
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from core import features
from core.cli.score_table import fitness_lines
from core.data.segments import cut, segment_of
from core.events import EventLog, JobDone
from core.jobs import claim
from tests.conftest import ROOT, tone, write_clip, write_run, write_table


def test_check_reports_and_says_whether_training_is_possible(earmark, make_dataset):
    root = make_dataset(12, test=3)
    code, out, _ = earmark("check", root, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["clips"] == 15
    assert report["seconds"] == pytest.approx(7.5)
    assert report["labels"]["count"] == 12
    assert report["problems"] == []
    assert report["layout"] == "csvs/ and audios/"
    roles = ["names the clips", "label", "further column", "names the clips", "further column"]
    assert [column["role"] for column in report["columns"]] == roles
    assert list(report) == ["clips", "seconds", "sample_rates", "bandwidths", "labels", "problems", "layout", "columns"]
    (root / "audios/train/traina0x.wav").write_bytes(b"")
    code, out, _ = earmark("check", root)
    assert code == 0
    assert "traina0x: the file is empty (0 bytes)" in out
    assert "  csvs/train.csv: filename (names the clips), label (label), speaker (further column)" in out
    for path in (root / "audios/train").iterdir():
        path.write_bytes(b"")
    code, out, _ = earmark("check", root, "--json")
    assert code == 1
    assert {tuple(problem) for problem in json.loads(out)["problems"]} == {("file", "level", "reason")}
    code, out, _ = earmark("check", root)
    assert code == 1
    assert "Training is not possible: 0 labelled clips can be used" in out


def test_check_says_how_far_raters_agree_and_what_they_allow(earmark, make_dataset):
    """Two raters who always differ by 2: the panel's habits are no noise."""
    root = make_dataset(12)
    rows = (root / "csvs/train.csv").read_text().splitlines()[1:]
    marks = [
        f"{name},{rater},{number + mark}"
        for number, name in enumerate(row.split(",")[0] for row in rows)
        for rater, mark in (("a", 0), ("b", 2))
    ]
    (root / "csvs/train.csv").write_text("\n".join(["filename,rater,label", *marks]))
    code, out, _ = earmark("check", root)
    assert code == 0
    assert "ratings       24 by 2 raters of 12 clips; spread within a clip 1.414" in out
    assert "ceiling       RMSE 0.000 (0.000 to 0.000), Pearson 1.000: the disagreement within the panel" in out
    _, out, _ = earmark("check", root, "--json")
    assert json.loads(out)["ratings"]["raters"] == 2


def test_features_of_clips_are_lines_of_json(earmark, tmp_path):
    clips = [write_clip(tmp_path / "a.wav", tone(440)), write_clip(tmp_path / "b.wav", np.zeros(22050))]
    code, out, _ = earmark("features", *clips, "--set", "ultra", "--json")
    first, second = (json.loads(line) for line in out.splitlines())
    assert code == 0
    assert next(iter(first)) == "file"
    assert first["file"] == str(clips[0])
    assert len(first) == 161
    assert first["f0_median_hz"] == pytest.approx(440, rel=1e-3)
    assert second["f0_median_hz"] is None
    code, out, _ = earmark("features", clips[0], "--set", "metadata")
    assert code == 0
    assert "sample_rate_hz" in out


def test_features_of_a_bad_clip_are_a_reason(earmark, tmp_path):
    good = write_clip(tmp_path / "a.wav", tone(440))
    code, out, err = earmark("features", tmp_path / "nowhere.wav", good, "--set", "metadata", "--json")
    assert code == 1
    assert json.loads(out.splitlines()[0])["error"] == "no such file"
    assert json.loads(out.splitlines()[1])["sample_rate_hz"] == 22050
    assert "nowhere.wav: no such file" in err
    assert earmark("features", good, "--set", "x")[0] == 1


def test_train_then_predict(earmark, make_dataset, tmp_path):
    root = make_dataset(12, test=3)
    options = ["--features", "metadata", "--models", "lightgbm,extra_trees", "--folds", "2", "--workers", "0"]
    code, out, err = earmark("train", root, *options, "--groups", "speaker", "--json")
    assert code == 0, err
    line = json.loads(out.splitlines()[-1])
    figures = {"fold_rmse", "oof_rmse", "oof_rmse_by_repeat", "oof_mae", "oof_pearson", "constant_rmse", "leak_gap", "blend"}
    assert figures | {"run_id", "interval_coverage", "badges", "models", "submission", "seconds"} <= set(line)
    assert line["badges"]["oof_rmse"] == "nested"
    assert line["badges"]["interval_coverage"] == "out-of-fold"
    assert sum(line["blend"].values()) == pytest.approx(1)
    assert len(line["fold_rmse"]) == 2
    assert set(line["models"]) == {"lightgbm", "extra_trees"}
    assert os.path.isabs(line["submission"])
    with open(line["submission"]) as file:
        assert [row["filename"] for row in csv.DictReader(file)] == ["testa0x", "testb0x", "testc0x"]

    code, out, _ = earmark("train", root, *options)
    assert code == 0
    assert "grouped" not in out
    assert "ensemble" in out
    assert "of pairs the higher label has the higher prediction" in out
    assert "submission" in out

    clip = root / "audios/test/testa0x.wav"
    code, out, _ = earmark("predict", "latest", clip, tmp_path / "nowhere.wav", "--json")
    assert code == 1
    first, second = (json.loads(line) for line in out.splitlines())
    assert {"file", "prediction", "warnings", "low", "high", "path", "surroundings"} <= set(first)
    assert len(first["surroundings"]["nearest"]) == 5
    assert first["low"] <= first["prediction"] <= first["high"]
    assert first["file"] == str(clip)
    assert isinstance(first["prediction"], float)
    assert (second["file"], second["prediction"], second["low"]) == (str(tmp_path / "nowhere.wav"), None, None)
    assert second["warnings"] == ["no such file"]
    code, out, _ = earmark("predict", line["run_id"], clip)
    assert code == 0
    assert str(clip) in out


def test_a_plain_folder_is_trained_on_with_its_own_names(earmark, tmp_path):
    root = tmp_path / "plain"
    for index in range(10):
        write_clip(root / "clips" / f"c{chr(97 + index)}.wav", 0.1 * (1 + index % 3) * tone(300 + index))
    write_table(root / "marks.csv", ["id", "mark"], [[f"c{chr(97 + index)}", index % 3] for index in range(10)])
    names = ["--filename-column", "id", "--label-column", "mark", "--audio", "clips"]
    assert earmark("check", root, *names)[0] == 0
    code, out, _ = earmark("train", root, *names, "--features", "metadata", "--models", "lightgbm", "--workers", "0", "--json")
    assert code == 0
    assert json.loads(out.splitlines()[-1])["submission"] is None


def test_extract_exports_and_is_instant_the_second_time(earmark, make_dataset):
    root = make_dataset(6, test=2)
    code, out, err = earmark("extract", root, "--features", "metadata", "--workers", "0")
    assert code == 0
    assert "8 clips: 0 cached, 8 to extract" in err
    assert "meta_train_feats.npz" in out
    code, out, err = earmark("extract", root, "--features", "metadata")
    assert "8 clips: 8 cached, 0 to extract" in err
    assert "0 computed now" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "nowhere"], "no such folder"),
        (["train", "{root}", "--models", "svm"], "not among xgboost"),
        (["train", "{root}", "--features", "x"], "not among ultra"),
        (["train", "{root}", "--folds", "1"], "folds=1"),
        (["train", "{root}", "--folds", "99", "--features", "metadata", "--workers", "0"], "folds=99"),
        (["train", "{root}", "--groups", "voice", "--features", "metadata", "--workers", "0"], "there are: speaker"),
        (["train", "{root}", "--preset", "slow"], "not among fast, classic"),
        (["extract", "{root}", "--workers", "-1"], "workers=-1"),
        (["check", "{root}", "--workers", "-1"], "workers=-1"),
        (["train", "{root}", "--label-column", "mark"], "expected a column 'mark'"),
        (["train", "{root}", "--groups", ""], "names no column"),
        (["train", "{root}", "--label-column", "filename"], "cannot hold both"),
        (["features", "a.wav", "--max-seconds", "inf"], "max_seconds=inf must be"),
        (["features", "~nobody.wav"], "no such file"),
        (["predict", "latest", "a.wav"], "no finished run yet"),
        (["extract", "{root}", "--workspace", "{root}/csvs/train.csv"], "is a file; name a folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(earmark, make_dataset, words, message):
    root = make_dataset(12, test=2)
    code, out, err = earmark(*(word.format(root=root) for word in words))
    assert code == 1
    assert out == ""
    assert message in err.splitlines()[-1]


def test_a_wrong_command_line_shows_the_usage(earmark):
    for words in ([], ["teach"], ["train"], ["train", "a", "--folds", "many"]):
        code, _, err = earmark(*words)
        assert code == 2
        assert "usage: earmark" in err
    code, out, _ = earmark("--version")
    assert code == 0
    assert out.startswith("earmark 0.")


def run(*words, cwd, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", "core.cli", *map(str, words)], cwd=cwd, env=environment, text=True, **options)


@pytest.mark.slow
def test_a_killed_extraction_goes_on_where_it_was(make_dataset, tmp_path):
    root = make_dataset(30, test=0, seconds=1.5)
    words = ["extract", root, "--features", "ultra", "--workers", "2"]
    process = run(*words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    seen = ""
    while not re.search(r" [3-9]/30 ", seen) and (character := process.stderr.read(1)):
        seen += character
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    again = run(*words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0
    cached = int(err.split(" clips: ")[1].split(" cached")[0])
    assert 3 <= cached < 30
    assert "30 clips have their features" in out


@pytest.mark.slow
def test_a_killed_training_goes_on_where_it_was_and_ends_as_if_undisturbed(make_dataset, tmp_path):
    root = make_dataset(24, test=3)
    words = [
        "train",
        root,
        "--features",
        "metadata",
        "--models",
        "random_forest,extra_trees",
        "--preset",
        "classic",
        "--workers",
        "1",
    ]
    process = run(*words, "--workspace", tmp_path / "a", cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    seen = ""
    while not re.search(r" [2-8]/10 ", seen) and (character := process.stderr.read(1)):
        seen += character
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    scores = []
    for workspace in ("a", "b"):
        done = run(
            *words, "--workspace", tmp_path / workspace, "--json", cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        out, err = done.communicate(timeout=200)
        assert done.returncode == 0, err
        scores.append({key: value for key, value in json.loads(out).items() if key not in ("run_id", "submission", "seconds")})
    assert scores[0] == scores[1]
    [folder] = (tmp_path / "a/jobs").glob("*-*")
    started = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [one["event"] for one in started].count("JobStarted") == 2
    assert not (folder / "checkpoints").exists()
    assert list(folder.rglob(".*")) == []


def test_ctrl_c_stops_with_a_sentence(make_dataset, tmp_path):
    root = make_dataset(30, test=0, seconds=1.5)
    process = run("extract", root, "--workers", "2", cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    seen = ""
    while not re.search(r" [1-9]/30 ", seen) and (character := process.stderr.read(1)):
        seen += character
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished work is kept" in err
    assert "Traceback" not in err


def test_a_name_that_is_not_text_is_shown_escaped(tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    write_clip(tmp_path / "plain.wav", tone(440)).rename(os.fsdecode(name))
    process = run(
        "features", os.fsdecode(name), "--set", "metadata", "--json", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["file"] == os.fsdecode(name)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(tmp_path, closed):
    clip = write_clip(tmp_path / "a.wav", tone(440))
    command = f"{sys.executable} -m core.cli features {clip} --set metadata {closed}"
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    clip = write_clip(tmp_path / "a.wav", tone(440))
    process = run("features", *[clip] * 3, "--json", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait()
    assert "Traceback" not in err


def test_the_workspace_stands_where_it_is_asked_for(make_dataset, tmp_path):
    root = make_dataset(6, test=0)
    (tmp_path / "shell").mkdir()
    process = run(
        "extract", root, "--features", "metadata", cwd=tmp_path / "shell", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    out, _ = process.communicate(timeout=200)
    assert (tmp_path / "shell/workspace/cache.sqlite").is_file()
    assert str(tmp_path / "shell/workspace/features") in out


def test_a_reader_that_goes_away_does_not_stop_the_work(make_dataset, tmp_path):
    root = make_dataset(12, test=0)
    process = run("extract", root, "--features", "metadata", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stderr.close()
    out = process.stdout.read()
    process.stdout.close()
    assert process.wait() == 0
    assert "12 clips have their features" in out


def test_workers_below_none_are_refused(earmark, make_dataset, tmp_path):
    (tmp_path / "s.json").write_text('{"ensemble": {"workers": -1}}')
    code, _, err = earmark("train", make_dataset(6), "--settings", tmp_path / "s.json")
    assert code == 1
    assert "workers=-1 must be 0 or more" in err


def test_the_advice_names_the_table_that_was_given(earmark, make_dataset, tmp_path):
    folder = make_dataset(4, test=0, name="it's here")
    source = folder / "csvs/train.csv"
    (folder / "b.csv").write_text(source.read_text())
    (folder / "c.csv").write_text("")
    code, _, err = earmark("train", folder / "b.csv", "--audio", "audios/train")
    assert code == 1
    assert "see: earmark check " in err
    assert shlex.split(err.split("see: ")[1])[2] == str(folder / "b.csv")


def test_one_data_set_is_one_however_its_path_is_written(earmark, make_dataset, tmp_path):
    root = make_dataset(6, test=0)
    for path in (root, f"{root}/", root / ".." / root.name):
        assert earmark("extract", path, "--features", "metadata")[0] == 0
    specs = [json.loads(spec.read_text()) for spec in tmp_path.glob("workspace/jobs/*/spec.json")]
    assert len(specs) == 3
    assert {spec["request"]["dataset"] for spec in specs} == {str(root)}


def test_the_cache_says_what_it_holds_and_loses_only_what_is_of_no_use(earmark, make_dataset, tmp_path, monkeypatch):
    code, _, err = earmark("cache", "info")
    assert code == 1
    assert "nothing was extracted into this workspace yet" in err
    earmark("extract", make_dataset(12, test=3), "--features", "metadata,mfcc")
    code, out, _ = earmark("cache", "info")
    assert code == 0
    assert re.search(r"15 vectors, +7\.2 kB  mfcc of the first 45 s \(in use\)", out)
    assert re.search(r"15 vectors, +\S+ kB  fingerprint of the first 3600 s \(in use\)", out)
    assert re.search(r"15 vectors, +540 B  metadata of the first 45 s \(in use\)", out)
    assert earmark("cache", "verify") == (0, "45 vectors, all whole\n", "")

    with sqlite3.connect(tmp_path / "workspace" / "cache.sqlite") as database:
        database.execute("UPDATE vectors SET checksum = checksum + 1 WHERE length(vector) < 100 AND rowid % 5 = 0")
        broken = database.execute("SELECT changes()").fetchone()[0]
    code, out, _ = earmark("cache", "verify")
    assert code == 1
    assert out.startswith(f"{broken} of 45 vectors are damaged")

    monkeypatch.setitem(features.SET_VERSIONS, "mfcc", 99)
    assert "mfcc of the first 45 s (of an earlier definition" in earmark("cache", "info")[1]
    assert earmark("cache", "prune")[1].startswith(f"{15 + broken} vectors removed")
    monkeypatch.undo()
    monkeypatch.setenv("EARMARK_WORKSPACE", str(tmp_path / "workspace"))
    assert earmark("cache", "verify") == (0, f"{30 - broken} vectors, all whole\n", "")


def test_rehash_reads_every_file_and_computes_nothing_that_is_known(earmark, make_dataset):
    root = make_dataset(12, test=3)
    earmark("extract", root, "--features", "metadata")
    code, out, _ = earmark("extract", root, "--features", "metadata", "--rehash")
    assert code == 0
    assert "0 computed now, 15 cached" in out


def test_the_doctor_names_versions_machine_disk_and_workspace(earmark, tmp_path):
    code, out, _ = earmark("doctor")
    assert code == 0
    assert not (tmp_path / "workspace").exists()  # it only looks
    for part in ("versions", "  librosa          0.11", "machine", "cores", "disk", "free", "not there yet"):
        assert part in out
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "cache.sqlite").write_bytes(b"not a database " * 100)
    code, out, _ = earmark("doctor", "--json")
    assert code == 1
    (finding,) = [finding for finding in json.loads(out)["findings"] if finding["problem"]]
    assert (finding["section"], finding["name"]) == ("workspace", "cache")
    assert "move it away" in finding["problem"]


def test_runs_are_listed_compared_and_evaluated(earmark, make_dataset, tmp_path):
    root = make_dataset(18, test=2)
    options = ["--features", "metadata,mfcc", "--folds", "3", "--workers", "0", "--groups", "speaker", "--json"]
    runs = []
    for members in ("extra_trees", "ridge:metadata"):
        code, out, err = earmark("train", root, *options, "--member", members)
        assert code == 0, err
        runs.append(json.loads(out.splitlines()[-1])["run_id"])
    code, out, _ = earmark("runs", "--json")
    assert [row["run_id"] for row in json.loads(out)["runs"]] == runs
    assert earmark("runs")[1].count("\n") == 3  # a head and two runs
    code, out, _ = earmark("compare", *runs, "--json")
    line = json.loads(out)
    assert code == 0
    assert line["settings"] == {"ensemble.members": [["extra_trees"], ["ridge:metadata"]]}
    assert line["verdict"]["verdict"] == "hurts"  # loudness is not in the metadata
    assert line["verdict"]["clips"] == 18
    assert "hurts with 18 clips" in earmark("compare", *runs)[1]
    code, out, err = earmark("compare", runs[0], "nowhere")
    assert (code, out) == (1, "")

    code, out, err = earmark("evaluate", runs[0], root)
    assert code == 1
    assert "none of the 18 labelled clips is new to run" in err
    table = root / "csvs/train.csv"
    rows = table.read_text().splitlines()
    for index in range(4):
        write_clip(root / f"audios/train/new{index}.wav", 0.12 * (1 + index) * tone(500 + index, seconds=0.5))
    table.write_text("\n".join([*rows, *(f"new{index},{1 + index},s" for index in range(4))]) + "\n")
    code, out, err = earmark("evaluate", "latest", root, "--json")
    assert code == 0, err
    line = json.loads(out)
    assert line["clips"] == 4
    assert len(line["trained_on"]) == 18
    errors = [row["prediction"] - row["label"] for row in line["predictions"]]
    assert line["rmse"] == pytest.approx((sum(error**2 for error in errors) / 4) ** 0.5)
    assert "18 clips left out" in earmark("evaluate", runs[0], root)[1]

    code, out, _ = earmark("predict", runs[0], "--table", root, "--json")
    scored = [json.loads(line) for line in out.splitlines()]
    assert (code, len(scored)) == (0, 24)  # both tables
    assert [one["file"] for one in scored if one["label"] is not None and not one["trained_on"]] == ["new0", "new1", "new2", "new3"]
    code, out, _ = earmark("predict", "latest", "--table", root)
    assert "4 labelled clips that the run was not trained on" in out
    assert f"{line['rmse']:.4f}" in out
    code, _, err = earmark("predict", runs[0])
    assert code == 1
    assert "nothing to score: name clips" in err


@pytest.mark.parametrize(
    "words", [["--column", "device"], ["--column", "a=1", "--column", "a=2"], ["--column", "a=1", "--table", "t.csv"]]
)
def test_what_is_said_of_loose_clips_is_a_name_and_a_value_each(earmark, tmp_path, words):
    write_run(tmp_path / "workspace/jobs/one")
    code, _, err = earmark("predict", "one", "clip.wav", *words)
    assert code == 1
    assert "--column takes NAME=VALUE" in err


def test_a_channel_slowed_down_is_what_is_checked_extracted_trained_on_and_predicted_from(earmark, tmp_path):
    """The label is the level of the left channel; the right one is loud noise."""
    rng, names = np.random.default_rng(0), [f"call{number}" for number in range(12)]
    for number, name in enumerate(names):
        left = tone(45_000, seconds=0.05, sr=192_000, amplitude=0.01 * (1 + number)) + 0.0005 * rng.normal(size=9600)
        write_clip(tmp_path / f"bats/{name}.wav", np.column_stack([left, 0.1 * rng.normal(size=9600)]), sr=192_000)
    write_table(tmp_path / "bats/train.csv", ["filename", "label"], [[name, number] for number, name in enumerate(names)])
    code, out, _ = earmark("check", tmp_path / "bats", "--channel", "left", "--slow-down", "10")
    assert code == 0
    assert "  bandwidth     96 kHz the median clip; 0 of 12 clips under 80% of half their sample rate" in out
    assert "  analysed      channel left, slowed down 10 times" in out
    assert "above 11 kHz" not in out
    flags = shlex.split(out[out.index("earmark train") :])[3:]
    assert flags == ["--channel", "left", "--slow-down", "10"]
    assert "to analyse it, use --slow-down 10" in earmark("check", tmp_path / "bats")[1]
    _, out, _ = earmark("extract", tmp_path / "bats", "--features", "metadata", *flags)
    assert "12 clips have their features (channel left, slowed down 10 times): 12 computed now, 0 cached" in out
    training = ["--features", "metadata", "--member", "ridge::alpha=0.01", "--folds", "3", "--json", *flags]
    code, out, _ = earmark("train", tmp_path / "bats", *training)
    assert code == 0
    assert json.loads(out.splitlines()[-1])["oof_rmse"] < 1
    alone = write_clip(tmp_path / "mono.wav", tone(45_000, seconds=0.05, sr=192_000, amplitude=0.06), sr=192_000)
    right = write_clip(
        tmp_path / "swapped.wav",
        np.column_stack([tone(45_000, seconds=0.05, sr=192_000, amplitude=0.06), 9600 * [0.5]]),
        sr=192_000,
    )
    _, out, _ = earmark("predict", "latest", alone, right, "--json")
    first, second = (json.loads(line) for line in out.splitlines())
    assert first["prediction"] == pytest.approx(5, abs=1)
    assert second["prediction"] == pytest.approx(first["prediction"], abs=0.1)
    assert first["warnings"] == second["warnings"] == []
    code, out, _ = earmark("features", right, "--set", "metadata", "--channel", "3")
    assert code == 1
    _, out, _ = earmark("features", right, "--set", "metadata", *flags)
    assert f"{right} (channel left, slowed down 10 times)" in out
    assert re.search(r"duration_s +0\.5 ", out)


def test_segments_stay_while_a_job_may_need_them(earmark, tmp_path):
    write_clip(tmp_path / "long.wav", tone(440, seconds=2))
    segment = segment_of(tmp_path / "long.wav", 0.0, 1.0, tmp_path / "workspace/segments")
    cut([segment], workers=0)
    (tmp_path / "long.wav").unlink()
    job, _ = claim("check", {"dataset": str(tmp_path)}, tmp_path / "workspace/jobs")
    assert earmark("cache", "prune")[1].startswith(f"segments of recordings stay, as job {job.id} may need them")
    assert segment.path.is_file()
    with EventLog(job.events) as log:
        log.append(JobDone())
    assert earmark("cache", "prune")[1].startswith("segments of 1 of 1 recordings removed, 44.")
    assert not segment.path.is_file()


def test_out_of_fold_predictions_that_are_gone_are_said_to_be_unknown(tmp_path):
    [line] = fitness_lines(SimpleNamespace(folder=tmp_path))
    assert line.startswith("  in practice   unknown: ")
    assert "missing" in line
