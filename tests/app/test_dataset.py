"""The Dataset page in each of its states: what it shows, what it can be asked, and what it says when something is wrong."""

import io
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app import resources
from app.charts import clips as clips_charts
from app.charts.marks import QUIET
from app.uploads import bring
from app.views import listen
from core import features, jobs
from core.data.audio import read_clip
from core.data.dataset import read_dataset
from core.data.duplicates import SAME_AUDIO, Twins
from core.data.report import ClipFacts
from core.data.treatment import Treatment
from core.errors import DataError
from core.events import JobDone
from core.extraction.matrix import Matrix
from core.features import Trace
from core.grouping import leaks
from core.workspace import write_json
from tests.app.conftest import Place, render, text
from tests.conftest import tone, write_clip, write_dataset, write_table
from tests.data.layouts import made

MANY = 10_000


class Sent:
    """A file as the browser sends it."""

    def __init__(self, name: str, content: bytes):
        self.name, self.file_id, self.content = name, name, content

    def getbuffer(self) -> memoryview:
        return memoryview(self.content)


def zipped(folder: Path, inside: str = "") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, inside + path.relative_to(folder).as_posix())
    return file.getvalue()


def table(at, key: str) -> pd.DataFrame:
    return at.dataframe(key=key).value


def problem_table(at) -> pd.DataFrame:
    """It cannot be clicked, so it has no key here."""
    return next(one.value for one in at.dataframe if "reason" in one.value)


def heard(place: Place, **result: object) -> jobs.Job:
    """A look at the clips that is done, as its worker would leave it, with no clip decoded."""
    dataset = read_dataset(place.dataset)
    rows = [("train", row) for row in dataset.train] + [("test", row) for row in dataset.test]
    facts = [ClipFacts(row.name, split, 2.0, 16000, 1, -3.0, -20.0) for split, row in rows]
    job = place.claim("check")
    found = {"seconds": 2.0 * len(facts), "problems": dataset.problems, "table": facts, "twins": [], "why_not": None}
    write_json(job.folder / jobs.RESULT, found | {"stamp": dataset.stamp()} | result)
    place.end(job, JobDone())
    return job


# ------------------------------------------------------------------------------------------------- states


def test_an_empty_workspace_has_the_bundled_example_open_and_says_so(place, no_workers):
    (place.root / "recent.json").unlink()
    at = render("dataset")
    assert "The bundled example is open" in text(at)
    assert [job.kind for job in no_workers] == ["check"]


def test_a_folder_that_is_gone_is_told_with_the_bundled_example_as_the_way_on(place, no_workers):
    shutil.rmtree(place.dataset)
    at = render("dataset")
    assert "no such folder" in text(at)
    at.button(key="dataset_bundled").click().run()
    assert "no such folder" not in text(at)
    assert no_workers[-1].request["dataset"].endswith("piano-touch")


def test_a_table_without_the_column_is_told_where_columns_can_be_named(place):
    (place.dataset / "csvs/train.csv").write_text("name,score\na,1\n")
    assert "expected a column 'filename', found name, score" in text(render("dataset"))


def test_a_set_of_which_no_clip_can_be_read_has_cards_and_reasons(place):
    for path in place.dataset.glob("audios/*/*"):
        path.write_bytes(b"")
    place.do("check")
    at = render("dataset")
    assert "Training is not possible: 0 labelled clips can be used" in text(at)
    assert "Usable clips 0" in text(at)
    assert "15 problems: 15 set aside, 0 kept" in [one.label for one in at.expander]
    assert set(problem_table(at)["kind"]) == {"unreadable"}


def test_cards_say_tables_lengths_labels_and_problems_at_a_glance(place):
    place.do("check")
    at = render("dataset")
    told = {metric.label: (metric.value, metric.delta) for metric in at.metric}
    assert told["Usable clips"] == ("15", "12 to train on, 3 to test")
    assert told["Length"] == ("8 s", "0.5 s the median clip")
    assert told["Labels"] == ("1 to 6", "6 different, mean 3.5")
    assert told["Problems"] == ("0", "every clip can be used")
    assert "Orange: 6 bars of fewer than 5 clips, too few for one in each of 5 folds." in text(at)


