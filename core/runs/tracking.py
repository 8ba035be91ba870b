"""A finished run in, its copy in MLflow out: settings as parameters, scores as metrics, record and predictions as artifacts.

    <workspace>/mlflow.db    experiments (data sets) and runs, where the environment names no server
                artifacts/   run.json, oof.csv and the submission of each run

``run.json`` stays the record: the copy can be deleted at any time, and the models stay in the folder of the run. MLflow works in a
process of its own, ``python -m core.runs.tracking RUN_DIR WORKSPACE``: what it changes (warning filters, handlers at exit) or
prints ends with that process, which is told to send no telemetry and is ended when it takes too long.
"""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

from core.errors import TrackingError
from core.runs.leaderboard import flatten
from core.runs.store import RECORD, Run, read_run
from core.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

OFF = "off"
_URI = "MLFLOW_TRACKING_URI"
_MIRROR_S = 120.0  # for all of it, artifacts on their way to a far server included
_TURN_S = 60.0  # other jobs that end at the same time go first
_LOCKED_S = 5.0  # another program may hold the database for so long
_ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # a value of the user's own is kept
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_NEEDED = ("mlflow", "sqlalchemy", "alembic")
_MISSING = "MLflow is not installed: pip install mlflow-skinny sqlalchemy alembic"
_LONGEST_NAME, _LONGEST_PARAM, _LONGEST_TAG = 250, 6000, 8000  # characters, MLflow's limits
_LONGEST_REASON = 300


def mirror(run: Run, workspace: Workspace, *, uri: str | None = None) -> str:
    """Copy a finished run to MLflow; a run that is there already is left as it is.

    Parameters
    ----------
    run : Run
    workspace : Workspace, whose ``mlflow.db`` and ``artifacts`` are used where no server is named
    uri : of the tracking server or database; None takes that of ``MLFLOW_TRACKING_URI``, else the workspace's. "off" copies nothing

    Returns
    -------
    where : str, the URI without its password and MLflow's id of the run; empty when nothing is to be copied

    Raises
    ------
    TrackingError
        MLflow is not installed, does not answer, or refuses; the run itself is untouched.
    """
    uri = uri or os.environ.get(_URI) or _own_database(workspace)
    if uri == OFF:
        return ""
    if uri == _own_database(workspace) and "?" in uri:
        raise TrackingError(f"{workspace.root}: a SQLite address cannot hold its '?'; name another folder with --workspace")
    command = [sys.executable, "-P", "-W", "ignore", "-m", "core.runs.tracking", str(run.folder), str(workspace.root)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_MIRROR_S,
            check=False,
            env={**_PATIENCE, **os.environ, **_ENVIRONMENT, _URI: uri},  # an argument, with its password, is for all to see
        )
    except subprocess.TimeoutExpired:
        raise TrackingError(f"{_public(uri)}: not done in {_MIRROR_S:.0f} s; {_advice(uri)}") from None
    except OSError as error:
        raise TrackingError(f"no process could be started ({error.strerror})") from None
    printed = done.stderr if done.returncode else done.stdout  # the last line is ours
    last = (printed.decode(errors="replace").strip().splitlines() or ["its process ended without a message"])[-1]
    if done.returncode:
        reason = f"{_public(uri)}: {last.replace(uri, _public(uri))}; {_advice(uri)}"
        raise TrackingError(last if last == _MISSING else reason)
    return f"{_public(uri)} run {last}"


def _write(run: Run, workspace: Workspace, uri: str) -> str:
    """Write the run to MLflow, in this process; its id there."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    folder = (workspace.root / "artifacts").as_uri() if _dialect(uri) in _DATABASES else None
    experiment = _experiment(client, run.record.dataset.name or "unnamed", folder, ours=uri == _own_database(workspace))
    end = round(datetime.fromisoformat(run.record.created).timestamp() * 1000)
    found = client.search_runs([experiment], f"tags.`earmark.run_id` = '{run.id}'", max_results=1)
    if found and found[0].info.status == "FINISHED":
        return found[0].info.run_id
    if found:  # an earlier attempt was cut off
        mirrored = found[0].info.run_id
    else:
        start = end - round(1000 * run.record.seconds)
        mirrored = client.create_run(experiment, start, {"earmark.run_id": run.id}, run.id).info.run_id
    parameters = [
        Param(name, _text(value)[:_LONGEST_PARAM]) for name, value in _accepted(flatten(run.record.as_json()["settings"]))
    ]
    metrics = [
        Metric(name, value, end, step)
        for name, points in _accepted(_figures(run.record.as_json()["scores"]))
        for step, value in points
    ]
    tags = [RunTag(name, _text(value)[:_LONGEST_TAG]) for name, value in _accepted(_tags(run))]
    client.log_batch(mirrored, metrics=metrics, params=parameters, tags=tags)
    for path in (run.folder / RECORD, run.folder / "oof.csv", Path(run.record.submission or "")):
        if path.is_file():
            client.log_artifact(mirrored, str(path))
    client.set_terminated(mirrored, "FINISHED", end)
    return mirrored


def _experiment(client: "MlflowClient", name: str, folder: str | None, *, ours: bool) -> str:
    """Id of the experiment, made where it is missing.

    Parameters
    ----------
    client : MlflowClient
    name : str
    folder : address of the folder for its artifacts; None leaves that to the server
    ours : bool, whether the database is the workspace's own: a workspace that was moved or copied must not write into the old place
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=folder)
        except MlflowException:  # another job may have made it at this moment
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if ours and found.artifact_location != folder:
        raise TrackingError(f"it keeps the artifacts of {name} in {found.artifact_location}, which is not this workspace")
    return found.experiment_id


