"""Features: choose the sets, have them extracted once, watch, and look at what they say."""

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app import forms, resources, session
from app.views import explore, live, sets as sets_view
from app.words import about, changed_since, count, errors_in_words, plain
from core import jobs
from core.cli import as_command
from core.data.treatment import Treatment
from core.errors import DataError
from core.events import ClipSetAside, Recorded
from core.extraction.config import ExtractSettings
from core.extraction.extract import definitions_of, find_cached
from core.extraction.speed import FEWEST, probe_size
from core.extraction.texts import texts_of
from core.settings import build

ws = session.workspace()


def extract(settings: ExtractSettings) -> None:
    """Start the job; an estimate under way gives way to it."""
    with errors_in_words():
        probe = session.newest_job("probe")
        if probe is not None and jobs.status(probe) in jobs.ACTIVE:
            jobs.cancel(probe)
        jobs.submit("extract", session.request(extract=settings), ws.jobs)


def estimate(settings: ExtractSettings) -> None:
    """Have a few clips extracted, to know how long all will take."""
    with errors_in_words():
        jobs.submit("probe", session.request(extract=settings), ws.jobs)


def time_to_go(settings: ExtractSettings, to_do: int) -> None:
    """How long the clips that are left will take, where that is known, and a button to find out."""
    probe = session.newest_job("probe", extract=settings)
    state = None if probe is None else jobs.status(probe)
    with actions:
        st.button(
            "Estimate the time",
            icon=":material/timer:",
            key="estimate",
            on_click=estimate,
            args=(settings,),
            disabled=state in jobs.ACTIVE or to_do <= FEWEST,
            help=f"Extracts {probe_size(settings)} of the clips, short and long ones, and tells how long all will take. "
            "What they give is kept.",
        )
        if to_do and state not in jobs.ACTIVE and (speed := session.known_speed(settings)) is not None and speed.clips:
            cores = count(max(1, speed.workers), "core")
            st.markdown(f"**{about(speed.seconds(to_do)).capitalize()}** for {count(to_do, 'clip')} on {cores}")
    if probe is not None and state in jobs.ACTIVE:
        with below:
            live.show_job(probe)
    elif probe is not None and state == jobs.FAILED and to_do:
        below.error(plain(f"There is no estimate: {jobs.why_failed(probe)}"), icon=":material/timer_off:")


def set_aside_table(problems: list[tuple[str, str]]) -> None:
    """Clips without features, by reason."""
    frame = pd.DataFrame(problems, columns=["file", "reason"])
    with st.expander(f"{count(len(frame), 'clip')} set aside", icon=":material/warning:", expanded=len(frame) <= 5):
        by_reason = frame.groupby("reason", sort=False)["file"].agg(clips="size", files=", ".join).reset_index()
        st.dataframe(by_reason, hide_index=True, key="set_aside", alt="Clips that were set aside, by reason")


def draw_set_aside(recorded: list[Recorded]) -> None:
    """Clips that the running job has set aside so far."""
    aside = [(one.event.file, one.event.reason) for one in recorded if isinstance(one.event, ClipSetAside)]
    if aside:
        set_aside_table(aside)


def show_features(files: list[str], sets: list[str], treatment: Treatment) -> None:
    """The matrices of the last extraction: to look at, and to take away.

    They stand in this workspace, wherever it was when they were written.
    """
    files = [str(ws.features / Path(file).parent.name / Path(file).name) for file in files]
    try:
        features = resources.features(files, sets, dataset, treatment)
    except DataError as error:
        st.error(plain(str(error)), icon=":material/broken_image:")
        return
    st.subheader("Columns")
    explore.explore(features, {row.name: row.path for row in dataset.train})
    st.subheader("Downloads")
    explore.downloads(features, dataset.name)
    with st.expander("Exported matrices", icon=":material/description:"):
        st.code("\n".join(files), language=None)


def show_cached(settings: ExtractSettings, unreadable: int) -> None:
    """How much is there already, and how long the rest takes."""
    rows = (*dataset.train, *dataset.test)
    paths = list(dict.fromkeys(row.path for row in rows))
    with st.spinner("Checking the cache ..."):
        cached = len(find_cached(paths, settings, cache_path=ws.cache, texts=texts_of(rows, settings.features)))
    to_do = max(0, len(paths) - cached - unreadable)
    with st.grid(3, min_column_width=140):
        st.metric("Cached", f"{cached:,}", border=True, help="Their features are cached; nothing is computed again.")
        st.metric("To do", f"{to_do:,}", border=True)
        st.metric("Unreadable", f"{unreadable:,}", border=True, help="As the last extraction found; each is named below.")
    time_to_go(settings, to_do)


def show_finished(job: jobs.Job, done: dict[str, Any], unchanged: bool) -> None:
    """What the last extraction that ended well has left, whatever was begun since."""
    of = job.request["extract"]
    settings = build(ExtractSettings, of)
    if not unchanged:
        changed_since("the last extraction")
    if done["set_aside"]:
        set_aside_table([(problem["file"], problem["reason"]) for problem in done["set_aside"]])
    sets = f"{plain(', '.join(of['features']))}, up to {of['max_seconds']:g} s"
    sets += f", {words}" if (words := settings.treatment.words) else ""
    if done.get("definitions") != definitions_of(settings):
        st.warning(
            f"The last extraction ({sets}) is of an earlier version of Earmark, which computed some columns in another way. "
            "Extract again to look at them.",
            icon=":material/update:",
        )
        return
    st.success(
        f"The last extraction ({sets}) has the features of {count(done['ready'], 'clip')}: {done['computed']:,} computed, "
        f"{done['ready'] - done['computed']:,} from the cache.",
        icon=":material/check_circle:",
    )
    if st.button("Train", type="primary", icon=":material/arrow_forward:", key="next_step"):
        st.switch_page(session.PAGES["train"])
    show_features(done["files"], done.get("features", of["features"]), settings.treatment)


st.title("Features")
dataset = session.require_dataset()
chosen = session.choice()
st.caption(f"{plain(chosen.name)} · its tables name {count(len(dataset.train), 'clip')} to train on, {len(dataset.test):,} to test")

job = session.newest_job("extract")
active = job is not None and jobs.status(job) in jobs.ACTIVE
with st.container(border=True):
    settings = forms.extract_settings(dataset, session.usual(job, ExtractSettings, "extract"))
    actions, below = st.container(horizontal=True, vertical_alignment="center"), st.container()
    actions.button(
        "Extract",
        type="primary",
        icon=":material/play_arrow:",
        key="extract",
        on_click=extract,
        args=(settings,),
        disabled=settings is None or active,
    )
if settings is not None:
    sets_view.show_sets(settings)
    forms.command(as_command.extract_command(chosen.path, chosen.layout, settings, ws.root))

finished = session.newest_done("extract")
done = resources.result(finished) if finished is not None else None
stamp = dataset.stamp()
unchanged = done is not None and done["stamp"] == stamp
if job is not None and active:
    live.show_job(job, draw_set_aside)
else:
    if job is not None:
        live.show_end(job)
    if settings is not None:
        with errors_in_words():  # the cache may be damaged, or not to be opened
            show_cached(settings, done["unreadable"] if done is not None and unchanged else 0)
if finished is not None and done is not None:
    show_finished(finished, done, unchanged)
elif job is None:
    st.caption(
        "Each clip is decoded once; what is computed is kept, by the content of the file. Training extracts what is missing."
    )
