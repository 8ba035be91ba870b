"""Dataset: point at a folder, see what is in it, listen."""

from pathlib import Path

import pandas as pd
import streamlit as st

from app import ui_charts_clips, ui_clips, ui_forms, ui_live, ui_resources, ui_state
from app.ui_words import changed_since, count, duration, errors_in_words, plain
from core import commands, jobs
from core.dataset import Dataset, Layout
from core.errors import AudioError, EarmarkError, ParameterError

ws = ui_state.workspace()


def open_typed() -> None:
    """Open what the form names."""
    typed = {name: st.session_state[f"dataset_{name}"].strip() for name in ("path", "filename_column", "label_column", "audio")}
    try:
        if not typed["path"]:
            raise ParameterError("the path is empty; name the folder of a data set, or a CSV beside its clips")
        layout = Layout(typed["filename_column"] or "filename", typed["label_column"] or "label", typed["audio"] or None)
        open_choice(ui_state.Choice(ui_state.absolute(typed["path"]), layout))
    except EarmarkError as error:
        ui_state.say("dataset", str(error))


def open_recent() -> None:
    """Open one of the recent data sets."""
    if (chosen := st.session_state["dataset_recent"]) is not None:
        open_choice(chosen)


def open_choice(chosen: ui_state.Choice) -> None:
    """Work on a data set from here on, and have a look at its clips."""
    ui_state.say("dataset", None)
    try:
        ui_state.choose(chosen)
    except EarmarkError as error:
        ui_state.say("dataset", str(error))
    except OSError as error:
        ui_state.say("dataset", jobs.refusal(error))
    else:
        for name, value in {"path": chosen.path, **vars_of(chosen.layout)}.items():
            st.session_state[f"dataset_{name}"] = value or ""
        look()


def vars_of(layout: Layout) -> dict[str, str | None]:
    """The layout's fields as the form names them."""
    return {"filename_column": layout.filename_column, "label_column": layout.label_column, "audio": layout.audio}


def look() -> None:
    """Have every clip decoded for the report."""
    with errors_in_words():
        jobs.submit("check", ui_state.request(), ws.jobs)


def path_box() -> None:
    """The form that names a data set."""
    chosen = ui_state.choice()
    for name, value in {"path": chosen.path, **vars_of(chosen.layout)}.items():
        st.session_state.setdefault(f"dataset_{name}", value or "")
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.text_input("Folder or CSV", key="dataset_path", on_change=open_typed, persist_state="session")
            st.button("Open", type="primary", icon=":material/folder_open:", key="dataset_open", on_click=open_typed)
        if said := ui_state.said("dataset"):
            st.error(plain(said), icon=":material/folder_off:")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            with st.popover("Columns and audio folder", icon=":material/tune:"):
                st.text_input("Column with the file names", key="dataset_filename_column", persist_state="session")
                st.text_input("Column with the labels", key="dataset_label_column", persist_state="session")
                st.text_input("Folder with the clips", key="dataset_audio", placeholder="the usual one", persist_state="session")
            others = [one for one in ui_state.recent() if one != chosen]
            bundled = ui_state.Choice(str(ui_state.BUNDLED))
            others += [bundled] if bundled not in (*others, chosen) else []
            if others:
                st.selectbox(
                    "Recent",
                    others,
                    index=None,
                    format_func=lambda one: one.path,
                    placeholder="Recent data sets",
                    label_visibility="collapsed",
                    key="dataset_recent",
                    on_change=open_recent,
                    width=360,
                )
    ui_forms.command(commands.check_command(chosen.path, chosen.layout))


def report(dataset: Dataset, seen: dict[str, object]) -> None:
    """Counts, histograms and problems."""
    table = pd.DataFrame(seen["table"])
    problems = pd.DataFrame(seen["problems"], columns=["file", "split", "level", "reason"]).rename(columns={"split": "table"})
    errors = int((problems["level"] == "error").sum())
    usable = {one["file"] for one in seen["table"] if one["split"] == "train"}
    labels = [row.label for row in dataset.train if row.name in usable]
    with st.grid(4, min_column_width=170):
        st.metric(
            "Usable clips",
            f"{len(table):,}",
            border=True,
            help=f"{len(usable):,} to train on, {len(table) - len(usable):,} to test",
        )
        st.metric("Length", duration(float(seen["seconds"])), border=True)
        st.metric("Labels", f"{min(labels):.10g} to {max(labels):.10g}" if labels else "none", border=True)
        st.metric("Problems", f"{len(problems):,}", border=True, help=f"{errors:,} set aside, {len(problems) - errors:,} kept")
    if seen["why_not"]:
        st.error(plain(f"Training is not possible: {seen['why_not']}."), icon=":material/error:")
    if len(problems):
        with st.expander(
            f"{count(len(problems), 'problem')}: {errors:,} set aside, {len(problems) - errors:,} kept", icon=":material/warning:"
        ):
            st.dataframe(problems, hide_index=True, alt="Problems by file, with their reason", key="dataset_problems")
    grid = st.grid(2, min_column_width=320)
    if labels:
        with grid.cell():
            st.markdown("**Labels**")
            st.altair_chart(ui_charts_clips.label_histogram(labels), key="labels", alt="Histogram of the labels")
    if len(table):
        with grid.cell():
            st.markdown("**Length**")
            st.altair_chart(ui_charts_clips.duration_histogram(table["seconds"]), key="durations", alt="Histogram of the lengths")


