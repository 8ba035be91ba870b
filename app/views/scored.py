"""Clips to be scored, and what a run says of them: one clip in full, many as a table, against their labels where there are any."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import clip_urls, fields, resources, session
from app.charts import predict
from app.views.player import play
from app.words import BADGES, analysed, count, decimals, errors_in_words, plain
from core.data.kinds import USUAL
from core.data.layouts.layout import Layout
from core.data.layouts.tables import SUFFIXES as TABLES
from core.errors import DataError, ParameterError
from core.extraction.export import definitions
from core.features import Column, parse_set
from core.insight.neighbours import FarColumn, Neighbour, Neighbourhood
from core.runs import Run
from core.scoring.figures import text

SOURCES = ("Files", "Recording", "On this server")
_TOLD = 5  # clips that are named one by one; more stand in a table
_MANY = 150  # predictions that are drawn one by one; more are counted
_HEIGHT = 420


@dataclass(frozen=True, slots=True)
class Brought:
    """What is to be scored.

    Attributes
    ----------
    clips : tuple of str, paths of uploads
    number : int, clips in all
    table : str or None, a table or a folder
    layout : Layout or None, of the table
    """

    clips: tuple[str, ...] = ()
    number: int = 0
    table: str | None = None
    layout: Layout | None = None

    @property
    def request(self) -> dict[str, Any]:
        """What the job is asked."""
        asked: dict[str, Any] = {"clips": list(self.clips)}
        return asked if self.table is None else asked | {"table": self.table, "layout": self.layout}


def bring(run: Run, folder: Path) -> Brought:
    """The widgets that take clips: files, a recording, or a path on this machine. Uploads are kept below the folder."""
    source = st.segmented_control(
        "Clips", SOURCES, default=SOURCES[0], required=True, key="predict_source", persist_state="session"
    )
    extract = run.record.settings.extract
    seconds = extract.max_seconds / extract.slow_down  # of the file
    treated = "".join(f", {words}" for words in analysed(run))
    if source == SOURCES[1]:
        recording = st.audio_input("Record a clip", sample_rate=44100, key="predict_recording", label_visibility="collapsed")
        st.caption(
            "Browsers suppress noise and level the loudness of what they record. That changes the sound, and so the prediction: "
            "columns of loudness and quality most. A file of your usual recorder is the better test. "
            f"The first {seconds:g} s are analysed{treated}."
        )
        return _uploaded([recording] if recording else [], folder)
    if source == SOURCES[2]:
        return _on_disk()
    files = st.file_uploader(
        "Clips, and a table if there is one",
        accept_multiple_files=True,
        key="predict_files",
        label_visibility="collapsed",
        help=f"{USUAL}, by content; a table with filename and label says what the clips should get.",
    )
    st.caption(
        f"{USUAL}. Add a table with the columns filename and label to compare with labels. "
        f"The first {seconds:g} s of each clip are analysed{treated}."
    )
    return _uploaded(files or [], folder)


def ask_columns(run: Run) -> dict[str, str]:
    """What a table would say of clips that come without one, asked for by column; empty where nothing is asked or said.

    Numbers have a box for a number, words one of the levels of the training rows, texts a box for a text.
    """
    sets = [parse_set(name) for name in run.record.settings.extract.features]
    columns = {one.column: one for one in sets if one.column}
    columns |= {name: parse_set(f"transcript:column={name}") for name in session.columns_read(run) if name not in columns}
    if not columns:
        return {}
    read = f"the column {next(iter(columns))}" if len(columns) == 1 else f"the columns {', '.join(columns)}"
    st.caption(f"This run reads {plain(read)} of a table. What is left empty here is not known: expect worse.")
    cells: dict[str, Any] = {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, one in columns.items():
            key = f"predict_cell_{name}"
            if one.levels:
                cells[name] = st.selectbox(plain(name), one.levels, index=None, placeholder="not known", key=key, width=220)
            elif one.of_text or one.reads_text or one.of_group:
                cells[name] = st.text_input(plain(name), key=key)
            else:
                cells[name] = st.number_input(plain(name), value=None, placeholder="not known", format="%.6g", key=key, width=180)
    said = {name: value if isinstance(value, str) else repr(value) for name, value in cells.items() if value not in (None, "")}
    return dict.fromkeys(columns, "") | said if said else {}


def show(run: Run, result: dict[str, Any], name: str) -> None:
    """What came of a scoring.

    Parameters
    ----------
    run : Run that scored
    result : dict, of the job
    name : str, of the job, for what is taken away
    """
    predictions = result["predictions"]
    st.subheader("Result")
    _error_words(run)
    failed = [(one["file"], one["warnings"][0]) for one in predictions if one["prediction"] is None]
    failed += [(one["file"], one["reason"]) for one in result.get("problems", []) if one["level"] == "error"]
    _failures(failed)
    for one in result.get("problems", []):
        if one["level"] != "error":
            st.warning(plain(f"{short(one['file'])}: {one['reason']}"), icon=":material/table_view:")
    scored = [one for one in predictions if one["prediction"] is not None]
    if why_not := result.get("not_judged"):
        st.warning(plain(f"Not compared with the labels: {why_not}."), icon=":material/rule:")
    if result.get("evaluation"):
        evaluation(run, result["evaluation"], scored)
    if len(scored) == 1:
        one_clip(run, scored[0])
    elif scored:
        many_clips(run, scored)
    st.download_button(
        "Table",
        lambda: as_table(predictions).to_csv(index=False).encode(),
        f"predictions_{run.id}_{name}.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        key="download_predictions",
        help=f"{count(len(predictions), 'clip')} as CSV",
    )


def evaluation(run: Run, found: dict[str, Any], scored: Sequence[dict[str, Any]]) -> None:
    """Scores on labelled clips that the run was not trained on, and label against prediction."""
    level = run.scores.interval.level
    scores, places = found["scores"], decimals(run.scores.oof_rmse) + 1
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Against the labels**")
        st.badge(
            "not trained on",
            icon=":material/verified:",
            color="green",
            help="No model of the run has seen these clips. Where it has seen others of the same speaker, room or instrument, "
            "the scores are too good.",
        )
    with st.grid(5, min_column_width=150):
        st.metric("RMSE", f"{scores['rmse']:.{places}f}", border=True, help=f"Over {count(len(found['rows']), 'clip')}.")
        st.metric("MAE", f"{scores['mae']:.{places}f}", border=True, help="Mean absolute error.")
        st.metric("Pearson", _figure(scores["pearson"], 3), border=True, help="Correlation of label and prediction.")
        st.metric("Inside the interval", f"{found['coverage']:.0%}", border=True, help=f"Meant to be {level:.0%}.")
        st.metric(
            "Baseline",
            f"{found['constant_rmse']:.{places}f}",
            border=True,
            help="RMSE of the baseline (mean of the training labels).",
        )
    if found["trained_on"]:
        st.info(
            plain(
                f"{count(len(found['trained_on']), 'clip')} left out of these scores, the run was trained on the same bytes: "
                f"{listed(found['trained_on'])}."
            ),
            icon=":material/content_copy:",
        )
    frame = pd.DataFrame(found["rows"], columns=["clip", "label", "prediction", "low", "high"])
    st.altair_chart(
        predict.predictions_by_label(frame),
        key="predict_by_label",
        alt="Prediction by label, one point a clip, with the line where they are equal",
    )
    if len(frame) < 10:
        st.caption(f"{count(len(frame), 'clip')}: too few to say much.")


@st.fragment
@errors_in_words()
def many_clips(run: Run, scored: Sequence[dict[str, Any]]) -> None:
    """Predictions among the training labels, all clips as a table, and the one that is clicked."""
    level, rmse = run.scores.interval.level, run.scores.oof_rmse
    frame = as_table(scored)
    labels = resources.training_labels(run)
    if len(frame) <= _MANY:
        chart, told = predict.predictions_on_labels(labels, frame), "Each point is a clip that was scored, its line"
        told = f"Grey: labels of the training clips. {told} the interval that is to hold {level:.0%} of labels."
    else:
        chart = predict.predictions_beside_labels(labels, frame["prediction"].to_numpy())
        told = f"Grey: labels of the training clips. Green: predictions of {count(len(frame), 'clip')}."
    st.altair_chart(chart, key="predictions", alt="Predictions among the training labels")
    st.caption(told)
    places = decimals(rmse)
    figure = partial(st.column_config.NumberColumn, format=f"%.{places}f")
    columns: dict[str, Any] = {
        "file": st.column_config.TextColumn("Clip", pinned=True),
        "prediction": figure("Prediction", help=f"Give or take about {rmse:.2g}"),
        "low": figure("Low", help=f"The interval is to hold {level:.0%} of labels"),
        "high": figure("High", help=f"The interval is to hold {level:.0%} of labels"),
        "label": st.column_config.NumberColumn("Label", format="%.10g"),
        "outside": st.column_config.NumberColumn("Outside", help="Features outside the range of the training clips"),
        "nearest": st.column_config.TextColumn("Nearest", help="Training clip"),
        "note": st.column_config.TextColumn("Reasons to doubt", width="large"),
    }
    frame = frame.dropna(axis=1, how="all")
    if clip_urls.routed():
        treatment = run.record.settings.extract.treatment
        frame.insert(0, "play", [clip_urls.address(Path(path_of(one)), treatment) for one in scored])
        columns["play"] = st.column_config.AudioColumn("Play", help="Double click to hear it here")
    st.caption("Click a row to see the clip, a heading to sort; the table can be searched.")
    event = st.dataframe(
        frame,
        hide_index=True,
        height=min(_HEIGHT, 38 + 35 * len(frame)),
        column_config=columns,
        on_select="rerun",
        selection_mode="single-cell",
        key="prediction_table",
        alt="Predictions by clip",
    )
    picked = [row for row, _ in event.selection.cells if row < len(scored)]
    place = picked[0] if picked else 0
    _in_full(run, scored[place], place)


@st.fragment
@errors_in_words()
def one_clip(run: Run, one: dict[str, Any]) -> None:
    """A clip in full: the number, where it stands, why to doubt it, and the training clips that are nearest."""
    _in_full(run, one, 0)


def _in_full(run: Run, one: dict[str, Any], place: int) -> None:
    places, level = decimals(run.scores.oof_rmse), run.scores.interval.level
    labels = resources.training_labels(run)
    with st.container(border=True):
        sides = st.grid(2, min_column_width=320)
        with sides.cell():
            st.metric(plain(short(one["file"])), f"{one['prediction']:.{places}f}")
            if one.get("low") is not None:
                st.caption(f"{one['low']:.{places}f} to {one['high']:.{places}f} in {level:.0%} of cases")
            if one.get("label") is not None:
                st.caption(f"Its label is {one['label']:.10g}: off by {one['prediction'] - one['label']:+.{places}f}")
            _player(run, Path(path_of(one)))
        with sides.cell():
            st.altair_chart(
                predict.predictions_on_labels(labels, as_table([one])),
                key="predict_one",
                alt=f"The prediction {one['prediction']:.{places}f} among the training labels",
            )
            st.caption("Grey: labels of the training clips. The point is this clip, its line the interval.")
        for reason in doubts(one):
            st.warning(plain(reason), icon=":material/warning:")
        around = neighbourhood(one)
        if around is None:
            st.caption("Not compared with the training clips: the run, or the scoring, is of an earlier version.")
            return
        if around.columns:
            _neighbourhood(run, one, around, place)


def _neighbourhood(run: Run, one: dict[str, Any], around: Neighbourhood, place: int) -> None:
    sides = st.grid(2, min_column_width=400)
    with sides.cell():
        st.markdown("**Outside the range of the training clips**")
        st.caption(
            f"{around.outside_count:,} of {count(around.columns, 'column')}; "
            f"a training clip has up to {around.outside_usual:,} against the others."
            + (f" The furthest {len(around.outside)}:" if around.outside_count > len(around.outside) else "")
        )
        if around.outside:
            extract = run.record.settings.extract
            known = definitions(extract.features, extract.treatment)
            far = far_table(around.outside, known)
            st.dataframe(
                far if far["unit"].any() else far.drop(columns="unit"),
                hide_index=True,
                key="predict_far",
                alt="Features outside the range of the training clips",
                column_config={
                    "column": st.column_config.TextColumn("Column", pinned=True),
                    "value": "Value",
                    "range": st.column_config.TextColumn("Trained on", width=140),
                    "unit": "Unit",
                    "beyond": st.column_config.NumberColumn("Beyond", format="%.2f", help="In distances between the quartiles"),
                    "definition": st.column_config.TextColumn("Definition", width="large"),
                },
            )
    with sides.cell():
        st.markdown("**Nearest training clips**")
        st.caption(
            f"{around.novelty:.0%} of training clips are nearer to their own nearest than this clip is to its. "
            "Click a row to hear it."
        )
        _neighbours(run, around.nearest, one["trained_on"], place)


def _neighbours(run: Run, nearest: Sequence[Neighbour], same: Sequence[str], place: int) -> None:
    paths = session.clips_of(run)
    frame = pd.DataFrame([(near.file, near.label, near.distance) for near in nearest], columns=["clip", "label", "distance"])
    frame["same"] = [near.file in same for near in nearest]
    event = st.dataframe(
        frame if frame["same"].any() else frame.drop(columns="same"),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-cell",
        key=f"predict_near_{place}",
        alt="Training clips that are nearest, with label and distance",
        column_config={
            "clip": st.column_config.TextColumn("Clip", pinned=True),
            "label": st.column_config.NumberColumn("Label", format="%.10g"),
            "distance": st.column_config.NumberColumn(
                "Distance",
                format="%.3f",
                help="Root of the mean squared difference over the columns, in distances between the quartiles; "
                "a column counts at most 3 from the median.",
            ),
            "same": st.column_config.CheckboxColumn("Same bytes"),
        },
    )
    picked = [row for row, _ in event.selection.cells if row < len(nearest)]
    heard = nearest[picked[0] if picked else 0]
    st.markdown(f"**{plain(heard.file)}** · label {heard.label:.10g}")
    if heard.file in paths:
        _player(run, paths[heard.file])
    else:
        st.caption("Its data set is gone.")


def neighbourhood(one: dict[str, Any]) -> Neighbourhood | None:
    """Where the clip of a stored prediction stands among the training clips; None where that is not known."""
    record = one.get("surroundings")
    return Neighbourhood.from_record(record) if record else None


def doubts(one: dict[str, Any]) -> list[str]:
    """Why to doubt a prediction, in sentences.

    Examples
    --------
    >>> doubts({"warnings": ["silent: nothing is heard"], "trained_on": ["a"]})
    ['The run was trained on this very clip, as a: new clips will be predicted worse.', 'Silent: nothing is heard.']
    """
    sentences = []
    if one.get("trained_on"):
        sentences.append(
            f"The run was trained on this very clip, as {listed(one['trained_on'])}: new clips will be predicted worse."
        )
    around = neighbourhood(one)
    sentences += [f"{why[:1].upper()}{why[1:]}." for why in (*one["warnings"], *(around.doubts() if around else ()))]
    return sentences


def as_table(scored: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """A row a clip: file, prediction, low, high, label, outside, nearest, note."""
    rows = []
    for one in scored:
        around = one.get("surroundings") or {}
        rows.append(
            (
                short(one["file"]),
                one["prediction"],
                one.get("low"),
                one.get("high"),
                one.get("label"),
                around.get("outside_count"),
                around["nearest"][0]["file"] if around.get("nearest") else None,
                " ".join(doubts(one)) if one["prediction"] is not None else "; ".join(one["warnings"]),
            )
        )
    names = ["file", "prediction", "low", "high", "label", "outside", "nearest", "note"]
    frame = pd.DataFrame(rows, columns=names)
    frame["outside"] = frame["outside"].astype("Int64")
    return frame.astype(dict.fromkeys(("prediction", "low", "high", "label"), float))


def far_table(outside: Sequence[FarColumn], known: dict[str, Column]) -> pd.DataFrame:
    """Columns with value, training range, unit and definition, as text with sensible digits."""
    rows = []
    for far in outside:
        about = known.get(far.column)
        unit = about.unit if about is not None and about.unit != "1" else ""
        trained = f"{far.low:.4g} to {far.high:.4g}"
        rows.append((far.column, f"{far.value:.4g}", trained, unit, far.spreads, about.definition if about else ""))
    return pd.DataFrame(rows, columns=["column", "value", "range", "unit", "beyond", "definition"])


def short(name: str) -> str:
    """The name of an upload without its folder; names of a table stay.

    Examples
    --------
    >>> short("/w/uploads/ab12/a b.wav"), short("low/a.wav")
    ('a b.wav', 'low/a.wav')
    """
    return Path(name).name if name.startswith("/") else name


def listed(names: Sequence[str], *, most: int = 5) -> str:
    """The first of several names, and how many more there are.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = len(names) - min(most, len(names))
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def path_of(one: dict[str, Any]) -> str:
    """Where the clip is; an older result has it as the name."""
    return str(one.get("path") or one["file"])


