"""Finished runs: a table of them, one of them with its name and notes, several beside each other."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import ui_charts_runs, ui_resources, ui_state
from app.ui_words import BADGES, VERDICTS, count, duration, errors_in_words, fold_plan, plain
from core.doctor import size_text
from core.errors import EarmarkError
from core.leaderboard import flatten, leaderboard
from core.runs import NAME_CHARACTERS, NOTE_CHARACTERS, Run, delete_run, describe_run, size_bytes

_TALLEST_ROWS = 12
_MOST_APART = 10


def kind_of(run: Run) -> tuple[str, str]:
    """What must be the same for two errors to be ranked: the data and the groups of the folds."""
    return str(run.record["dataset"]["fingerprint"]), str(run.record["settings"]["ensemble"].get("groups"))


def matching(runs: Sequence[Run], words: str) -> list[Run]:
    """Runs whose name, id, notes, data set, members or groups hold all the words."""

    def text(run: Run) -> str:
        ensemble = run.record["settings"]["ensemble"]
        parts = [
            run.id,
            run.name,
            run.notes,
            str(run.record["dataset"]["name"]),
            *ensemble["members"],
            str(ensemble.get("groups") or ""),
        ]
        return " ".join(parts).lower()

    return [run for run in runs if all(word in text(run) for word in words.lower().split())]


def table(runs: Sequence[Run], chosen: Run | None) -> None:
    """Runs of each kind in a table of its own, the lowest error first; a click on a row opens the run."""
    kinds: dict[tuple[str, str], list[Run]] = {}
    for run in reversed(runs):
        kinds.setdefault(kind_of(run), []).append(run)
    for number, (kind, some) in enumerate(kinds.items()):
        newest = some[0]
        ordered = sorted(some, key=lambda run: float(run.scores["oof_rmse"]))
        groups = newest.record["settings"]["ensemble"].get("groups")
        folds = f"folds grouped by {groups}" if groups else "folds without groups"
        data = newest.record["dataset"]
        st.markdown(
            f"**{plain(str(data['name']))}** · {count(data['train_clips'], 'clip')} · {plain(folds)} · {count(len(some), 'run')}"
        )
        frame = pd.DataFrame([_row(run, row, run is ordered[0]) for run, row in zip(ordered, leaderboard(ordered), strict=True)])
        st.dataframe(
            frame,
            hide_index=True,
            height=35 * (min(len(frame), _TALLEST_ROWS) + 1) + 3,
            column_config=_COLUMNS,
            on_select=_opener([run.id for run in ordered], f"runs_{number}_{kind[0][:8]}_{kind[1]}"),
            selection_mode="single-cell",
            key=f"runs_{number}_{kind[0][:8]}_{kind[1]}",
            alt="Finished runs, the lowest error first",
        )
    if len(kinds) > 1:
        st.caption("Errors on other data, or with other groups, are not comparable; so each kind has a table of its own.")
    elif chosen is not None:
        st.caption("Click a row to open a run, a heading to sort.")


_COLUMNS: dict[str, Any] = {
    "best": st.column_config.TextColumn("", width=40, pinned=True),
    "run": st.column_config.TextColumn("Run", pinned=True),
    "rmse": st.column_config.NumberColumn("OOF RMSE", format="%.4f"),
    "badge": st.column_config.TextColumn("Badge", help="nested, out-of-fold, or in-sample: how the error was come by"),
    "below": st.column_config.NumberColumn("Below constant", format="%.0f %%", help="How far below the error of the mean label"),
    "leak_gap": st.column_config.NumberColumn(
        "Leak gap", format="%+.3f", help="What random folds would flatter, for a cheap model"
    ),
    "coverage": st.column_config.NumberColumn("Coverage", format="%.1f %%", help="Labels inside their interval"),
    "members": st.column_config.TextColumn("Members"),
    "plan": st.column_config.TextColumn("Folds"),
    "clips": st.column_config.NumberColumn("Clips", format="%d"),
    "minutes": st.column_config.NumberColumn("Minutes", format="%.1f"),
    "created": st.column_config.DatetimeColumn("Trained", format="YYYY-MM-DD HH:mm"),
    "notes": st.column_config.TextColumn("Notes"),
}


def _row(run: Run, row: dict[str, Any], best: bool) -> dict[str, Any]:
    coverage, constant = run.scores.get("interval_coverage"), run.scores.get("constant_rmse")
    return {
        "best": "best" if best else "",
        "run": run.name,
        "rmse": row["oof_rmse"],
        "badge": row["badge"],
        "below": 100 * (1 - row["oof_rmse"] / constant) if constant else None,
        "leak_gap": row["leak_gap"],
        "coverage": None if coverage is None else 100 * coverage,
        "members": row["members"],
        "plan": row["plan"],
        "clips": row["clips"],
        "minutes": None if row["seconds"] is None else row["seconds"] / 60,
        "created": pd.to_datetime(row["created"]),
        "notes": run.notes,
    }


def _opener(ids: list[str], key: str) -> Any:
    def open_clicked() -> None:
        cells = ui_state.picked(key)["cells"]
        if cells and cells[0][0] < len(ids):
            ui_state.open_run(ids[cells[0][0]])

    return open_clicked


def show(run: Run, trained_here: bool) -> None:
    """One run: what people call it, its figures, and what can be done with it."""
    with st.container(border=True):
        left, right = st.columns([2, 3])
        with left:
            name_key, note_key = f"run_name_{run.id}", f"run_notes_{run.id}"
            st.session_state.setdefault(name_key, run.about.get("name", ""))
            st.session_state.setdefault(note_key, run.notes)
            st.text_input(
                "Name",
                key=name_key,
                placeholder=run.id,
                max_chars=NAME_CHARACTERS,
                on_change=_describe,
                args=(run, name_key, note_key),
            )
            st.text_area(
                "Notes",
                key=note_key,
                placeholder="What was tried, and why",
                max_chars=NOTE_CHARACTERS,
                height=105,
                on_change=_describe,
                args=(run, name_key, note_key),
            )
            if said := ui_state.said("runs"):
                st.error(plain(said), icon=":material/error:")
        with right:
            _figures(run)
        with st.container(horizontal=True):
            if trained_here:
                st.button("Result", icon=":material/model_training:", key="open_result", on_click=ui_state.go, args=("train",))
            st.button("Explain", icon=":material/lightbulb:", key="open_explain", on_click=ui_state.go, args=("explain",))
            st.button("Predict", icon=":material/target:", key="open_predict", on_click=ui_state.go, args=("predict",))
            st.download_button(
                "Download all",
                lambda: whole(run),
                f"run_{run.id}.zip",
                "application/zip",
                icon=":material/download:",
                on_click="ignore",
                key="download_run",
                help="Record, predictions, models and explanation as one zip.",
            )
            if st.button("Delete", icon=":material/delete:", key="delete_run"):
                ask_to_delete(run)
    with st.expander("Settings and versions", icon=":material/tune:"):
        flat = flatten({"settings": run.record["settings"], "versions": run.record.get("versions", {})})
        frame = pd.DataFrame([(name, _said(value)) for name, value in flat.items()], columns=["Setting", "Value"])
        st.dataframe(frame, hide_index=True, key="run_settings", alt="Settings of the run and versions of what computed it")


def _figures(run: Run) -> None:
    scores = run.scores
    st.caption(
        " · ".join(
            [
                plain(run.id),
                count(run.record["dataset"]["train_clips"], "clip"),
                plain(fold_plan(run.record["settings"]["ensemble"])),
                duration(run.record["seconds"]),
            ]
        )
    )
    shown = {"oof_rmse": "RMSE out of fold", "constant_rmse": "Constant", "oof_mae": "MAE", "oof_pearson": "Pearson"}
    with st.grid(2, min_column_width=180):
        for name, label in shown.items():
            value, badge = scores.get(name), scores["badges"].get(name)
            with st.container(border=True):
                st.metric(label, "undefined" if value is None else f"{value:.4f}")
                if badge in BADGES:
                    colour, icon, definition = BADGES[badge]
                    st.badge(badge, icon=icon, color=colour, help=definition)  # type: ignore[arg-type]


def _describe(run: Run, name_key: str, note_key: str) -> None:
    try:
        describe_run(run, name=st.session_state[name_key], notes=st.session_state[note_key])
        ui_state.say("runs", None)
    except (EarmarkError, OSError) as error:
        ui_state.say("runs", str(error))


@st.dialog("Delete this run?")
def ask_to_delete(run: Run) -> None:
    """Say what goes, and wait for a yes."""
    st.markdown(
        f"**{plain(run.name)}** and all that belongs to it: its record, predictions, models and explanation, "
        f"{size_text(size_bytes(run))} in all. This cannot be undone."
    )
    st.caption("Extracted features stay, so does the submission file, and a copy in MLflow if there is one.")
    with st.container(horizontal=True):
        if st.button("Delete", type="primary", icon=":material/delete:", key="delete_yes"):
            with errors_in_words():
                delete_run(run)
                ui_state.close_run()
                st.rerun()
        if st.button("Keep", key="delete_no"):
            st.rerun()


def whole(run: Run) -> bytes:
    """The files of a run as a zip; what a job left beside them (events, checkpoints, log) is not of the run."""
    packed = io.BytesIO()
    kept = ("run.json", "about.json", "oof.csv", "oof_repeats.npz", "matrix.npz", "test_predictions.csv", "explanation.npz")
    files = [run.folder / name for name in kept] + sorted(run.models.rglob("*"))
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            if path.is_file() and not path.name.startswith("."):
                archive.write(path, Path(run.id) / path.relative_to(run.folder))
        if run.record.get("submission") and Path(run.record["submission"]).is_file():
            archive.write(run.record["submission"], Path(run.id) / Path(run.record["submission"]).name)
    return packed.getvalue()


@st.fragment
@errors_in_words()
def compare(run: Run, others: Sequence[Run]) -> None:
    """Other runs against this one."""
    judged = [(other, *ui_resources.judged(run, other)) for other in others]
    for other, _, why_not in judged:
        if why_not is not None:
            st.warning(plain(f"{other.name} cannot be compared with {run.name}: {why_not}."), icon=":material/compare_arrows:")
    rows = [(other, verdict) for other, verdict, _ in judged if verdict is not None]
    for other, verdict in rows:
        colour, icon = VERDICTS[verdict.verdict]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(verdict.verdict, icon=icon, color=colour)  # type: ignore[arg-type]
            told = verdict.sentence().removeprefix(verdict.verdict).strip()
            st.markdown(plain(f"{other.name} instead of {run.name}, {told}"), width="content")
    if rows:
        frame = pd.DataFrame(
            [(other.name, one.difference, one.low, one.high, one.verdict) for other, one in rows],
            columns=["run", "difference", "low", "high", "verdict"],
        )
        st.altair_chart(
            ui_charts_runs.differences(frame), key="compare_differences", alt="Change of the RMSE by run, with its interval"
        )
    st.markdown("**Settings that differ**")
    settings = differing([run, *others])
    if len(settings):
        st.dataframe(settings, hide_index=True, key="compare_settings", alt="Settings that differ between the runs")
    else:
        st.caption("All settings are the same.")
    if rows:
        st.markdown("**Folds**")
        some = [run, *(other for other, _ in rows)]
        folds, places = fold_table(some)
        st.altair_chart(
            ui_charts_runs.folds_overlaid(folds, [one.name for one in some], places),
            key="compare_folds",
            alt="RMSE by fold and run",
        )
        _clip_by_clip(run, rows[0][0])


def differing(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each setting that is not the same in all runs, a column for each run."""
    flat = [flatten(run.record["settings"]) for run in runs]
    names = list(dict.fromkeys(name for one in flat for name in one))
    rows = [[name, *(_said(one.get(name)) for one in flat)] for name in names if len({_said(one.get(name)) for one in flat}) > 1]
    labels = [run.name if [one.name for one in runs].count(run.name) == 1 else run.id for run in runs]
    return pd.DataFrame(rows, columns=["Setting", *labels])