def _own_database(workspace: Workspace) -> str:
    return f"sqlite:///{workspace.root / 'mlflow.db'}"


@contextmanager
def _database(uri: str) -> Iterator[None]:
    """Hold a SQLite database exclusively: MLflow's migrations are not safe to run concurrently.

    SQLite's own words are raised at once for what MLflow would try again and again: locked by others, read-only, full, damaged.
    """
    from sqlalchemy import make_url

    path = Path(make_url(uri).database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=_TURN_S):
        connection = sqlite3.connect(path, timeout=_LOCKED_S)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        finally:
            connection.close()
        yield


def _dialect(uri: str) -> str:
    return uri.split(":")[0].split("+")[0]


def _tags(run: Run) -> dict[str, Any]:
    badges = {f"badge.{figure}": badge for figure, badge in run.scores.badges.items()}
    stay = f"The models stay in {run.models}" if run.kind.holds_models else "The models stay with the runs that it averages"
    return badges | {
        "earmark.run_id": run.id,
        "earmark.version": run.record.versions.get("earmark"),
        "earmark.fingerprint": run.record.dataset.fingerprint,
        "earmark.folder": str(run.folder),
        "earmark.models": str(run.models),
        "mlflow.source.name": f"earmark {run.kind.command}",
        "mlflow.note.content": f"{stay}; score clips with: earmark predict {run.id} CLIP",
    }


def _figures(scores: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Every number of the scores by dotted name, as (step, value); the items of a list of numbers are its steps.

    Examples
    --------
    >>> _figures({"oof_rmse": 0.5, "fold_rmse": [1, 2], "models": {"svr": {"oof_rmse": 3}}, "leak_gap": None, "badges": {"a": "b"}})
    {'oof_rmse': [(0, 0.5)], 'fold_rmse': [(0, 1.0), (1, 2.0)], 'members.svr.oof_rmse': [(0, 3.0)]}
    """
    found: dict[str, list[tuple[int, float]]] = {}

    def walk(name: str, value: Any, step: int = 0) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{name}.{key}", item)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(f"{name}.{index}" if isinstance(item, dict | list) else name, item, index)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.setdefault(name, []).append((step, float(value)))

    for key, value in scores.items():
        walk("members" if key == "models" else key, value)
    return found


def _accepted(values: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """The same under names that MLflow takes: letters, digits, ``_ - . : /`` and spaces, each name once.

    Examples
    --------
    >>> list(_accepted({"svr:seed=7": 1, "svr:seed@7": 2}))
    [('svr:seed_7', 1), ('svr:seed_7_', 2)]
    """
    taken: set[str] = set()
    for name, value in values.items():
        accepted = re.sub(r"[^\w\-. :]", "_", name)[: _LONGEST_NAME - 10]
        while accepted in taken:
            accepted += "_"
        taken.add(accepted)
        yield accepted, value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _reason(error: BaseException) -> str:
    """One line: the system's or SQLite's own words where they are at the bottom of it, else those of the error."""
    words, cause = str(error) or type(error).__name__, error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, OSError | sqlite3.Error):
            words = getattr(cause, "strerror", None) or str(cause)
        cause = cause.__cause__ or cause.__context__
    return " ".join(words.split())[:_LONGEST_REASON]


def _public(uri: str) -> str:
    """The URI without a password.

    Examples
    --------
    >>> _public("https://ann:secret@example.org/mlflow")
    'https://ann@example.org/mlflow'
    """
    parts = urlsplit(uri)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.split(':')[0]}{at}{host}")) if at else uri


def _advice(uri: str) -> str:
    if uri.startswith("sqlite"):
        return "when it stays so, move mlflow.db away: it holds copies only"
    return f"look at the server, or name another in {_URI} ({OFF}: none)"


def main(folder: str, workspace: str) -> int:
    """Copy a run; the last line on standard output is MLflow's id of it, or on standard error why there is none."""
    try:
        uri = os.environ[_URI]
        with _database(uri) if _dialect(uri) == "sqlite" else nullcontext():
            print(_write(read_run(Path(folder)), Workspace.resolve(workspace), uri))
    except ModuleNotFoundError as error:
        print(_MISSING if error.name in _NEEDED else error, file=sys.stderr)
        return 1
    except Exception as error:
        print(_reason(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
