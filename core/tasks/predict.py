"""A finished run and clips or a table in, predictions out, compared with their labels where the table has them."""

from pathlib import Path
from typing import Any

from core.data.dataset import read_batch, read_windows
from core.data.layouts.layout import Layout
from core.errors import DataError, RunError
from core.events import Notify, ignore
from core.runs import Run, find_run
from core.settings import build
from core.tasks.kinds import JobKind, Request, Result
from core.tasks.score import ScoringOptions, judge, predict_clips, predict_rows
from core.workspace import Workspace


def score(run: Run, request: dict[str, Any], workspace: Workspace, *, notify: Notify = ignore) -> dict[str, Any]:
    """Score clips, and compare with their labels where a table has them.

    Parameters
    ----------
    run : Run
    request : dict with ``clips`` (paths), a ``table`` (CSV or folder, or None), its ``layout``, ``columns`` (what a
        table would say of clips without one), and ``tta``; all may be missing
    workspace : Workspace
    notify : told of the progress

    Returns
    -------
    result : dict with ``run_id``, ``predictions``, ``problems`` of the table, and ``evaluation`` (None without labels) or
        ``not_judged``, why there is none in spite of labels

    Raises
    ------
    DataError
        The table or folder cannot be read, or names nothing to score.
    RunError
        A model of the run is missing or damaged.
    """
    clips, table, tta = request.get("clips") or [], request.get("table"), request.get("tta")
    layout = build(Layout, request.get("layout") or {})
    if table is None and layout.windows is None:
        predictions = predict_clips(run, clips, workspace=workspace, columns=request.get("columns"), tta=tta, notify=notify)
        return {"run_id": run.id, "predictions": predictions, "problems": [], "evaluation": None}
    if table is None:
        rows, problems = read_windows(clips, layout, segments=workspace.segments)
    else:
        rows, problems = read_batch(table, layout, clips=clips or None, segments=workspace.segments)
    if not rows:
        first = f" (first: {problems[0].file}: {problems[0].reason})" if problems else ""
        raise DataError(f"{Path(table or clips[0]).name}: not one of its clips can be scored{first}")
    predictions = predict_rows(run, rows, ScoringOptions(workspace, tta, allow_missing_table=True, notify=notify))
    result: dict[str, Any] = {"run_id": run.id, "predictions": predictions, "problems": problems, "evaluation": None}
    if any(prediction.label is not None for prediction in predictions):
        try:
            result["evaluation"] = judge(run, predictions)
        except (DataError, RunError) as error:
            result["not_judged"] = str(error)
    return result


class PredictRequest(Request):
    """A run, and the clips or the table that it scores."""

    run: str
    clips: tuple[str, ...] = ()
    table: str | None = None
    layout: dict[str, Any] | None = None
    tta: int | None = None
    columns: dict[str, str] | None = None


class PredictResult(Result):
    """The run, and what it predicts for each clip."""

    run_id: str
    predictions: list[dict[str, Any]]


def run(request: PredictRequest, folder: Path, workspace: Workspace, notify: Notify) -> dict[str, Any]:
    """Score what a job names."""
    return score(find_run(request.run, workspace.jobs), request.model_dump(), workspace, notify=notify)


JOB = JobKind("predict", PredictRequest, PredictResult, run, verb="Scoring", noun="Scoring", page="predict")
