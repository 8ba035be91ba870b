"""Dataset: point at a folder or upload one, see what is in it, listen."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from app import forms, resources, session
from app.charts import clips
from app.resources import CheckedDataset
from app.uploads import Upload, bring
from app.views import listen, live, ratings, reading, segments
from app.views.cards import card
from app.words import changed_since, count, duration, errors_in_words, plain
from core import jobs
from core.cli import as_command
from core.data.bandwidth import khz
from core.data.dataset import Dataset
from core.data.kinds import SUFFIXES
from core.data.layouts.layout import Layout
from core.data.layouts.tables import SUFFIXES as TABLES
from core.ensemble import EnsembleSettings
from core.errors import EarmarkError, ParameterError

ws = session.workspace()


def open_typed() -> None:
    """Open what the form names."""
    try:
        if not (path := st.session_state["dataset_path"].strip()):
            raise ParameterError("the path is empty; name the folder of a data set, or a table beside its clips")
        layout = forms.typed_layout(session.choice().layout, columns_of_path())
        open_choice(session.with_named_labels(session.Choice(session.absolute(path), layout)))
    except EarmarkError as error:
        session.say("dataset", str(error))


def open_recent() -> None:
    """Open one of the recent data sets."""
    if (chosen := st.session_state["dataset_recent"]) is not None:
        open_choice(chosen)


def open_choice(chosen: session.Choice) -> None:
    """Work on a data set from here on, and have a look at its clips."""
    session.say("dataset", None)
    try:
        session.choose(chosen)
    except EarmarkError as error:
        session.say("dataset", str(error))
    except OSError as error:
        session.say("dataset", jobs.os_error_message(error))
    else:
        for name, value in {"path": chosen.path, **forms.layout_values(chosen.layout)}.items():
            st.session_state[f"dataset_{name}"] = value
        look()


def look() -> None:
    """Have every clip decoded for the report."""
    with errors_in_words():
        jobs.submit("check", session.request(), ws.jobs)


def path_box() -> None:
    """The form that names a data set, or takes one."""
    chosen = session.choice()
    with st.container(border=True):
        by_path, by_upload = st.tabs(["On this machine", "Upload"], key="dataset_source")
        with by_upload:
            upload_box()
        for name, value in {"path": chosen.path, **forms.layout_values(chosen.layout)}.items():
            st.session_state.setdefault(f"dataset_{name}", value)
        with by_path, st.container(horizontal=True, vertical_alignment="bottom"):
            st.text_input("Folder or table", key="dataset_path", on_change=open_typed, persist_state="session")
            st.button("Open", type="primary", icon=":material/folder_open:", key="dataset_open", on_click=open_typed)
        if said := session.said("dataset"):
            st.error(plain(said), icon=":material/folder_off:")
        if said := session.said("dataset_skipped"):
            st.caption(plain(said))
        with st.container(horizontal=True, vertical_alignment="bottom"):
            with st.popover("Columns, tables and audio folder", icon=":material/tune:"):
                forms.layout_fields(columns_of_path())
            others = [one for one in session.recent() if one != chosen]
            bundled = session.Choice(str(session.BUNDLED))
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
        if not session.recent():
            st.caption("The bundled example is open. Name your own folder, or upload it.")
    forms.command(as_command.check_command(chosen.path, chosen.layout))


def columns_of_path() -> tuple[str, ...]:
    """The columns of the table that is named in the box, which need not be open; none where it cannot be read."""
    typed = {name: (st.session_state[f"dataset_{name}"] or "").strip() or None for name in ("path", "train")}
    try:
        return resources.columns(session.absolute(typed["path"]), Layout(train=typed["train"])) if typed["path"] else ()
    except (EarmarkError, OSError):  # opening the path says why
        return ()


def upload_box() -> None:
    """Takes a zip, or a table with its clips, and opens it."""
    limit_mb = st.get_option("server.maxUploadSize")
    uploads = st.file_uploader(
        "A zip of a data set, or one table with its clips",
        type=["zip", *(suffix[1:] for suffix in (*TABLES, *SUFFIXES))],
        accept_multiple_files=True,
        key=session.uploader("dataset_uploads"),
    )
    st.caption(
        f"Up to {limit_mb:,} MB a file; a folder on this machine has no limit. In the zip: train.csv, test.csv and "
        "folders of clips, one table beside its clips, or any other layout that is recognised. Uploads stay in the workspace."
    )
    if st.button("Open the upload", type="primary", icon=":material/upload:", key="dataset_take", disabled=not uploads):
        with st.spinner("Unpacking ..."):
            take(uploads)
        st.rerun()


def take(uploads: Sequence[Upload]) -> None:
    """Keep what was uploaded, and work on it."""
    session.say("dataset_skipped", None)
    try:
        done = bring(uploads, ws.root / "uploads")
    except (EarmarkError, OSError) as error:
        session.say("dataset", jobs.os_error_message(error) if isinstance(error, OSError) else str(error))
        return
    session.uploader("dataset_uploads", empty=True)
    if done.skipped:
        some = ", ".join(done.skipped[:5]) + (", ..." if len(done.skipped) > 5 else "")
        session.say("dataset_skipped", f"{count(len(done.skipped), 'file')} left out, neither clips nor tables: {some}")
    layout = Layout()
    open_choice(session.Choice(str(done.folder), layout))
    if session.choice().path != str(done.folder):  # refused: the columns can be named and the path opened again
        st.session_state["dataset_path"] = str(done.folder)


def open_bundled() -> None:
    """Work on the example."""
    open_choice(session.Choice(str(session.BUNDLED)))


def require_dataset() -> Dataset:
    """The chosen data set; where it cannot be read, the page says so and ends."""
    chosen = session.choice()
    try:
        return resources.dataset(chosen.path, chosen.layout)
    except EarmarkError as error:
        st.error(plain(str(error)), icon=":material/folder_off:")
        if chosen.path != str(session.BUNDLED):
            st.button("Open the bundled example", icon=":material/piano:", key="dataset_bundled", on_click=open_bundled)
        st.stop()


def cards(looked: CheckedDataset) -> None:
    """How many clips, how long, which labels, what is wrong: at a glance."""
    table, problems = looked.table, looked.problems
    train = int((table["split"] == "train").sum())
    labels = table["label"].dropna()
    aside = int((problems["level"] == "error").sum())
    seconds = table["seconds"]
    with st.grid(4, min_column_width=170):
        card("Usable clips", f"{len(table):,}", f"{train:,} to train on, {len(table) - train:,} to test")
        card("Length", duration(float(seconds.sum())), f"{seconds.median():.1f} s the median clip" if len(table) else "")
        span = f"{labels.min():.10g} to {labels.max():.10g}" if len(labels) else "none"
        card("Labels", span, f"{labels.nunique():,} different, mean {labels.mean():.4g}" if len(labels) else "")
        kept = len(problems) - aside
        card("Problems", f"{len(problems):,}", f"{aside:,} set aside, {kept:,} kept" if len(problems) else "every clip can be used")
    reading.show_transform_hint(labels.to_numpy(float))
    bandwidth(looked)


def bandwidth(looked: CheckedDataset) -> None:
    """What the sound holds beside what its sample rates promise."""
    found = looked.seen.get("bandwidths")  # an earlier check has none
    if found is None or found["median_hz"] is None:
        return
    rates = ", ".join(khz(rate) for rate in sorted(looked.table["sample_rate_hz"].unique()))
    st.caption(f"Sample rate {rates}; the median clip holds sound up to {khz(found['median_hz'])}.")
    for sentence in found["sentences"]:
        st.caption(f":orange[{plain(sentence[:1].upper() + sentence[1:])}.]")


def histograms(looked: CheckedDataset) -> None:
    """How labels, lengths and levels are spread."""
    table = looked.table
    labels = table["label"].dropna().to_numpy()
    if len(table) == 0:
        return
    with st.grid(3, min_column_width=300):
        if len(labels):
            with st.container():
                st.markdown("**Labels**")
                folds = session.usual(session.newest_job("train"), EnsembleSettings, "ensemble").folds
                chart = clips.label_histogram(labels, least=folds)
                st.altair_chart(chart, key="labels", alt="Histogram of the labels")
                if rare := clips.rare_labels(labels, least=folds):
                    st.caption(
                        f"Orange: {count(rare, 'bar')} of fewer than {folds} clips, too few for one in each of {folds} folds."
                    )
        with st.container():
            st.markdown("**Length**")
            st.altair_chart(clips.duration_histogram(table["seconds"]), key="durations", alt="Histogram of the lengths")
        with st.container():
            st.markdown("**Level**")
            chart = clips.level_histogram(table["peak_dbfs"], table["rms_dbfs"])
            st.altair_chart(chart, key="levels", alt="Histogram of peak and RMS levels")
            if silent := int(np.isnan(table["peak_dbfs"]).sum()):
                st.caption(f"Without {count(silent, 'clip')} of digital silence.")


st.title("Dataset")
path_box()
dataset = require_dataset()
reading.show_reading(dataset)
job = session.newest_job("check")
if job is None:
    look()
    job = session.newest_job("check")
if job is not None and jobs.status(job) in jobs.ACTIVE:
    live.show_job(job)
elif job is not None and not live.show_end(job):
    looked = resources.checked_dataset(job, dataset)
    features = listen.newest_features(looked)
    if looked.seen["stamp"] != dataset.stamp():
        with st.container(horizontal=True, vertical_alignment="center"):
            changed_since("this was looked at")
            st.button("Look again", icon=":material/refresh:", key="look_again", on_click=look)
    if looked.seen["why_not"]:
        st.error(plain(f"Training is not possible: {looked.seen['why_not']}."), icon=":material/error:")
    cards(looked)
    ratings.show(dataset)
    segments.show(dataset)
    if len(looked.problems):
        listen.problems(looked)
    listen.twins(looked, features)
    histograms(looked)
    listen.clips(looked, features)
    if st.button(
        "Extract its features" if features is None else "Look at its features",
        type="primary",
        icon=":material/arrow_forward:",
        key="next_step",
    ):
        st.switch_page(session.PAGES["features"])
