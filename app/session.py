"""What a session remembers: the only file that names keys of the session state. What outlasts it is in the workspace."""

import hashlib
import os
import re
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import streamlit as st
from pydantic import ValidationError

from app import resources
from app.words import plain
from core.data.dataset import Dataset
from core.data.layouts.layout import Layout
from core.data.treatment import Treatment
from core.errors import DataError, EarmarkError, JobError
from core.events import LabelStarted
from core.extraction.config import ExtractSettings
from core.extraction.speed import Speed, speed_of_job
from core.jobs import DONE, Job, by_request, is_job, read_job, status
from core.multimodal.config import COLUMN as COLUMN_TEXT
from core.runs import Run
from core.settings import Settings, build
from core.tasks.kinds import job_kind
from core.workspace import Workspace, read_json, to_json, write_json

ROOT = Path(__file__).resolve().parents[1]
BUNDLED = ROOT / "examples" / "piano-touch"
# A page by its name, as `st.page_link` and `st.switch_page` want it.
PAGES = {name: str(ROOT / "pages" / file) for name, file in {
    "home": "0_home.py", "dataset": "1_dataset.py", "features": "2_features.py", "train": "3_train.py",
    "finetune": "4_finetune.py", "explain": "5_explain.py", "predict": "6_predict.py", "runs": "7_runs.py",
}.items()}  # fmt: skip
COLUMN, EXPLAINED_CLIP, COMPARED = "column", "clip", "compare"  # in the address too
LABELS = "labels"  # the kind of job that trains on several
_RECENT = 8


@dataclass(frozen=True, slots=True)
class Choice:
    """A data set as it was named: a folder or a table, and how it is laid out."""

    path: str
    layout: Layout = field(default_factory=Layout)

    @property
    def name(self) -> str:
        return Path(self.path).name

    @property
    def mark(self) -> str:
        """A short name for the address of a page."""
        return hashlib.blake2b(repr(self).encode(errors="surrogateescape"), digest_size=5).hexdigest()


def workspace() -> Workspace:
    """The workspace of this server."""
    return Workspace.resolve()


def choice() -> Choice:
    """The data set that this session works on: the one it chose or its address names, else the last one that anybody chose."""
    if "choice" not in st.session_state:
        known = [*recent(), Choice(str(BUNDLED))]
        named = [one for one in known if one.mark == st.query_params.get("set")]
        st.session_state["choice"] = (named or known)[0]
    return st.session_state["choice"]


def with_named_labels(chosen: Choice) -> Choice:
    """A data set with several labels by the names that its table gives them, so that each of them is found from the others.

    Raises
    ------
    DataError
        The data set cannot be read.
    """
    if not chosen.layout.other_labels:
        return chosen
    labels = resources.dataset(chosen.path, chosen.layout).labels
    return Choice(chosen.path, chosen.layout.with_label(labels[0], labels)) if labels else chosen


def keep_in_address() -> None:
    """Put the data set into the page's address: a refresh shows it again, whatever others have opened in between."""
    mark = choice().mark
    if st.query_params.get("set") != mark:
        st.query_params["set"] = mark


def choose(chosen: Choice) -> None:
    """Work on a data set, after a look at its tables.

    Raises
    ------
    DataError
        It cannot be read; the session stays with the one before.
    """
    resources.dataset(chosen.path, chosen.layout)
    others = [one for one in recent() if one != chosen]
    write_json(workspace().root / "recent.json", [to_json(one) for one in [chosen, *others][:_RECENT]])
    if chosen == choice():
        return
    st.session_state["choice"] = chosen
    for key in [key for key in st.session_state if str(key).startswith(("extract_", "train_", "finetune_", "newest_result_"))]:
        del st.session_state[key]  # the forms begin with what was last done on this data set


