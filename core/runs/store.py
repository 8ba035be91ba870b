"""A finished run on disk: one folder that says what was trained on what, how it scored, and holds the models.

    jobs/<run_id>/run.json              settings, data fingerprint, fold plan, versions, scores, set-aside clips
                  oof.csv               filename, label, fold, out-of-fold prediction with its interval, and of each member:
                                        means over the repeats
                  oof_repeats.npz       the same predictions in each repeat
                  matrix.npz            what was trained on: X, y, names, filenames, groups
                  explanation.npz       what moves its predictions; may be missing
                  curve.json            its error with fewer and with more clips; may be missing
                  about.json            the name and the notes that people gave it; may be missing
                  test_predictions.csv  filename, prediction and its interval, where the data set has a test table
                  models/               ensemble.json, and repeat<r>/fold<k>/ with two files for each member

``run.json`` is written last: a folder without one is not a finished run.
"""

import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from core.errors import FileError, ParameterError, RunError
from core.extraction.matrix import Matrix, load_matrix
from core.jobs import ACTIVE, list_jobs, status
from core.renamed import rename_sections
from core.runs.kinds import RunKind, run_kind
from core.runs.schema import AboutRecord, RunRecord, Scores, expected
from core.runtime.cache import content_hash
from core.scoring.metrics import METRICS, Metric
from core.workspace import read_json, to_json, write_json

if TYPE_CHECKING:
    from core.ensemble.fitted import Ensemble

RECORD = "run.json"
OOF = "oof_repeats.npz"
MATRIX = "matrix.npz"
ABOUT = "about.json"
NAME_CHARACTERS, NOTE_CHARACTERS = 80, 20_000
_VERSIONS_OF = ("numpy", "scipy", "scikit-learn", "xgboost", "lightgbm", "catboost", "librosa", "soxr", "soundfile", "skops")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")  # controls, turns of the writing direction
_DELETED = ".deleted-"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes
    ----------
    folder : Path
    record : RunRecord, the content of run.json
    about : dict, ``name`` and ``notes`` where somebody gave some
    """

    folder: Path
    record: RunRecord
    about: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.record.run_id

    @property
    def name(self) -> str:
        """The name that somebody gave it, else its id."""
        return self.about.get("name") or self.id

    @property
    def kind(self) -> RunKind:
        """What was trained, and all that depends on it."""
        return run_kind(self.record.kind)

    @property
    def notes(self) -> str:
        return self.about.get("notes", "")

    @property
    def scores(self) -> Scores:
        """Figures of the run, ``oof_rmse`` among them."""
        return self.record.scores

    @property
    def models(self) -> Path:
        return self.folder / "models"

    def load_matrix(self) -> Matrix:
        """What the run was trained on, row for row as in oof.csv.

        Raises
        ------
        RunError
            It is missing or damaged.
        """
        path = self.folder / MATRIX
        try:
            matrix = load_matrix(path)
        except FileNotFoundError:
            raise RunError(f"{path}: what was trained on is missing, or the run is of an earlier version; train again") from None
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{path}: cannot be read ({error}); train again") from None
        if list(matrix.names) != self.record.columns:
            raise RunError(f"{path}: its columns are not those of the run; train again")
        return matrix

    def load_ensemble(self) -> "Ensemble":
        """The models of the run, after each file was compared with the hash in the record: some libraries crash on damage.

        Raises
        ------
        RunError
            A model file is missing or damaged.
        """
        from core.ensemble.fitted import Ensemble

        self.check_models()
        return Ensemble.load(self.models)

    def check_models(self) -> None:
        """Compare each file of the models with its hash in the record.

        Raises
        ------
        RunError
            A model file is missing or damaged.
        """
        _check_files(self.models, self.record.model_files)


def library_versions() -> dict[str, str]:
    """Versions of what computed the run, by distribution."""
    import platform

    from core import __version__

    return {"earmark": __version__, "python": platform.python_version()} | {name: version(name) for name in _VERSIONS_OF}


def read_run(folder: Path) -> Run:
    """Read a run's folder.

    Raises
    ------
    RunError
        There is no run.json, or it is damaged.
    """
    path = folder / RECORD
    try:
        values = read_json(path)
        if isinstance(values, dict):
            values["settings"] = rename_sections(values.get("settings"))
        return Run(folder.absolute(), RunRecord.model_validate(values), _about(folder))
    except FileNotFoundError:
        raise RunError(f"{folder}: no finished run ({RECORD} is missing)") from None
    except FileError as error:
        raise RunError(f"{path}: cannot be read ({error.reason}); train again") from None
    except ValidationError as error:
        raise RunError(
            f"{path}: expected {expected(error)}; it is not the record of a run, or it is damaged: train again"
        ) from None


def write_record(folder: Path, record: Mapping[str, object]) -> None:
    """Write run.json, after which the folder is a finished run.

    Raises
    ------
    RunError
        The record does not fit ``RunRecord``: nobody could read it again.
    """
    values = to_json(record)
    try:
        RunRecord.model_validate(values)
    except ValidationError as error:
        raise RunError(f"{folder / RECORD}: not written, expected {expected(error)}") from None
    write_json(folder / RECORD, values)


def check_about(folder: Path) -> None:
    """Read the name and the notes of a run strictly; for everything else, damaged ones are as good as none.

    Raises
    ------
    FileNotFoundError
        Nobody gave any.
    RunError
        They are damaged.
    """
    try:
        AboutRecord.model_validate(read_json(folder / ABOUT))
    except FileError as error:
        raise RunError(f"{error}; give the run its name again") from None
    except ValidationError as error:
        raise RunError(f"{folder / ABOUT}: expected {expected(error)}; give the run its name again") from None


def model_hashes(models: Path) -> dict[str, str]:
    """Hash of each file of a run's models, by path inside the folder."""
    files = sorted(path for path in models.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(models).as_posix(): content_hash(path).hex() for path in files}


