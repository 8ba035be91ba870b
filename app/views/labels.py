"""A training on several labels: the scores of each label's run in one table, and their joined submission."""

from pathlib import Path

import pandas as pd
import streamlit as st

from app import resources, session
from app.words import errors_in_words, plain
from core.jobs import DONE, Job, status
from core.runs import Run
from core.scoring.figures import interval_text, number_format
from core.tasks.labels import finished_runs


@errors_in_words()
def show(job: Job) -> None:
    """The runs that are done so far; nothing before the first.

    Parameters
    ----------
    job : Job, of the kind that trains on several labels
    """
    by_id = {run.id: run for run in resources.runs(job.folder.parent)}
    runs = {label: by_id[run_id] for label, run_id in finished_runs(job.folder).items() if run_id in by_id}
    if not runs:
        return
    st.subheader("Labels")
    error = f"%{number_format(min(run.scores.constant_rmse for run in runs.values()))}"
    st.dataframe(
        label_table(runs),
        hide_index=True,
        key="label_table",
        alt="Scores by label",
        column_config={
            "label": st.column_config.TextColumn("Label", pinned=True),
            "rmse": st.column_config.NumberColumn("Out-of-fold RMSE", format=error, help="In the unit of the label"),
            "interval": st.column_config.TextColumn(
                "95% interval", help="How far the RMSE would vary with other clips, or other groups, of the same kind"
            ),
            "pearson": st.column_config.NumberColumn("Pearson", format="%.3f"),
            "baseline": st.column_config.NumberColumn(
                "Baseline RMSE", format=error, help="Predicts the mean of the training labels"
            ),
            "ceiling": st.column_config.NumberColumn(
                "Ceiling RMSE", format=error, help="What the raters' disagreement allows; empty where a clip has one rating"
            ),
            "run": "Run",
        },
    )
    with st.container(horizontal=True):
        for label, run in runs.items():
            st.button(
                f"Open {plain(label)}", icon=":material/arrow_forward:", key=f"open_{run.id}", on_click=_open, args=(label, run)
            )
        _download(job)


def label_table(runs: dict[str, Run]) -> pd.DataFrame:
    """Scores of the run of each label, in the unit of the label: label, rmse, interval, pearson, baseline, ceiling, run."""
    rows = []
    for label, run in runs.items():
        scores, (low, high) = run.scores, resources.rmse_interval(run)
        ceiling = None if scores.ceiling is None else scores.ceiling.rmse
        interval = interval_text((low, high), like=scores.constant_rmse)
        rows.append((label, scores.oof_rmse, interval, scores.oof_pearson, scores.constant_rmse, ceiling, run.id))
    frame = pd.DataFrame(rows, columns=["label", "rmse", "interval", "pearson", "baseline", "ceiling", "run"])
    return frame.astype(dict.fromkeys(("rmse", "pearson", "baseline", "ceiling"), float))


def _open(label: str, run: Run) -> None:
    with errors_in_words():
        session.choose_label(label)
        session.open_run(run.id)


def _download(job: Job) -> None:
    """The joined submission, once all labels are done."""
    if status(job) != DONE:
        return
    submission = resources.result(job)["submission"]
    if submission is None:
        st.caption("No submission: this data set has no test table.", width="content")
    elif (path := Path(submission)).is_file():
        st.download_button(
            "Submission of all labels",
            path.read_bytes(),
            path.name,
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="download_all_labels",
        )
    else:
        st.caption("The submission of all labels is gone; train again.", width="content")