def fold_table(runs: Sequence[Run]) -> tuple[pd.DataFrame, list[str]]:
    """RMSE of each run on each fold, and the folds in order; a fold after its repeat where there are several."""
    rows, places = [], []
    for run in runs:
        folds = run.record["settings"]["ensemble"]["folds"]
        several = len(run.scores["fold_rmse"]) > folds
        for number, error in enumerate(run.scores["fold_rmse"]):
            place = f"{number // folds + 1}.{number % folds + 1}" if several else str(number + 1)
            places.append(place)
            rows.append((run.name, place, error))
    return pd.DataFrame(rows, columns=["run", "place", "rmse"]), list(dict.fromkeys(places))


def _clip_by_clip(run: Run, other: Run) -> None:
    st.markdown("**Clip by clip**")
    first, second = (ui_resources.oof(one).set_index("filename") for one in (run, other))
    frame = pd.DataFrame(
        {
            "clip": first.index,
            "label": first["label"],
            "first": (first["oof_prediction"] - first["label"]).abs(),
            "second": (second["oof_prediction"].reindex(first.index) - first["label"]).abs(),
        }
    ).dropna()
    clips = ui_state.clips_of(run)
    with st.grid(2, min_column_width=340):
        with st.container():
            st.altair_chart(
                ui_charts_runs.errors_against(frame, run.name, other.name),
                key="compare_clips",
                on_select="rerun",
                alt=f"Distance from the label of each clip, by {run.name} and {other.name}",
            )
        with st.container():
            apart = frame.assign(change=frame["second"] - frame["first"])
            apart = apart.iloc[np.argsort(-apart["change"].abs().to_numpy(), kind="stable")[:_MOST_APART]]
            st.caption("Furthest apart. Click a point to hear its clip.")
            st.dataframe(
                apart[["clip", "label", "first", "second"]],
                hide_index=True,
                key="compare_apart",
                alt="Clips on which the two runs differ most",
                column_config={
                    "clip": st.column_config.TextColumn("Clip", pinned=True),
                    "label": st.column_config.NumberColumn("Label", format="%.10g"),
                    "first": st.column_config.NumberColumn(run.name[:24], format="%.3f"),
                    "second": st.column_config.NumberColumn(other.name[:24], format="%.3f"),
                },
            )
    picked = [point.get("clip") for point in ui_state.picked("compare_clips").get("clip", [])]
    if picked and (path := clips.get(picked[0])) is not None:
        st.markdown(f"**{plain(picked[0])}**")
        st.audio(str(path))


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