@st.fragment
@errors_in_words()
def clip_table(dataset: Dataset, seen: dict[str, object]) -> None:
    """All clips; the one that is clicked is heard and seen below."""
    rows = {("train", row.name): row for row in dataset.train} | {("test", row.name): row for row in dataset.test}
    table = pd.DataFrame(seen["table"], columns=["file", "split", "seconds", "sample_rate_hz", "channels", "peak_dbfs"])
    known = [(split, file) in rows for split, file in zip(table["split"], table["file"], strict=True)]
    table = table.loc[known].reset_index(drop=True)
    keys = list(zip(table["split"], table["file"], strict=True))
    reasons: dict[tuple[str, str], list[str]] = {}
    for problem in seen["problems"]:
        reasons.setdefault((problem["split"], problem["file"]), []).append(problem["reason"])
    table.insert(2, "label", [rows[key].label for key in keys])
    table["problem"] = ["; ".join(reasons.get(key, [])) for key in keys]
    columns = {
        "file": st.column_config.TextColumn("Clip", pinned=True),
        "split": "Table",
        "label": st.column_config.NumberColumn("Label", format="%.10g"),
        "seconds": st.column_config.NumberColumn("Seconds", format="%.2f"),
        "sample_rate_hz": st.column_config.NumberColumn("Rate (Hz)", format="%d"),
        "channels": "Channels",
        "peak_dbfs": st.column_config.NumberColumn("Peak (dBFS)", format="%.1f"),
        "problem": "Problem",
    }
    if ui_clips.routed():
        table.insert(0, "play", [ui_clips.address(rows[key].path) for key in keys])
        columns["play"] = st.column_config.AudioColumn("Play", help="Double click to hear it here")
    st.markdown("**Clips**")
    st.caption("Click a row to hear and see the clip.")
    event = st.dataframe(
        table,
        hide_index=True,
        height=320,
        column_config=columns,
        on_select="rerun",
        selection_mode="single-cell",
        key="dataset_clips",
        alt="Clips with label, length, rate and level",
    )
    picked = [row for row, _ in event.selection.cells if row < len(keys)]
    if keys:
        row = rows[keys[picked[0] if picked else 0]]
        show_clip(row.path, row.name, row.label)


def show_clip(path: Path, name: str, label: float) -> None:
    """Player, waveform and spectrogram of one clip."""
    with st.container(border=True):
        st.markdown(f"**{plain(name)}**" + (f" · label {label:.10g}" if label == label else ""))
        try:
            clip = ui_resources.clip(path)
        except AudioError as error:
            st.error(plain(error.reason), icon=":material/volume_off:")
            return
        st.audio(str(path))
        st.altair_chart(ui_charts_clips.waveform(clip), key="waveform", alt=f"Waveform of {name}")
        st.plotly_chart(
            ui_charts_clips.spectrogram(clip), key="spectrogram", alt=f"Spectrogram of {name}", config={"displayModeBar": False}
        )


st.title("Dataset")
path_box()
dataset = ui_state.require_dataset()
job = ui_state.newest_job("check")
if job is None:
    look()
    job = ui_state.newest_job("check")
if job is not None and jobs.status(job) in jobs.ACTIVE:
    ui_live.show_job(job)
elif job is not None and not ui_live.show_end(job):
    seen = ui_resources.result(job)
    if seen["stamp"] != dataset.stamp():
        with st.container(horizontal=True, vertical_alignment="center"):
            changed_since("this was looked at")
            st.button("Look again", icon=":material/refresh:", key="look_again", on_click=look)
    report(dataset, seen)
    clip_table(dataset, seen)
    if st.button("Extract its features", type="primary", icon=":material/arrow_forward:", key="next_step"):
        st.switch_page(ui_state.PAGES["features"])