def recent() -> list[Choice]:
    """The data sets that were chosen last, newest first."""
    try:
        records = read_json(workspace().root / "recent.json")
        return [Choice(str(record["path"]), build(Layout, record["layout"])) for record in records]
    except (OSError, ValueError, KeyError, TypeError, EarmarkError):  # none yet, or damaged: the list is only a help
        return []


def absolute(path: str) -> str:
    """A path as it was typed, from the folder where Earmark was started."""
    start = os.environ.get("EARMARK_START") or os.getcwd()
    plain_path = path.strip().strip("'\"").removeprefix("file://")
    return os.path.normpath(os.path.join(start, os.path.expanduser(plain_path)))


def model_folder(name: str) -> str:
    """A model as it was typed: a folder by its absolute path, from where Earmark was started; else an id as it stands."""
    folder = absolute(name)
    return folder if os.path.isdir(folder) else name.strip()


def require_dataset() -> Dataset:
    """The chosen data set; where it cannot be read, the page says so and ends."""
    chosen = choice()
    try:
        return resources.dataset(chosen.path, chosen.layout)
    except DataError as error:
        st.error(plain(str(error)), icon=":material/folder_off:")
        st.page_link(PAGES["dataset"], label="Choose another data set", icon=":material/library_music:")
        st.stop()


def request(**settings: Any) -> dict[str, Any]:
    """The request for a job on the chosen data set."""
    chosen = choice()
    return to_json({"dataset": chosen.path, "layout": chosen.layout, **settings})


def newest_job(kind: str, **settings: Any) -> Job | None:
    """The last job of a kind on the chosen data set, with these settings."""
    return next(jobs_here(kind, **settings), None)


def jobs_here(kind: str, **settings: Any) -> Iterator[Job]:
    """Jobs of a kind on the chosen data set, with these settings, the last one first."""
    wanted = request(**settings)
    for job in resources.jobs(workspace().jobs):
        if job.kind == kind and {name: _complete(name, job.request.get(name)) for name in wanted} == wanted:
            yield job


def _complete(name: str, asked: Any) -> Any:
    """A part of a request; a section that was written before a setting of it was there has what that setting meant then."""
    before = {"layout": to_json(Layout()), "extract": to_json(ExtractSettings(encoder_window="30"))}
    return before[name] | asked if name in before and isinstance(asked, dict) else asked


def newest_labels() -> Job | None:
    """The last training on several labels of the chosen data set, whichever of them is looked at."""
    chosen = choice()
    for job in resources.jobs(workspace().jobs):
        if job.kind == LABELS and job.request.get("dataset") == chosen.path:
            try:
                asked = job_kind(LABELS).request.model_validate(job.request)
            except (EarmarkError, ValidationError):  # of another version
                continue
            if asked.layout_of(chosen.layout.label_column) == chosen.layout:  # type: ignore[attr-defined]
                return job
    return None


def newest_training() -> Job | None:
    """The last training on the chosen data set; of one that is a part of a training on several labels, that one."""
    from core.tasks.labels import finished_runs

    job, several = newest_job("train"), newest_labels()
    if job is None or several is None:
        return several or job
    parts = {one.event.job for one in resources.events(several.events) if isinstance(one.event, LabelStarted)}
    with suppress(EarmarkError):  # where it is damaged, the table of the labels says so
        parts |= set(finished_runs(several.folder).values())
    return several if job.id in parts else by_request([job, several])[0]


def choose_label(label: str) -> None:
    """Work on another label of the chosen data set from here on."""
    chosen = choice()
    choose(Choice(chosen.path, chosen.layout.with_label(label, (chosen.layout.label_column, *chosen.layout.other_labels))))


def newest_of_run(kind: str, run: Run) -> Job | None:
    """The last job of a kind on a run."""
    on_run = (job for job in resources.jobs(workspace().jobs) if job.kind == kind and job.request.get("run") == run.id)
    return next(on_run, None)


def newest_done(kind: str) -> Job | None:
    """The last job of a kind on the chosen data set that ended well."""
    return next((job for job in jobs_here(kind) if status(job) == DONE), None)