def test_ten_thousand_clips_are_filtered_and_found(tmp_path, place):
    clip = write_clip(tmp_path / "one.wav", tone(440, seconds=0.1))
    place.dataset = tmp_path / "many"
    (place.dataset / "audios/train").mkdir(parents=True)
    names = [f"clip_{number:05d}" for number in range(MANY)]
    for name in names:
        (place.dataset / f"audios/train/{name}.wav").symlink_to(clip)
    write_table(
        place.dataset / "csvs/train.csv", ["filename", "label"], [[name, number % 100] for number, name in enumerate(names)]
    )
    place.choose()
    heard(place)
    at = render("dataset")
    assert "10,000 of 10,000 clips." in text(at)
    assert "clip\\_00000" in "".join(one.value for one in at.markdown)
    at.text_input(key="dataset_search").set_value("0777").run()
    assert table(at, "dataset_clips")["file"].tolist() == ["clip_00777", *(f"clip_0777{digit}" for digit in range(10))]
    at.slider[0].set_value((70.0, 77.0)).run()
    assert table(at, "dataset_clips")["label"].tolist() == [77, *range(70, 78)]
    at.text_input(key="dataset_search").set_value("nothing like it").run()
    assert "No clip passes these filters." in text(at)


# ------------------------------------------------------------------------------------------- problems, twins


def test_problems_are_filtered_by_kind(place):
    write_clip(place.dataset / "audios/train/trainb0x.wav", np.zeros(22050))
    (place.dataset / "audios/train/trainc0x.wav").write_bytes(b"")
    write_clip(place.dataset / "audios/train/extra.wav", tone(440))
    place.do("check")
    at = render("dataset")
    assert set(problem_table(at)["kind"]) == {"silent", "unreadable", "in no table"}
    at.session_state["dataset_kinds"] = ["silent"]
    at.run()
    assert problem_table(at)["file"].tolist() == ["trainb0x"]
    at.toggle(key="dataset_odd").set_value(True).run()
    assert table(at, "dataset_clips")["file"].tolist() == ["trainb0x"]


def test_equal_audio_with_different_labels_stands_out(place):
    for name in ("trainb0x", "traing0x"):  # labels 2 and 1, against 1
        shutil.copy(place.dataset / "audios/train/traina0x.wav", place.dataset / f"audios/train/{name}.wav")
    place.do("check")
    at = render("dataset")
    assert "1 pair with the same audio has different labels: at most one of the two can be right." in text(at)
    pairs = table(at, "dataset_twins")
    assert pairs["other_file"].tolist() == ["trainb0x", "traing0x"]
    assert pairs["difference"].tolist() == [1, 0]
    assert len(at.get("audio")) == 3  # the first pair, and the chosen clip
    assert [one.label for one in at.expander if "pairs" in one.label] == [
        "2 pairs of clips that say the same: 1 with different labels"
    ]


def test_names_of_copies_are_shown_beside_what_they_copy(place):
    shutil.move(place.dataset / "audios/train/trainb0x.wav", place.dataset / "audios/train/traina0x (1).wav")
    rows = (place.dataset / "csvs/train.csv").read_text().replace("trainb0x", "traina0x (1)")
    (place.dataset / "csvs/train.csv").write_text(rows)
    heard(place)
    [pair] = table(render("dataset"), "dataset_twins").to_dict("records")
    assert (pair["kind"], pair["file"], pair["other_file"]) == ("name of a copy", "traina0x", "traina0x (1)")


def test_a_result_from_before_twins_were_looked_for_is_still_read(place):
    job = heard(place)
    found = jobs.result(job)
    found.pop("twins")
    for one in found["table"]:
        one.pop("rms_dbfs")
    write_json(job.folder / jobs.RESULT, found)
    at = render("dataset")
    assert "Usable clips 15" in text(at)
    assert not at.error