def _uploaded(uploads: Sequence[Any], folder: Path) -> Brought:
    """Uploads on disk; a table among them is the table of the others."""
    paths = [resources.kept(upload, folder) for upload in uploads]
    tables = [path for path in dict.fromkeys(paths) if path.suffix.lower() in TABLES]
    clips = [path for path in paths if path.suffix.lower() not in TABLES]
    twice = sorted({path.name for path in clips if clips.count(path) > 1})
    if twice:
        st.caption(f":orange[{plain(listed(twice))} was uploaded twice and is scored once.]")
    clips = list(dict.fromkeys(clips))
    if not tables:
        return Brought(tuple(map(str, clips)), len(clips))
    if len(tables) > 1:
        st.error(
            "Upload one table at a time; there are " + plain(listed([path.name for path in tables])) + ".",
            icon=":material/table_view:",
        )
        return Brought()
    if not clips:
        st.caption(f":orange[Upload the clips that {plain(tables[0].name)} names too; or name its path on this server.]")
        return Brought()
    return _from_table(str(tables[0]), tuple(map(str, clips)), _layout(with_audio=False))


def _on_disk() -> Brought:
    """A folder or a table on the machine of the server."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        typed = st.text_input(
            "Folder or table",
            key="predict_path",
            persist_state="session",
            placeholder="/data/new-clips, or /data/new.csv",
            help="A folder of clips, a data set, or a table beside its clips. Its column label, if there is one, is compared with.",
        )
        layout = _layout(with_audio=True)
    if not typed.strip():
        return Brought()
    return _from_table(session.absolute(typed), (), layout)


def _layout(*, with_audio: bool) -> Layout | None:
    with st.popover("Columns and audio folder" if with_audio else "Columns of the table", icon=":material/tune:"):
        names = st.text_input("Column with the file names", "filename", key="predict_filename_column", persist_state="session")
        labels = st.text_input("Column with the labels", "label", key="predict_label_column", persist_state="session")
        audio, windows = "", None
        if with_audio:
            audio = st.text_input(
                "Folder with the clips", key="predict_audio", placeholder="the usual one", persist_state="session"
            )
            windows = fields.number("predict", Layout(), "windows", placeholder="whole clips", width=220)
    try:
        return Layout(
            filename_column=names.strip() or "filename",
            label_column=labels.strip() or "label",
            audio=audio.strip() or None,
            windows=windows,
        )
    except ParameterError as error:
        st.error(plain(str(error)), icon=":material/table_view:")
        return None


def _from_table(table: str, clips: tuple[str, ...], layout: Layout | None) -> Brought:
    if layout is None:
        return Brought()
    try:
        rows, problems = resources.batch(table, layout, clips or None)
    except (DataError, OSError) as error:
        st.error(plain(str(error)), icon=":material/folder_off:")
        return Brought()
    labelled = sum(row.label == row.label for row in rows)
    aside = [one for one in problems if one.level == "error"]
    told = f"{plain(Path(table).name)}: {count(len(rows), 'clip')}, {labelled:,} with a label"
    st.caption(told + (f"; {count(len(aside), 'row')} cannot be used" if aside else "") + ".")
    for one in problems if len(problems) <= _TOLD else problems[:_TOLD]:
        st.caption(f":orange[{plain(f'{one.file}: {one.reason}')}]")
    if len(problems) > _TOLD:
        st.caption(f":orange[And {len(problems) - _TOLD:,} more; the result names them all.]")
    return Brought(clips, len(rows), table, layout) if rows else Brought()


def _error_words(run: Run) -> None:
    error = run.scores.oof_rmse
    badge = run.scores.badges.get("oof_rmse")
    with st.container(horizontal=True, vertical_alignment="center"):
        treated = "".join(f" Clips are analysed as follows: {words}." for words in analysed(run))
        st.caption(
            f"Scored by run {plain(run.name)} on {plain(run.record.dataset.name)}, whose error is RMSE {text(error)}.{treated}",
            width="content",
        )
        if badge in BADGES:
            colour, icon, definition = BADGES[badge]
            st.badge(badge, icon=icon, color=colour, help=definition)  # type: ignore[arg-type]


def _failures(failed: Sequence[tuple[str, str]]) -> None:
    if len(failed) <= _TOLD:
        for file, reason in failed:
            st.error(f"{plain(short(file))}: {plain(reason)}", icon=":material/volume_off:")
        return
    with st.expander(f"{count(len(failed), 'clip')} could not be scored", icon=":material/volume_off:", expanded=True):
        frame = pd.DataFrame([(short(file), reason) for file, reason in failed], columns=["Clip", "Reason"])
        st.dataframe(frame, hide_index=True, height=220, key="predict_failed", alt="Clips that were not scored, with the reason")


def _player(run: Run, path: Path) -> None:
    if path.is_file():
        play(path, run.record.settings.extract.treatment)
    else:
        st.caption("The file of this clip is gone.")


def _figure(value: float | None, digits: int) -> str:
    return "none" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"