def known_speed(settings: ExtractSettings) -> Speed | None:
    """How fast the last job with these settings extracted: an estimate, an extraction or a training."""
    for kind in ("probe", "extract", "train"):
        job, speed = newest_job(kind, extract=settings), None
        if job is not None and kind != "probe":
            speed = speed_of_job(resources.events(job.events), settings)
        elif job is not None and status(job) == DONE:
            try:
                speed = Speed(**resources.result(job)["speed"])
            except (JobError, TypeError):  # damaged, or of another version: it can be asked for again
                continue
        if speed is not None:
            return speed
    return None


def unreadable() -> int:
    """Clips that the last finished extraction on the chosen data set could not read: they stay without features."""
    job = newest_done("extract")
    try:
        return int(resources.result(job)["unreadable"]) if job is not None else 0
    except JobError:  # damaged, or of another version: the Features page says so
        return 0


def usual(job: Job | None, kind: type[Settings], section: str) -> Settings:
    """The settings that a form begins with: those of the last job on this data set, else the defaults."""
    if job is not None:
        try:
            return build(kind, job.request[section])
        except (EarmarkError, KeyError, TypeError):  # of another version
            pass
    return kind()


def treatment() -> Treatment:
    """How clips of the chosen data set are analysed: as in the last extraction, training, search or fine-tuning on it."""
    last = by_request(job for kind in ("extract", "train", "auto", "finetune") if (job := newest_job(kind)) is not None)
    return usual(last[0] if last else None, ExtractSettings, "extract").treatment


def column(names: Sequence[str]) -> str:
    """The feature that is looked at; a select box has the same key."""
    return _looked_at(COLUMN, names)


def _looked_at(key: str, names: Sequence[str]) -> str:
    """The name that was chosen under a key, at first the one in the address, else the first one."""
    if st.session_state.get(key) not in names:
        named = st.query_params.get(key)
        st.session_state[key] = named if named in names else names[0]
    return st.session_state[key]


def look_at_column(name: str) -> None:
    """Look at another feature."""
    st.session_state[COLUMN] = name


def explain_clip(clip: str) -> None:
    """Look at what makes up the prediction of a clip."""
    st.session_state[EXPLAINED_CLIP] = clip
    st.session_state["explain_view"] = "One clip"


def show_curve_of(run_id: str) -> None:
    """Go to the curve of a run, on its own data set."""
    if (run := next((one for one in resources.runs(workspace().jobs) if one.id == run_id), None)) is not None:
        with suppress(EarmarkError, KeyError, TypeError):
            its_set = Choice(run.record.dataset.path, build(Layout, run.record.settings.layout))
            if its_set != choice():
                choose(its_set)
    open_run(run_id)
    st.session_state["result_view"] = "More clips?"


def explained_clip(names: Sequence[str]) -> str:
    """The clip whose prediction is looked at."""
    name = _looked_at(EXPLAINED_CLIP, names)
    if st.query_params.get(EXPLAINED_CLIP) != name:  # a bound select box leaves out what was chosen before it was drawn
        st.query_params[EXPLAINED_CLIP] = name
    return name


def listen_to(split: str, name: str) -> None:
    """Choose a clip of the data set to listen to; it is in the page's address, so that a refresh shows it again."""
    st.session_state["listened"] = (split, name)


def listened(among: Container[tuple[str, str]]) -> tuple[str, str] | None:
    """The clip that was chosen to listen to, else the one in the page's address, where it is among these."""
    chosen = st.session_state.get("listened")
    if chosen not in among:
        named, splits = st.query_params.get("clip", ""), (st.query_params.get("table", "train"), "test")
        chosen = next(((split, named) for split in splits if (split, named) in among), None)
    if chosen is not None:
        st.session_state["listened"] = chosen
        for key, value in {"clip": chosen[1], "table": chosen[0]}.items():
            if st.query_params.get(key) != value:
                st.query_params[key] = value
    return chosen