# ------------------------------------------------------------------------------------------- map, chosen clip


def test_without_features_the_map_leads_to_the_features_page(place):
    heard(place)
    at = render("dataset", dataset_view="Map")
    assert "They are not extracted yet" in "".join(one.value for one in at.info)
    assert [link.label for link in at.get("page_link")] == ["Extract features"]


def test_the_map_lays_out_all_clips_of_the_chosen_features(finished):
    at = render("dataset", dataset_view="Map")
    [of_all] = re.findall(r"Principal components of (\d+) features", text(at))
    assert at.button(key="next_step").label == "Look at its features"
    at.session_state["dataset_map_of"] = "mfcc"
    at.run()
    [of_mfcc] = re.findall(r"Principal components of (\d+) features", text(at))
    assert int(of_mfcc) < int(of_all)


def test_the_address_names_the_clip_and_a_refresh_shows_it_again(finished):
    at = render("dataset", clip="trainc0x", table="train")
    assert "**trainc0x** · label 3" in text(at)
    test = render("dataset", clip="testb0x", table="test")
    assert "**testb0x** · test table" in text(test)
    assert test.query_params["clip"] in ("testb0x", ["testb0x"])
    nonsense = render("dataset", clip="../../etc/passwd", table="train")
    assert "**traina0x** · label 1" in text(nonsense)
    assert "Most unusual columns" in text(nonsense)


def test_a_clip_that_the_extraction_did_not_know_has_no_columns_but_is_heard(finished):
    write_clip(finished.dataset / "audios/train/new.wav", tone(500))
    with (finished.dataset / "csvs/train.csv").open("a") as file:
        file.write("new,3,speaker1\n")
    finished.do("check")
    at = render("dataset", clip="new", table="train")
    assert "The last extraction has no features of this clip." in text(at)
    assert len(at.get("audio")) == 1


def test_a_clip_that_is_gone_since_is_told_at_its_place(place):
    heard(place)
    (place.dataset / "audios/train/traina0x.wav").unlink()
    at = render("dataset", clip="traina0x", table="train")
    assert "Clips or tables have changed since this was looked at" in text(at)
    assert at.button(key="look_again")


def test_pauses_are_where_the_columns_count_them_and_pitch_is_the_tones(tmp_path):
    gap = np.zeros(11025)
    y = np.concatenate([tone(220), gap, tone(220), gap[:2000]])  # 1 s, a pause of 0.5 s, 1 s, one that is too short
    found = features.trace(read_clip(write_clip(tmp_path / "a.wav", y)))
    assert found.pauses_s == pytest.approx(np.array([[1.0, 1.5]]), abs=0.06)  # two frames
    voiced = found.f0_hz[np.isfinite(found.f0_hz)]
    assert np.median(voiced) == pytest.approx(220, rel=0.005)
    inside = (found.pitch_times_s > 1.1) & (found.pitch_times_s < 1.4)
    assert np.isnan(found.f0_hz[inside]).all()


def test_where_pitch_cannot_be_followed_the_clip_is_drawn_all_the_same(place, monkeypatch):
    heard(place)
    at = render("dataset")
    assert "F0 over the spectrogram where it is voiced" in text(at)

    def refuse(path: Path, treatment: Treatment) -> Trace:
        raise jobs.JobError("another process has been compiling")

    monkeypatch.setattr(resources, "trace", refuse)
    at.run()
    assert "Pauses and pitch could not be followed: another process" in text(at)
    assert len(at.get("plotly_chart")) == 1


# ------------------------------------------------------------------------------------------------- uploads


