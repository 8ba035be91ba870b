"""Finished runs: a table of them, one of them with its name and notes, several beside each other."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import resources, session
from app.charts import runs as runs_charts
from app.views import live
from app.views.player import play
from app.words import BADGES, VERDICTS, analysed, count, duration, errors_in_words, fold_plan, plain
from core import jobs
from core.cli.doctor import size_text
from core.errors import EarmarkError
from core.jobs import Job
from core.runs import (
    NAME_CHARACTERS,
    NOTE_CHARACTERS,
    Run,
    blends_of,
    delete_run,
    describe_run,
    ranked,
    ranked_with,
    size_bytes,
)
from core.runs.leaderboard import flatten, leaderboard
from core.scoring.figures import interval_text, number_format, text
from core.scoring.metrics import METRICS
from core.tasks.kinds import job_kind

_TALLEST_ROWS = 12
_MOST_APART = 10
_UNFINISHED = 5


def matching(runs: Sequence[Run], words: str) -> list[Run]:
    """Runs whose name, id, notes, data set, members, encoders or groups hold all the words."""

    def text(run: Run) -> str:
        ensemble, finetune = run.record.settings.ensemble, run.record.settings.finetune or {}
        parts = [
            run.id,
            run.name,
            run.notes,
            run.record.dataset.name,
            *ensemble.members,
            ensemble.group_by or "",
            *(str(finetune.get(name) or "") for name in ("audio_model", "text_model", "text")),
        ]
        return " ".join(parts).lower()

    return [run for run in runs if all(word in text(run) for word in words.lower().split())]


def table(runs: Sequence[Run], among: Sequence[Run]) -> None:
    """Runs of each kind in a table of its own, the best score first, the best of all marked; a click on a row opens the run.

    Parameters
    ----------
    runs : to be shown; the kind of the last one comes first
    among : all runs
    """
    rows = {row["run_id"]: row for row in leaderboard(among)}
    kinds: dict[tuple[str, str], list[Run]] = {}
    for run in reversed(runs):
        kinds.setdefault(ranked_with(run), []).append(run)
    for number, (kind, some) in enumerate(kinds.items()):
        newest, key = some[0], f"runs_{number}_{kind[0][:8]}_{kind[1]}"
        metric = METRICS[rows[newest.id]["metric"]]
        ordered = ranked(some, metric)
        groups = newest.record.grouped_by
        folds = f"folds grouped by {groups}" if groups else "folds without groups"
        data = newest.record.dataset
        st.markdown(
            " · ".join(
                [
                    f"**{plain(data.name)}**",
                    count(data.train_clips, "clip"),
                    plain(folds),
                    count(len(some), "run"),
                    f"by {metric.label}",
                ]
            )
        )
        frame = pd.DataFrame([_row(run, rows[run.id]) for run in ordered])
        st.dataframe(
            frame,
            hide_index=True,
            height=35 * (min(len(frame), _TALLEST_ROWS if len(kinds) == 1 else _TALLEST_ROWS // 2) + 1) + 3,
            column_config=_columns(frame),
            on_select=_opener([run.id for run in ordered], key),
            selection_mode="single-cell",
            key=key,
            alt=f"Finished runs, the best {metric.label} first",
        )
    if len(kinds) > 1:
        st.caption("Errors on other data, or with other groups, are not comparable; so each kind has a table of its own.")
    else:
        st.caption("Click a row to open a run, a heading to sort.")


def _columns(frame: pd.DataFrame) -> dict[str, Any]:
    """What each column shows; errors in the format of the smallest one."""
    column, number = st.column_config.TextColumn, st.column_config.NumberColumn
    error = number_format(float(frame["rmse"].min()))
    return {
        "best": column("", width=40, pinned=True),
        "run": column("Run", pinned=True),
        "rmse": number("OOF RMSE", format=f"%{error}"),
        "interval": column("95 % interval", help="RMSE interval: bootstrap over groups, or over clips where there are none"),
        "mae": number("MAE", format=f"%{error}"),
        "spearman": number("Spearman", format="%.3f"),
        "ccc": number("CCC", format="%.3f", help="Concordance correlation coefficient"),
        "badge": column("Badge", help="nested, out-of-fold, or in-sample: how the error was computed"),
        "below": number("Below baseline", format="%.0f %%", help="How far below the baseline (mean of the training labels)"),
        "ceiling": number("Ceiling", format=f"%{error}", help="Lowest RMSE that the raters' disagreement allows"),
        "leak_gap": number("Leak gap", format=f"%+{error}", help="How much lower random folds put the error of a quick model"),
        "coverage": number("Coverage", format="%.1f %%", help="Share of labels inside their prediction interval"),
        "members": column("Members"),
        "plan": column("Folds"),
        "clips": number("Clips", format="%d"),
        "minutes": number("Minutes", format="%.1f"),
        "created": st.column_config.DatetimeColumn("Trained", format="YYYY-MM-DD HH:mm"),
        "notes": column("Notes"),
    }


def _row(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    constant = run.scores.constant_rmse
    return {
        "best": "best" if row["best"] else "",
        "run": run.name,
        "rmse": row["oof_rmse"],
        "interval": interval_text(run.scores.ends("rmse"), like=row["oof_rmse"]),
        "mae": row["oof_mae"],
        "spearman": row["oof_spearman"],
        "ccc": row["oof_ccc"],
        "badge": row["badge"],
        "below": 100 * (1 - row["oof_rmse"] / constant) if constant else None,
        "ceiling": row["ceiling_rmse"],
        "leak_gap": row["leak_gap"],
        "coverage": 100 * run.scores.interval_coverage,
        "members": row["members"],
        "plan": row["plan"],
        "clips": row["clips"],
        "minutes": row["seconds"] / 60,
        "created": pd.to_datetime(row["created"]),
        "notes": run.notes,
    }


def _opener(ids: list[str], key: str) -> Any:
    def open_clicked() -> None:
        cells = session.picked(key)["cells"]
        if cells and cells[0][0] < len(ids):
            session.open_run(ids[cells[0][0]])

    return open_clicked


def unfinished(trainings: Sequence[tuple[Job, str]], unreadable: Sequence[tuple[str, str]]) -> None:
    """Trainings that have left no run, by their state, with the way to watch them or go on; and runs that cannot be read."""
    for folder, reason in unreadable:
        st.warning(plain(f"The run in {folder} cannot be read: {reason}"), icon=":material/broken_image:")
    for job, state in trainings[:_UNFINISHED]:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(state, color="blue" if state in jobs.ACTIVE else "orange")
            why = f": {jobs.why_failed(job)}" if state == jobs.FAILED else ""
            st.markdown(plain(f"{job_kind(job.kind).verb} on {session.request_name(job)}, {job.id}{why}"), width="content")
            if state in jobs.ACTIVE:
                watch = session.watch_training
                st.button("Watch", icon=":material/visibility:", key=f"watch_{job.id}", on_click=watch, args=(job,))
            else:
                live.resume_button(job)
    if len(trainings) > _UNFINISHED:
        st.caption(f"And {count(len(trainings) - _UNFINISHED, 'older training')} without a run.")


def show(run: Run, trained_here: bool) -> None:
    """One run: what people call it, its figures, and what can be done with it."""
    with st.container(border=True):
        left, right = st.columns([2, 3])
        with left:
            name_key, note_key = f"run_name_{run.id}", f"run_notes_{run.id}"
            refused = session.said(run.id)
            if refused is None:  # what is kept, as a colleague may have changed it
                st.session_state[name_key], st.session_state[note_key] = run.about.get("name", ""), run.notes
            st.text_input(
                "Name",
                key=name_key,
                placeholder=run.id,
                max_chars=NAME_CHARACTERS,
                on_change=lambda: _describe(run, name=st.session_state[name_key]),
            )
            st.text_area(
                "Notes",
                key=note_key,
                placeholder="What you tried, and why",
                max_chars=NOTE_CHARACTERS,
                height=105,
                on_change=lambda: _describe(run, notes=st.session_state[note_key]),
            )
            if refused is not None:
                st.error(plain(refused), icon=":material/error:")
        with right:
            _figures(run)
        with st.container(horizontal=True):
            if trained_here:
                page = session.page_of(run)
                st.button("Result", icon=":material/model_training:", key="open_result", on_click=session.go, args=(page,))
            if not run.kind.why_not_explained:
                st.button("Explain", icon=":material/lightbulb:", key="open_explain", on_click=session.go, args=("explain",))
            st.button("Predict", icon=":material/target:", key="open_predict", on_click=session.go, args=("predict",))
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
        flat = flatten({"settings": run.record.as_json()["settings"], "versions": run.record.versions})
        frame = pd.DataFrame([(name, _said(value)) for name, value in flat.items()], columns=["Setting", "Value"])
        st.dataframe(frame, hide_index=True, key="run_settings", alt="Settings of the run and versions of what computed it")


def _figures(run: Run) -> None:
    record, scores = run.record, run.scores
    facts = [
        plain(run.id),
        plain(fold_plan(record.settings.ensemble, record.grouped_by)),
        count(record.dataset.train_clips, "clip"),
    ]
    st.caption(" · ".join([*facts, duration(record.seconds), *analysed(run)]))
    shown = {"oof_rmse": "Out-of-fold RMSE", "constant_rmse": "Baseline RMSE", "oof_mae": "MAE", "oof_pearson": "Pearson"}
    shown |= {"oof_spearman": "Spearman", "oof_ccc": "CCC"} if scores.confidence is not None else {}
    with st.grid(2, min_column_width=180):
        for name, label in shown.items():
            value, badge = getattr(scores, name), scores.badges.get(name)
            with st.container(border=True):
                metric = METRICS.get(name.removeprefix("oof_"))
                like = scores.constant_rmse if metric is None or metric.in_label_unit else 1.0
                ends = interval_text(scores.ends(metric.name), like=like) if metric is not None else ""
                st.metric(label, text(value, like=like), help=f"95 % interval: {ends}" if ends else None)
                if badge in BADGES:
                    colour, icon, definition = BADGES[badge]
                    st.badge(badge, icon=icon, color=colour, help=definition)  # type: ignore[arg-type]


def _describe(run: Run, **words: str) -> None:
    try:
        describe_run(run, **words)
        session.say(run.id, None)
    except EarmarkError as error:
        session.say(run.id, str(error))
    except OSError as error:
        session.say(run.id, jobs.os_error_message(error))


@st.dialog("Delete this run?")
@errors_in_words()
def ask_to_delete(run: Run) -> None:
    """Say what goes, and wait for a yes."""
    st.markdown(
        f"**{plain(run.name)}** and all that belongs to it: its record, predictions, models and explanation, "
        f"{size_text(size_bytes(run))} in all. This cannot be undone."
    )
    names = [one.name for one in blends_of(run)]
    if names:
        told = f"{count(len(names), 'blend')} of it can score no new clips any more: {', '.join(names)}."
        st.warning(plain(told), icon=":material/call_merge:")
    st.caption("Extracted features stay, so does the submission file, and a copy in MLflow if there is one.")
    with st.container(horizontal=True):
        if st.button("Delete", type="primary", icon=":material/delete:", key="delete_yes"):
            delete_run(run)
            session.close_run()
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
        submission = run.record.submission
        if submission and Path(submission).is_file():
            archive.write(submission, Path(run.id) / Path(submission).name)
    return packed.getvalue()


@st.fragment
@errors_in_words()
def compare(run: Run, others: Sequence[Run]) -> None:
    """Other runs against this one."""
    called = labels([run, *others])
    judged = [(other, *resources.judged(run, other)) for other in others]
    for other, _, why_not in judged:
        if why_not is not None:
            told = f"{called[other.id]} cannot be compared with {called[run.id]}: {why_not}."
            st.warning(plain(told), icon=":material/compare_arrows:")
    rows = [(other, verdict) for other, verdict, _ in judged if verdict is not None]
    for other, verdict in rows:
        colour, icon = VERDICTS[verdict.verdict]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(verdict.verdict, icon=icon, color=colour)  # type: ignore[arg-type]
            told = verdict.sentence().removeprefix(verdict.verdict).strip()
            st.markdown(plain(f"{called[other.id]} instead of {called[run.id]}, {told}"), width="content")
    if rows:
        _offer_blend([run, *(other for other, _ in rows)])
        frame = pd.DataFrame(
            [(called[other.id], one.difference, one.low, one.high, one.verdict) for other, one in rows],
            columns=["run", "difference", "low", "high", "verdict"],
        )
        st.altair_chart(
            runs_charts.differences(frame), key="compare_differences", alt="Change of the RMSE by run, with its interval"
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
            runs_charts.folds_overlaid(folds, [*labels(some).values()], places),
            key="compare_folds",
            alt="RMSE by fold and run",
        )
        _clip_by_clip(run, rows[0][0])


def _offer_blend(some: Sequence[Run]) -> None:
    """A button for the mean of runs on the same folds; where it is there already, it is opened."""
    if not all(run.kind.holds_models for run in some):
        return
    names = sorted(run.id for run in some)
    blends = (run for run in resources.runs(session.workspace().jobs) if not run.kind.holds_models)
    there = next((run for run in blends if sorted(run.record.settings.ensemble.members) == names), None)
    if there is not None:
        if st.button("Open their blend", icon=":material/call_merge:", key="open_blend"):
            session.open_run(there.id)
            st.rerun()
    elif st.button(
        f"Blend these {count(len(some), 'run')}",
        icon=":material/call_merge:",
        key="blend_runs",
        help="Their mean, clip by clip, each counting the same: a run of its own, judged beside each of them.",
    ):
        with errors_in_words():
            session.open_when_done(jobs.submit("blend", {"runs": names}, session.workspace().jobs))
            st.rerun()


def labels(runs: Sequence[Run]) -> dict[str, str]:
    """What to call each run among these, by id: its name, and its id too where another has the same name."""
    names = [run.name for run in runs]
    return {run.id: run.name if names.count(run.name) == 1 else f"{run.name} ({run.id})" for run in runs}


def differing(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for each setting that is not the same in all runs, a column for each run; what all of them have stands first."""
    flat = [flatten(run.record.as_json()["settings"]) for run in runs]
    names = list(dict.fromkeys(name for one in flat for name in one))
    names.sort(key=lambda name: not all(name in one for one in flat))
    rows = [[name, *(_said(one.get(name)) for one in flat)] for name in names if len({_said(one.get(name)) for one in flat}) > 1]
    return pd.DataFrame(rows, columns=["Setting", *labels(runs).values()])