def uploader(name: str, *, empty: bool = False) -> str:
    """The key of a box for files; a new one where it is to be emptied."""
    number: int = st.session_state.get(f"uploader_{name}", 0) + int(empty)
    st.session_state[f"uploader_{name}"] = number
    return f"{name}_{number}"


def picked(key: str) -> Any:
    """What is selected in a chart or a table of this key."""
    return st.session_state[key]["selection"]


def say(key: str, text: str | None) -> None:
    """Keep a sentence for the next run of the page, such as why a path was refused."""
    st.session_state[f"said_{key}"] = text


def said(key: str) -> str | None:
    """The sentence that was kept."""
    return st.session_state.get(f"said_{key}")


def request_name(job: Job) -> str:
    """Name of what a job works on, to show."""
    runs = " and ".join(job.request.get("runs", ()))
    return Path(str(job.request.get("dataset") or job.request.get("run") or runs or job.id)).name


def watch(job: Job) -> None:
    """Look at a scoring job; it stands in the page's address, so that a refresh shows it again."""
    st.session_state["watched"] = job.id
    if st.query_params.get("job") != job.id:
        st.query_params["job"] = job.id


def watched() -> Job | None:
    """The scoring job that the page's address names, else the one that this session looked at last."""
    name = st.query_params.get("job") or st.session_state.get("watched", "")
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", name):
        return None
    try:
        job = read_job(workspace().jobs / name)
    except JobError:
        return None
    return job if job.kind == "predict" else None


def scorings(most: int = 10) -> list[Job]:
    """The last scorings of this workspace that ended well, newest first."""
    ended = (job for job in resources.jobs(workspace().jobs) if job.kind == "predict" and status(job) == DONE)
    return list(islice(ended, most))


def dataset_of(run: Run) -> Dataset | None:
    """The data set of a run, as it is now; None where it is gone."""
    try:
        layout = build(Layout, run.record.settings.layout)
        return resources.dataset(run.record.dataset.path, layout)
    except (EarmarkError, KeyError, TypeError):
        return None


def example_clip(run: Run) -> Path | None:
    """A clip to try a run with: of the test table of its data set, else of its training table; None where the set is gone."""
    dataset = dataset_of(run)
    rows = (*dataset.test, *dataset.train) if dataset is not None else ()
    return next((row.path for row in rows if row.path.is_file()), None)


def open_run(run_id: str) -> None:
    """Look at a run; it stands in the page's address, so that a refresh and a second tab show it again."""
    st.session_state["opened_run"] = run_id
    if st.query_params.get("run") != run_id:
        st.query_params["run"] = run_id


def open_when_done(job: Job) -> None:
    """Look at the run of a job as soon as it is there."""
    st.session_state["awaited"] = job.id


def awaits(job: Job) -> bool:
    """Whether this session waits for the run of a job."""
    return bool(st.session_state.get("awaited") == job.id)


def open_awaited(done: Container[str]) -> None:
    """Look at the run that this session waits for, where it is there now."""
    if st.session_state.get("awaited") in done:
        open_run(st.session_state.pop("awaited"))


def close_run() -> None:
    """Look at no run in particular."""
    st.session_state.pop("opened_run", None)
    st.query_params.pop("run", None)


def result_run(here: Sequence[Run]) -> Run:
    """The run whose result is looked at: one that has come since the last look, else the opened one, else the newest.

    Parameters
    ----------
    here : sequence of Run of one kind, ensembles or fine-tuned ones, oldest first
    """
    newest = next((run for run in reversed(here) if run.kind.holds_models), here[-1])  # a blend is opened where it is made
    known = f"newest_result_{page_of(newest)}"
    fresh = st.session_state.get(known) not in (None, newest.id)
    st.session_state[known] = newest.id
    run = newest if fresh else opened_run(here) or newest
    open_run(run.id)
    return run