@pytest.mark.parametrize("inside", ["", "mine/"])
def test_an_uploaded_zip_is_unpacked_opened_and_looked_at(place, make_dataset, no_workers, inside):
    other = make_dataset(6, test=0, name="other")
    (other / "notes.txt").write_text("x")
    heard(place)
    at = render("dataset")
    assert "Up to 500 MB a file; a folder on this machine has no limit" in text(at)
    assert at.button(key="dataset_take").disabled
    at.file_uploader[0].upload("my_set.zip", zipped(other, inside), "application/zip").run()
    at.button(key="dataset_take").click().run()
    assert not at.exception
    opened = Path(no_workers[-1].request["dataset"])
    assert (opened.name, opened.parent.parent) == ("my_set", place.root / "uploads")
    assert len(read_dataset(opened).train) == 6
    assert f"1 file left out, neither clips nor tables: {inside}notes.txt" in text(at)
    assert at.text_input(key="dataset_path").value == str(opened)


def test_an_upload_whose_columns_have_other_names_can_be_opened_once_they_are_named(place, make_dataset, no_workers):
    other = make_dataset(6, test=0, name="other")
    rows = (other / "csvs/train.csv").read_text().replace("label", "score", 1)
    (other / "csvs/train.csv").write_text(rows)
    heard(place)
    at = render("dataset")
    at.file_uploader[0].upload("set.zip", zipped(other), "application/zip").run()
    at.button(key="dataset_take").click().run()
    assert "expected a column 'label', found filename, score, speaker" in text(at)
    box = at.selectbox(key="dataset_label_column")
    assert box.options == ["label", "filename", "score", "speaker"]
    box.set_value("score")
    at.button(key="dataset_open").click().run()
    assert no_workers[-1].request["layout"]["label_column"] == "score"
    assert no_workers[-1].request["dataset"].endswith("/set")


def test_the_layout_the_roles_of_the_columns_and_the_first_rows_are_shown(place, tmp_path):
    place.dataset = made.competition(tmp_path / "contest").root
    place.choose()
    heard(place)
    at = render("dataset")
    assert "Read as competition folder" in [one.label for one in at.expander]
    roles, first, first_test = (one.value for one in at.dataframe[:3])
    assert roles[roles["Table"] == "train.csv"]["Role"].tolist() == ["names the clips", "further column", "label"]
    assert first.columns.tolist() == ["Clip", "File", "Label", "seconds"]
    assert first.iloc[1].tolist() == ["002", "train/002.wav", 1.5, "0.201"]
    assert first_test.columns.tolist() == ["Clip", "File", "seconds"]
    assert at.selectbox(key="dataset_filename_column").options == ["filename", "id", "seconds", "score"]


def test_a_column_of_the_table_and_a_table_of_the_folder_can_be_chosen(place, tmp_path, no_workers):
    other = write_dataset(tmp_path / "other", 6, test=2)
    rows = (other / "csvs/train.csv").read_text().replace("label", "score").splitlines()
    (other / "mine.csv").write_text("\n".join(f"{row},{number}" for number, row in zip(["age", *"395172"], rows, strict=True)))
    heard(place)
    at = render("dataset")
    at.text_input(key="dataset_path").set_value(str(other))
    at.text_input(key="dataset_train").set_value("mine.csv")
    at.text_input(key="dataset_test").set_value("csvs/test.csv")
    at.text_input(key="dataset_audio").set_value("audios").run()
    assert at.selectbox(key="dataset_label_column").options == ["label", "filename", "score", "speaker", "age"]
    at.selectbox(key="dataset_label_column").set_value("age")
    at.button(key="dataset_open").click().run()
    assert not at.exception
    layout = no_workers[-1].request["layout"]
    assert (layout["train"], layout["test"], layout["label_column"]) == ("mine.csv", "csvs/test.csv", "age")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.zip": b"no"}, "no zip archive"),
        ({"a.zip": b"no", "b.csv": b""}, "upload one zip by itself"),
        ({"b.csv": b"filename,label\n"}, "you uploaded tables: 1, clips: 0"),
    ],
)
def test_an_upload_that_is_no_data_set_is_told_in_words_and_the_open_one_stays(place, files, says):
    heard(place)
    at = render("dataset")
    at.file_uploader[0].set_value([(name, content, "") for name, content in files.items()]).run()
    at.button(key="dataset_take").click().run()
    assert says in text(at)
    assert "Usable clips 15" in text(at)


