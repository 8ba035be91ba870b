"""Features: choose the sets, have them extracted once, watch."""

import pandas as pd
import streamlit as st

from app import ui_forms, ui_live, ui_resources, ui_state
from app.ui_words import changed_since, count, errors_in_words, plain
from core import commands, jobs
from core.events import ClipSetAside, Recorded
from core.extract import ExtractSettings, count_cached

ws = ui_state.workspace()


def extract(settings: ExtractSettings) -> None:
    """Start the job."""
    with errors_in_words():
        jobs.submit("extract", ui_state.request(extract=settings), ws.jobs)


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


st.title("Features")
dataset = ui_state.require_dataset()
chosen = ui_state.choice()
st.caption(f"{plain(chosen.name)} · its tables name {count(len(dataset.train), 'clip')} to train on, {len(dataset.test):,} to test")

job = ui_state.newest_job("extract")
active = job is not None and jobs.status(job) in jobs.ACTIVE
with st.container(border=True):
    settings = ui_forms.extract_settings(ui_state.usual(job, ExtractSettings, "extract"))
    st.button(
        "Extract",
        type="primary",
        icon=":material/play_arrow:",
        key="extract",
        on_click=extract,
        args=(settings,),
        disabled=settings is None or active,
    )
if settings is not None:
    ui_forms.command(commands.extract_command(chosen.path, chosen.layout, settings, ws.root))

if job is not None and active:
    ui_live.show_job(job, draw_set_aside)
else:
    failed = job is not None and ui_live.show_end(job)
    done = ui_resources.result(job) if job is not None and not failed else None
    unchanged = done is not None and done["stamp"] == dataset.stamp()
    if settings is not None:
        paths = list(dict.fromkeys(row.path for row in (*dataset.train, *dataset.test)))
        with st.spinner("Looking into the cache ..."):
            cached = count_cached(ui_resources.contents(paths), settings, cache_path=ws.cache)
        unreadable = done["unreadable"] if unchanged else 0
        with st.grid(3, min_column_width=140):
            st.metric("Cached", f"{cached:,}", border=True, help="Their features are there; nothing is computed again.")
            st.metric("To do", f"{max(0, len(paths) - cached - unreadable):,}", border=True)
            st.metric("Unreadable", f"{unreadable:,}", border=True, help="As the last extraction found; each is named below.")
    if done is not None:
        if not unchanged:
            changed_since("the last extraction")
        if done["set_aside"]:
            set_aside_table([(problem["file"], problem["reason"]) for problem in done["set_aside"]])
        of = job.request["extract"]
        st.success(
            f"The last extraction ({plain(', '.join(of['features']))}, up to {of['max_seconds']:g} s) has the features of "
            f"{count(done['ready'], 'clip')}: {done['computed']:,} computed, {done['ready'] - done['computed']:,} from the cache.",
            icon=":material/check_circle:",
        )
        with st.expander("Exported matrices", icon=":material/description:"):
            st.code("\n".join(done["files"]), language=None)
        if st.button("Train", type="primary", icon=":material/arrow_forward:", key="next_step"):
            st.switch_page(ui_state.PAGES["train"])
    elif not failed:
        st.caption(
            "Each clip is decoded once; what is computed is kept, by the content of the file. Training extracts what is missing."
        )