def stamp_of(run: Run) -> str | None:
    """The state of the data set that a run was trained on; of a blend, which was not trained, None.

    Raises
    ------
    JobError
        It was not kept, or is damaged.
    """
    if not run.kind.holds_models or not is_job(run.folder):  # nor was it a job where a script trained it
        return None
    return resources.result(read_job(run.folder))["stamp"]


def remember_compared(names: Sequence[str]) -> None:
    """Compare, of the runs with these ids, those that the address names, else those that were compared last."""
    named = st.query_params.get(COMPARED)
    if named is not None and COMPARED not in st.session_state:
        st.session_state[COMPARED] = named.split(",")
    st.session_state[COMPARED] = [name for name in st.session_state.get(COMPARED, []) if name in names]
    keep_compared()


def keep_compared() -> None:
    """Put the runs that are compared into the address."""
    if compared := ",".join(st.session_state[COMPARED]):
        st.query_params[COMPARED] = compared
    else:
        st.query_params.pop(COMPARED, None)


def go(page: str) -> None:
    """Show another page next; for callbacks, which cannot switch themselves."""
    st.session_state["go"] = page


def gone_to() -> str | None:
    """The page that a callback asked for."""
    return st.session_state.pop("go", None)


def ask_for_best() -> None:
    """Go to the search for the best experiment, its plan unfolded."""
    st.session_state["asked_for_best"] = True


def asked_for_best() -> bool:
    """Whether somebody came for the search; it stays so until the session ends."""
    return bool(st.session_state.get("asked_for_best"))


def watch_training(job: Job) -> None:
    """Look at a training or fine-tuning on its page, with its own data set."""
    if (its_set := chosen_by(job)) is not None:
        choose(its_set)
    go(job_kind(job.kind).page)


def page_of(run: Run) -> str:
    """The page that shows the result of a run."""
    return run.kind.page


def opened_run(among: Sequence[Run]) -> Run | None:
    """The run that the page's address names, else the one that this session looked at last, where it is among these."""
    by_id = {run.id: run for run in among}
    name = st.query_params.get("run") or st.session_state.get("opened_run", "")
    if name not in by_id:
        return None
    open_run(name)
    return by_id[name]


def columns_read(run: Run) -> list[str]:
    """Columns of a table that the networks of a run read; of a blend those of all of its runs."""
    names = run.record.settings.ensemble.members if not run.kind.holds_models else []
    parts = [part for part in resources.runs(workspace().jobs) if part.id in names] if names else [run]
    texts = [str((part.record.settings.finetune or {}).get("text", "")) for part in parts]
    return list(dict.fromkeys(text.removeprefix(COLUMN_TEXT) for text in texts if text.startswith(COLUMN_TEXT)))


def clips_of(run: Run) -> dict[str, Path]:
    """Paths of the clips that a run was trained on, by name; none where its data set is gone."""
    dataset = dataset_of(run)
    return {row.name: row.path for row in dataset.train} if dataset is not None else {}


def runs_here() -> list[Run]:
    """Finished runs on the chosen data set, read in the same way, oldest first."""
    wanted = request()
    here = [run for run in resources.runs(workspace().jobs) if run.record.dataset.path == wanted["dataset"]]
    return [run for run in here if _complete("layout", run.record.settings.layout) == wanted["layout"]]


def results_here(page: str) -> list[Run]:
    """Finished runs on the chosen data set whose result a page shows, oldest first."""
    return [run for run in runs_here() if run.kind.page == page]


def runs_like(groups: str | None) -> list[Run]:
    """Finished runs on the chosen data set whose folds keep the same groups: their errors can be compared."""
    return [run for run in runs_here() if run.record.settings.ensemble.group_by == groups]


def chosen_by(job: Job) -> Choice | None:
    """The data set of a job."""
    try:
        return Choice(str(job.request["dataset"]), build(Layout, job.request["layout"]))
    except (KeyError, TypeError, EarmarkError):
        return None