def test_a_table_and_its_clips_make_a_data_set_which_is_kept_once(tmp_path):
    folder = write_dataset(tmp_path / "set", 6, test=0, seconds=0.1)
    sent = [Sent("../../table.csv", (folder / "csvs/train.csv").read_bytes())]
    sent += [Sent(path.name, path.read_bytes()) for path in folder.glob("audios/train/*")]
    done = bring([*sent, Sent("notes.txt", b"")], tmp_path / "uploads")
    assert (done.folder.name, done.files, done.skipped) == ("table", 7, ("notes.txt",))
    assert len(read_dataset(done.folder).train) == 6
    assert bring([*sent[::-1], Sent("notes.txt", b"")], tmp_path / "uploads").folder == done.folder
    assert [path.name for path in done.folder.parent.iterdir()] == ["table"]
    with pytest.raises(DataError, match=r"two files are called 'traina0x\.wav'"):
        bring([*sent, Sent("x/traina0x.wav", b"")], tmp_path / "uploads")


# ------------------------------------------------------------------------------------------------- pictures


def test_bars_of_few_clips_are_marked_as_rare():
    labels = [1] * 9 + [2] * 4 + [3] * 5
    [rows] = clips_charts.label_histogram(labels, least=5).to_dict()["datasets"].values()
    assert [(row["label"], row["rare"]) for row in rows] == [("1", False), ("2", True), ("3", False)]
    assert clips_charts.rare_labels(labels, least=5) == 1
    spread = np.r_[np.random.default_rng(0).uniform(size=200), 9.0]
    assert clips_charts.rare_labels(spread, least=5) == 1  # empty bars are not rare, they are empty


def test_clips_without_a_label_are_on_the_map_in_grey_and_the_chosen_one_has_a_ring():
    points = pd.DataFrame(
        {"table": ["train", "test"], "clip": ["a", "b"], "label": [1.0, np.nan], "x": [0.0, 1.0], "y": [0.0, 2.0]}
    )
    spec = clips_charts.clip_map(points, (0.5, 0.25), ("test", "b")).to_dict()
    assert spec["config"]["scale"]["invalid"] == {"color": {"value": QUIET}}
    dots, ring = spec["layer"]
    assert dots["mark"]["invalid"] == "show"
    assert dots["encoding"]["x"]["title"] == "Component 1 (50% of the variance)"
    assert [row["clip"] for row in spec["datasets"][dots["data"]["name"]]] == ["a", "b"]
    assert [row["clip"] for row in spec["datasets"][ring["data"]["name"]]] == ["b"]


def test_levels_leave_digital_silence_out():
    chart = clips_charts.level_histogram([-3.0, -6.0, np.nan], [-10.0, -12.0, np.nan])
    [rows] = chart.to_dict()["datasets"].values()
    assert {level: sum(row["clips"] for row in rows if row["level"] == level) for level in ("Peak", "RMS")} == {"Peak": 2, "RMS": 2}
    assert clips_charts.level_histogram([np.nan], [np.nan]).to_dict()


def test_filters_let_through_what_they_say():
    clips = pd.DataFrame(
        {
            "file": ["a(1).wav", "B.wav", "c.wav"],
            "split": ["train", "train", "test"],
            "label": [1.0, 2.0, np.nan],
            "problem": ["", "x", ""],
        }
    )
    everything = {"wanted": "", "of": "all", "low": None, "high": None, "odd": False}
    for change, left in [
        ({}, "a(1).wav B.wav c.wav"),
        ({"wanted": "b"}, "B.wav"),
        ({"wanted": "(1)"}, "a(1).wav"),
        ({"of": "test"}, "c.wav"),
        ({"low": 1.5, "high": 3.0}, "B.wav"),
        ({"odd": True}, "B.wav"),
    ]:
        take = listen.chosen_rows(clips, **everything | change)
        assert " ".join(clips["file"][take]) == left