def list_runs(jobs: Path) -> list[Run]:
    """Finished runs of a workspace, oldest first; a damaged record is left out."""
    if not jobs.is_dir():
        return []
    runs = []
    for record in jobs.glob(f"*/{RECORD}"):
        try:
            runs.append(read_run(record.parent))
        except RunError:
            continue
    return sorted(runs, key=lambda run: (run.record.created, run.id))


def unreadable_runs(jobs: Path) -> list[tuple[str, str]]:
    """Folder and reason of each finished run whose record is damaged."""
    found = []
    for record in sorted(jobs.glob(f"*/{RECORD}")) if jobs.is_dir() else []:
        try:
            read_run(record.parent)
        except RunError as error:
            found.append((record.parent.name, str(error)))
    return found


def describe_run(run: Run, *, name: str | None = None, notes: str | None = None) -> Run:
    """Give a run another name or other notes; an empty name takes the id again.

    Raises
    ------
    ParameterError
        They are too long, or the name holds control characters.
    RunError
        The run was deleted meanwhile.
    """
    about = _about(run.folder)  # as it stands now: another may have changed the other one of the two
    if name is not None:
        about["name"] = " ".join(name.split())
        if _UNSEEN.search(about["name"]):
            raise ParameterError("the name holds characters that cannot be seen; type it anew")
        if len(about["name"]) > NAME_CHARACTERS:
            raise ParameterError(
                f"the name has {len(about['name'])} characters; at most {NAME_CHARACTERS} are kept, notes may be longer"
            )
    if notes is not None:
        about["notes"] = notes.strip()
        if len(about["notes"]) > NOTE_CHARACTERS:
            raise ParameterError(f"the notes have {len(about['notes']):,} characters; at most {NOTE_CHARACTERS:,} are kept")
    if not run.folder.is_dir():
        raise RunError(f"{run.folder}: the run is gone; somebody deleted it meanwhile")
    write_json(run.folder / ABOUT, about)
    return Run(run.folder, run.record, about)