def fold_table(runs: Sequence[Run]) -> tuple[pd.DataFrame, list[str]]:
    """RMSE of each run on each fold, and the folds in order; a fold after its repeat where there are several."""
    rows, places, called = [], [], labels(runs)
    for run in runs:
        folds = run.record.settings.ensemble.folds
        several = len(run.scores.fold_rmse) > folds
        for number, error in enumerate(run.scores.fold_rmse):
            place = f"{number // folds + 1}.{number % folds + 1}" if several else str(number + 1)
            places.append(place)
            rows.append((called[run.id], place, error))
    return pd.DataFrame(rows, columns=["run", "place", "rmse"]), list(dict.fromkeys(places))


def _clip_by_clip(run: Run, other: Run) -> None:
    st.markdown("**Clip by clip**")
    one, another = labels([run, other]).values()
    first, second = (resources.oof(each).set_index("filename") for each in (run, other))
    frame = pd.DataFrame(
        {
            "clip": first.index,
            "label": first["label"],
            "first": (first["oof_prediction"] - first["label"]).abs(),
            "second": (second["oof_prediction"].reindex(first.index) - first["label"]).abs(),
        }
    ).dropna()
    clips = session.clips_of(run)
    with st.grid(2, min_column_width=340):
        with st.container():
            st.altair_chart(
                runs_charts.errors_against(frame, one, another),
                key="compare_clips",
                on_select="rerun",
                alt=f"Distance from the label of each clip, by {one} and {another}",
            )
        with st.container():
            error = f"%{number_format(run.scores.constant_rmse, decimals=3)}"
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
                    "first": st.column_config.NumberColumn(one[:24], format=error),
                    "second": st.column_config.NumberColumn(another[:24], format=error),
                },
            )
    picked = [point.get("clip") for point in session.picked("compare_clips").get("clip", [])]
    if picked and (path := clips.get(picked[0])) is not None:
        st.markdown(f"**{plain(picked[0])}**")
        play(path, run.record.settings.extract.treatment)


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