def test_pairs_stand_by_the_difference_of_their_labels_those_without_one_last(place):
    looked = resources.checked_dataset(heard(place), read_dataset(place.dataset))
    pairs = [
        Twins(SAME_AUDIO, "train", "traina0x", "test", "testa0x"),
        Twins(SAME_AUDIO, "train", "traina0x", "train", "traing0x"),
        Twins(SAME_AUDIO, "train", "traina0x", "train", "trainf0x"),
    ]
    assert listen.twins_table(looked, pairs)["other_file"].tolist() == ["trainf0x", "traing0x", "testa0x"]


def test_pairs_of_nearly_the_same_audio_are_those_that_training_keeps_in_one_fold(rng):
    X = rng.normal(size=(60, 40)).astype(np.float32)
    X[41] = X[7] + 0.1 * rng.normal(size=40)
    X[52] = X[3]
    crowd = 0.05 * rng.normal(size=(200, 40)).astype(np.float32)  # beside these, 7 and 41 are no nearer than is usual
    names = tuple(f"set.{number}" for number in range(40))
    train = Matrix(X, np.zeros(60), names, tuple(f"train{row}" for row in range(60)))
    test = Matrix(crowd, np.full(200, np.nan), names, tuple(f"test{row}" for row in range(200)))
    features = resources.Features("near-identical clips in both tables", ("set",), train, test)
    shown = {(pair.file, pair.other_file) for pair in resources.near_twins(features)}
    [proposal] = [one for one in leaks.propose_groups(train.filenames, X=X) if one.kind == leaks.NEAR_IDENTICAL]
    tied = {pair for pair in zip(proposal.groups, train.filenames, strict=True) if len(set(pair)) == 2}
    assert shown == tied == {("train7", "train41"), ("train3", "train52")}


def test_ratings_have_cards_and_each_rater_a_row(place, make_dataset):
    """Two raters of all clips, who always differ by 2: the panel's habits are no noise."""
    root = make_dataset(12, name="rated")
    table_csv = root / "csvs/train.csv"
    names = [line.split(",")[0] for line in table_csv.read_text().splitlines()[1:]]
    marks = [[name, rater, number + mark] for number, name in enumerate(names) for rater, mark in (("strict", 0), ("mild", 2))]
    write_table(table_csv, ["filename", "rater", "label"], marks)
    rated = Place(place.root, root)
    rated.choose()
    rated.do("check")
    at = render("dataset")
    shown = {metric.label: (metric.value, metric.delta) for metric in at.metric}
    assert shown["Ratings"] == ("24", "by 2 raters, 2.0 a clip; the label is their mean")
    assert shown["Lowest RMSE the raters allow"] == ("0.000", "95 %: 0.000 to 0.000; Pearson at most 1.000")
    raters = next(one.value for one in at.dataframe if "Offset" in one.value)
    assert dict(zip(raters["Rater"], raters["Offset"], strict=True)) == {"mild": 1, "strict": -1}


def test_segments_have_cards(place, make_dataset):
    """Two recordings of half a second with two segments each, of which those of the first overlap."""
    root = make_dataset(12, name="segments")
    spans = [(0, 0.3), (0.2, 0.5), (0, 0.2), (0.3, 0.5), *[(0, 0.25), (0.25, 0.5)] * 4]
    names = [line.split(",")[0] for line in (root / "csvs/train.csv").read_text().splitlines()[1:]]
    rows = [[names[number // 2], *span, number % 5] for number, span in enumerate(spans)]
    write_table(root / "csvs/train.csv", ["filename", "start", "end", "label"], rows)
    cut = Place(place.root, root)
    cut.choose()
    cut.do("check")
    at = render("dataset")
    shown = {metric.label: (metric.value, metric.delta) for metric in at.metric}
    assert shown["Recordings"] == ("6", "2 segments each")
    assert shown["Overlaps"][0] == "1"
    assert "Segments of one recording stay in one fold, so that the score is that of new recordings: 6 groups." in text(at)