def delete_run(run: Run) -> None:
    """Remove a run's folder: record, predictions, models, explanation. The submission beside it stays.

    The folder is moved out of sight in one step, so that a run is there as a whole or not at all, whatever stops the rest.

    Raises
    ------
    RunError
        Work on it is under way.
    """
    for job in list_jobs(run.folder.parent):
        named = [job.request.get("run"), *job.request.get("runs", ())]
        if (run.id in named or str(run.folder) in named or job.id == run.id) and status(job) in ACTIVE:
            raise RunError(f"run {run.id}: a job ({job.kind}) works on it; cancel it first, then delete the run")
    root = run.folder.parents[1]
    with suppress(FileNotFoundError):  # another tab was faster
        run.folder.rename(root / f"{_DELETED}{secrets.token_hex(4)}")
    for away in root.glob(f"{_DELETED}*"):  # with what an earlier attempt left that was stopped
        shutil.rmtree(away, ignore_errors=True)


def blends_of(run: Run) -> list[Run]:
    """Blends that score new clips with a run."""
    blends = [other for other in list_runs(run.folder.parent) if not other.kind.holds_models]
    return [one for one in blends if run.id in one.record.settings.ensemble.members]


def size_bytes(run: Run) -> int:
    """What a run takes on the disk."""
    return sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())


def ranked_with(run: Run) -> tuple[str, str]:
    """What is the same for two runs whose errors may be ranked: the data and the groups of the folds."""
    return run.record.dataset.fingerprint, str(run.record.settings.ensemble.group_by)


def ranking_metric(runs: Sequence[Run]) -> Metric:
    """The metric by which runs are ranked: the one that the newest of them was trained for.

    Parameters
    ----------
    runs : sequence of Run, at least one, oldest first
    """
    return METRICS[runs[-1].record.settings.ensemble.metric]


def ranked(runs: Sequence[Run], metric: Metric) -> list[Run]:
    """Runs by an out-of-fold score, the best first; where it is equal or undefined, by the RMSE."""
    return sorted(runs, key=lambda run: (metric.order(run.scores.score(metric.name)), run.scores.oof_rmse))


def best_run(runs: Sequence[Run]) -> Run:
    """The best out-of-fold score among the runs that can be compared with the latest: same data, same grouping.

    Parameters
    ----------
    runs : sequence of Run, at least one, oldest first
    """
    return ranked([run for run in runs if ranked_with(run) == ranked_with(runs[-1])], ranking_metric(runs))[0]


def find_run(name: str, jobs: Path) -> Run:
    """A run by id, ``latest``, ``best`` (see ``best_run``) or folder.

    Parameters
    ----------
    name : str
    jobs : folder of the workspace's runs

    Returns
    -------
    run : Run

    Raises
    ------
    RunError
        There is no such run.
    """
    if name in ("latest", "best"):
        runs = list_runs(jobs)
        if not runs:
            raise RunError(f"{jobs}: no finished run yet; train one with: earmark train DATASET")
        return runs[-1] if name == "latest" else best_run(runs)
    if _ID.fullmatch(name) and (jobs / name / RECORD).is_file():
        return read_run(jobs / name)
    folder = Path(name)
    if folder.is_dir():
        return read_run(folder)
    known = ", ".join(run.id for run in list_runs(jobs)[-3:]) or "none yet"
    raise RunError(f"run {name!r} is not an id, latest, best or a run's folder; last runs in {jobs}: {known}")


def _about(folder: Path) -> dict[str, str]:
    """Name and notes; nothing where there are none or the file is damaged: they are only words beside the record."""
    try:
        about = read_json(folder / ABOUT)
    except (FileNotFoundError, FileError):
        return {}
    known = about if isinstance(about, dict) else {}
    return {name: known[name] for name in ("name", "notes") if isinstance(known.get(name), str)}


def _check_files(models: Path, expected: dict[str, str]) -> None:
    for name, value in expected.items():
        path = models / name
        if not path.is_file():
            raise RunError(f"{path}: the model is missing; train again")
        if content_hash(path).hex() != value:
            raise RunError(f"{path}: the model is damaged (its content is not what the run wrote); train again")
