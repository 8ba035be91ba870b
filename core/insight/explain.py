"""A finished run in, what each column adds to each prediction out, in the unit of the label. Kept with the run.

Each row is explained by the models that did not train on it, one of each repeat: what is explained is what was scored. The blend's
contributions are the weighted sum of its members', which ``contributions.py`` gets from each model.
"""

import difflib
import hashlib
import json
import shutil
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from core.ensemble.fitted import LAYOUT, FoldModel, load_fold
from core.ensemble.models import CATALOGUE, Regressor
from core.errors import JobError, ParameterError, RunError
from core.events import ExplainStarted, Notify, PartExplained, ignore
from core.extraction.export import definitions
from core.insight.contributions import contributions
from core.runs import BLEND, ENSEMBLE, Run
from core.runs.leaderboard import load_oof
from core.runtime.pool import map_unordered
from core.scoring.associations import equal_columns
from core.scoring.metrics import rmse
from core.workspace import make_folder, write_whole

EXPLANATION = "explanation.npz"
CHECKED_COLUMNS = 60  # with the largest contributions: only they are shuffled
SHUFFLES = 3
MAX_ROWS = 1000
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Explanation:
    """What moves the predictions of a run. Values are in the unit of the label.

    Attributes
    ----------
    filenames : tuple of str [n], clips that are explained
    columns : tuple of str [d], columns that vary; of columns with equal values one stands for all
    equal : dict of column to the others that hold the same values
    families : tuple of str [d]
    labels : np.ndarray [shape=(n,)]
    oof_prediction : np.ndarray [shape=(n,)], as the run says it, inside the range of the labels
    prediction : np.ndarray [shape=(n,)], of the blend before it is clipped: ``base + contributions.sum(axis=1)``
    base : np.ndarray [shape=(n,)]
    contributions : np.ndarray [shape=(n, d)], float32, means over the repeats
    values : np.ndarray [shape=(n, d)], float32, of the columns; NaN where undefined
    members : dict of member to np.ndarray [shape=(n, d)], float32, its own contributions
    permutation : np.ndarray [shape=(d,)], rise of the RMSE where a column is shuffled among the rows of each held-out fold of the
        first repeat; NaN for columns that were not shuffled
    permutation_std : np.ndarray [shape=(d,)], over the shuffles
    seconds : float
    """

    filenames: tuple[str, ...]
    columns: tuple[str, ...]
    equal: dict[str, tuple[str, ...]]
    families: tuple[str, ...]
    labels: np.ndarray
    oof_prediction: np.ndarray
    prediction: np.ndarray
    base: np.ndarray
    contributions: np.ndarray
    values: np.ndarray
    members: dict[str, np.ndarray]
    permutation: np.ndarray
    permutation_std: np.ndarray
    seconds: float

    @property
    def importance(self) -> np.ndarray:
        """Mean size of the contributions of each column [shape=(d,)]."""
        return np.abs(self.contributions).mean(axis=0)


@dataclass(frozen=True, slots=True)
class _Part:
    """A member of a fold's models, and the rows that it is to explain."""

    models: Path
    fold_layout: dict[str, Any]
    member: str
    rows: np.ndarray
    X: np.ndarray
    background: np.ndarray
    seed: int
    kept: Path
    key: str
    what: str
    cost: float


@dataclass(frozen=True, slots=True)
class _Check:
    """A fold's models and the rows that they did not train on, whose columns are to be shuffled."""

    models: Path
    fold_layout: dict[str, Any]
    X: np.ndarray
    groups: tuple[tuple[int, ...], ...]
    seed: int
    kept: Path
    key: str
    what: str


def explain_run(
    run: Run,
    *,
    clips: Sequence[str] = (),
    rows: int = MAX_ROWS,
    seed: int = 0,
    workers: int | None = None,
    checkpoints: Path | None = None,
    notify: Notify = ignore,
) -> Explanation:
    """Explain the out-of-fold predictions of a run. Copies of test-time augmentation are left out: the clip alone is explained.

    Parameters
    ----------
    run : Run
    clips : training clips that are explained in any case
    rows : int >= 1, clips that are explained at most, drawn where there are more
    seed : int
    workers : int >= 0, processes; None takes one for each core
    checkpoints : folder for finished parts, so that work that was stopped goes on; it is removed in the end
    notify : told of the progress

    Returns
    -------
    explanation : Explanation

    Raises
    ------
    ParameterError
        A clip is not among those that the run was trained on.
    RunError
        A model or a table of the run is missing or damaged.
    """
    if run.kind != ENSEMBLE:
        what = "a blend of other runs: explain those" if run.kind == BLEND else "of encoders that read sound and text, not columns"
        raise RunError(f"run {run.id} cannot be explained by columns: it is {what}")
    began = time.perf_counter()
    matrix, oof = run.load_matrix(), load_oof(run)
    run.check_models()
    named = [matrix.filenames.index(name) for name in find_clips(run, matrix.filenames, clips)]
    chosen = _choose(len(matrix.filenames), named, rows, seed)
    groups = equal_columns(matrix.X)
    layout = json.loads((run.models / LAYOUT).read_text(encoding="utf-8"))["folds"]
    folds = int(oof.folds.max()) + 1
    home = make_folder(checkpoints or run.folder / ".explaining")
    key = _stamp(run, chosen, seed)
    parts = [
        part
        for repeat, fold_of in enumerate(oof.folds)
        for fold in range(folds)
        for part in _parts(run, layout[repeat * folds + fold], matrix.X, fold_of, fold, repeat, chosen, (seed, home, key))
    ]
    parts.sort(key=lambda part: -part.cost)
    notify(ExplainStarted(parts=len(parts) + folds))
    width, names = len(groups), list(run.scores["models"])
    by_member = {name: np.zeros((len(chosen), width)) for name in names}
    total, base = np.zeros((len(chosen), width)), np.zeros(len(chosen))
    place = {row: number for number, row in enumerate(chosen.tolist())}
    of_column = np.full(matrix.X.shape[1], -1)
    for number, group in enumerate(groups):
        of_column[list(group)] = number
    repeats = len(oof.folds)
    for part, found in _done(_explain, parts, workers, notify):
        at = [place[row] for row in found["rows"].tolist()]
        summed = np.zeros((len(at), width))
        columns = of_column[found["columns"]]
        for column in np.flatnonzero(columns >= 0):  # of equal columns several may have a say, in members with sets of their own
            summed[:, columns[column]] += found["values"][:, column]
        by_member[part.member][at] += summed / repeats
        weight = next(one["weight"] for one in part.fold_layout["members"] if one["name"] == part.member)
        total[at] += weight * summed / repeats
        base[at] += weight * (found["base"] + found["values"][:, columns < 0].sum(axis=1)) / repeats
    importance = np.abs(total).mean(axis=0)
    top = np.sort(np.argsort(-importance, kind="stable")[:CHECKED_COLUMNS])
    rise, spread = _permutation(run, layout, matrix.X, matrix.y, oof.folds[0], groups, top, seed, home, key, workers, notify)
    known = definitions(run.record["settings"]["extract"]["features"])
    columns_named = [matrix.names[group[0]] for group in groups]
    explanation = Explanation(
        filenames=tuple(matrix.filenames[row] for row in chosen),
        columns=tuple(columns_named),
        equal={matrix.names[first]: tuple(matrix.names[other] for other in others) for first, *others in groups if others},
        families=tuple(known[name].family if name in known else name.split(".")[0] for name in columns_named),
        labels=matrix.y[chosen],
        oof_prediction=oof.predictions.mean(axis=0)[chosen],
        prediction=base + total.sum(axis=1),
        base=base,
        contributions=total.astype(np.float32),
        values=matrix.X[chosen][:, [group[0] for group in groups]],
        members={name: values.astype(np.float32) for name, values in by_member.items()},
        permutation=rise,
        permutation_std=spread,
        seconds=time.perf_counter() - began,
    )
    _keep(run, explanation)
    shutil.rmtree(home, ignore_errors=True)
    return explanation


def family_shares(explanation: Explanation) -> dict[str, float]:
    """Share of all movement that each family of columns makes, the largest first."""
    importance = explanation.importance
    whole = float(importance.sum()) or 1.0
    shares = {
        family: float(sum(importance[place] for place, one in enumerate(explanation.families) if one == family)) / whole
        for family in dict.fromkeys(explanation.families)
    }
    return dict(sorted(shares.items(), key=lambda one: -one[1]))


def find_clips(run: Run, filenames: Sequence[str], clips: Sequence[str]) -> list[str]:
    """The training clips that are meant: by their name in the table, or by the name of a file.

    Raises
    ------
    ParameterError
        There is none, or not only one.
    """
    found = []
    for clip in clips:
        name = Path(clip).name
        same = [one for one in filenames if clip in (one, Path(one).stem)] or [
            one for one in filenames if Path(one).name == name or Path(one).stem == Path(name).stem
        ]
        if len(same) != 1:
            near = difflib.get_close_matches(name, filenames, 3, 0.6)
            like = f"; like it: {', '.join(near)}" if near else ""
            what = "is not among" if not same else f"may be {' or '.join(same[:3])} among"
            raise ParameterError(f"clip {clip!r} {what} the {len(filenames)} clips that run {run.id} was trained on{like}")
        found.append(same[0])
    return found


def load_explanation(run: Run) -> Explanation | None:
    """The explanation that is kept with a run, or None where there is none yet.

    Raises
    ------
    RunError
        It is damaged, of another version, or of other models than the run has now.
    """
    path = run.folder / EXPLANATION
    again = f"explain the run again: earmark explain {run.id}"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            if about["version"] != _VERSION or about["models"] != _models_stamp(run):
                raise RunError(f"{path}: it is of another version or of other models; {again}")
            kept = {name: arrays[name] for name in arrays.files if name != "about"}
        members = {name: kept.pop(f"member_{number}") for number, name in enumerate(about["members"])}
        named: dict[str, Any] = {name: tuple(about[name]) for name in ("filenames", "columns", "families")}
        named["equal"] = {name: tuple(others) for name, others in about["equal"].items()}
        explanation = Explanation(**named, members=members, seconds=float(about["seconds"]), **kept)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path}: cannot be read ({error}); {again}") from None
    shape = (len(explanation.filenames), len(explanation.columns))
    if any(array.shape != shape for array in (explanation.contributions, explanation.values, *members.values())):
        raise RunError(f"{path}: its tables do not fit together; {again}")
    return explanation


def _keep(run: Run, explanation: Explanation) -> None:
    about: dict[str, object] = {
        name: getattr(explanation, name) for name in ("filenames", "columns", "families", "equal", "seconds")
    }
    about |= {"version": _VERSION, "models": _models_stamp(run), "members": list(explanation.members)}
    arrays = {one.name: getattr(explanation, one.name) for one in fields(Explanation) if one.name not in about}
    arrays |= {f"member_{number}": values for number, values in enumerate(explanation.members.values())}
    arrays["about"] = np.array(json.dumps(about))
    write_whole(run.folder / EXPLANATION, lambda file: np.savez_compressed(file, **arrays))


def _models_stamp(run: Run) -> str:
    files = run.record["model_files"]
    return hashlib.blake2b(json.dumps(files, sort_keys=True).encode(), digest_size=16).hexdigest()


def _stamp(run: Run, chosen: np.ndarray, seed: int) -> str:
    return hashlib.blake2b(f"{_VERSION} {_models_stamp(run)} {chosen.tolist()} {seed}".encode(), digest_size=16).hexdigest()


def _choose(total: int, named: Sequence[int], rows: int, seed: int) -> np.ndarray:
    """Numbers of the rows that are explained: all, or the named ones and others that are drawn."""
    if rows < 1:
        raise ParameterError(f"rows={rows} must be 1 or more")
    if total <= rows:
        return np.arange(total)
    drawn = np.random.default_rng(seed).permutation(total)
    others = [row for row in drawn.tolist() if row not in set(named)]
    return np.array(sorted([*dict.fromkeys(named), *others[: max(0, rows - len(set(named)))]]))


def _parts(
    run: Run,
    fold_layout: dict[str, Any],
    X: np.ndarray,
    fold_of: np.ndarray,
    fold: int,
    repeat: int,
    chosen: np.ndarray,
    of: tuple[int, Path, str],
) -> list[_Part]:
    seed, home, key = of
    rows = chosen[fold_of[chosen] == fold]
    if len(rows) == 0:
        return []
    where = f"fold {fold + 1}" + (f" of repeat {repeat + 1}" if run.record["settings"]["ensemble"].get("repeats", 1) > 1 else "")
    parts = []
    for number, member in enumerate(fold_layout["members"]):
        kept = home / f"repeat{repeat}-fold{fold}-member{number}.npz"
        cost = len(rows) * CATALOGUE.get(member["model"], Regressor).explain_cost
        own = np.random.SeedSequence([seed, repeat, fold, number]).generate_state(1)[0]
        parts.append(
            _Part(run.models, fold_layout, member["name"], rows, X[rows], X[fold_of != fold], int(own), kept, key,
                  f"{member['name']}, {where}", cost)
        )  # fmt: skip
    return parts


def _explain(part: _Part) -> dict[str, np.ndarray]:
    """Contributions of a member to its rows, on the columns of the matrix."""
    if (kept := _read(part.kept, part.key)) is not None:
        return kept
    of_member = {**part.fold_layout, "members": [one for one in part.fold_layout["members"] if one["name"] == part.member]}
    preprocessor, model, columns = load_fold(part.models, of_member, part.X.shape[1]).members[part.member]
    transformed, background = (preprocessor.transform(some[:, columns]) for some in (part.X, part.background))  # type: ignore[attr-defined]
    values, base = contributions(model, transformed, background, seed=part.seed)
    taken = columns[preprocessor.named_steps["drop"].kept_]  # type: ignore[attr-defined]
    found = {"rows": part.rows, "values": values, "base": base, "columns": taken}
    _write(part.kept, part.key, found)
    return found


def _permutation(
    run: Run,
    layout: list[dict[str, Any]],
    X: np.ndarray,
    y: np.ndarray,
    fold_of: np.ndarray,
    groups: list[tuple[int, ...]],
    top: np.ndarray,
    seed: int,
    home: Path,
    key: str,
    workers: int | None,
    notify: Notify,
) -> tuple[np.ndarray, np.ndarray]:
    """Rise of the RMSE by column, and its standard deviation over the shuffles [shape=(d,)]."""
    shuffled = tuple(groups[number] for number in top)
    rows_of = [np.flatnonzero(fold_of == fold) for fold in range(int(fold_of.max()) + 1)]
    checks = [
        _Check(run.models, layout[fold], X[rows], shuffled, int(np.random.SeedSequence([seed, fold]).generate_state(1)[0]),
               home / f"check-fold{fold}.npz", key, f"shuffled columns, fold {fold + 1}")
        for fold, rows in enumerate(rows_of)
    ]  # fmt: skip
    whole, after = np.empty(len(y)), np.empty((len(top), SHUFFLES, len(y)))
    place = {check.what: rows for check, rows in zip(checks, rows_of, strict=True)}
    for check, found in _done(_shuffle, checks, workers, notify):
        whole[place[check.what]] = found["whole"]
        after[:, :, place[check.what]] = found["after"]
    rises = np.sqrt(((after - y) ** 2).mean(axis=2)) - rmse(y, whole)  # (columns, shuffles)
    rise, spread = np.full(len(groups), np.nan), np.full(len(groups), np.nan)
    rise[top], spread[top] = rises.mean(axis=1), rises.std(axis=1)
    return rise, spread


def _shuffle(check: _Check) -> dict[str, np.ndarray]:
    """Predictions of a fold's blend on its rows, as they are and with each column shuffled."""
    if (kept := _read(check.kept, check.key)) is not None:
        return kept
    fold = load_fold(check.models, check.fold_layout, check.X.shape[1])
    n, rng = len(check.X), np.random.default_rng(check.seed)
    orders = [rng.permutation(n) for _ in range(SHUFFLES)]
    after = np.empty((len(check.groups), SHUFFLES, n))
    for number, group in enumerate(check.groups):
        varied = np.tile(check.X, (SHUFFLES, 1))
        for column in group:
            varied[:, column] = np.concatenate([check.X[order, column] for order in orders])
        after[number] = _blend(fold, varied).reshape(SHUFFLES, n)
    found = {"whole": _blend(fold, check.X), "after": after}
    _write(check.kept, check.key, found)
    return found


def _blend(fold: FoldModel, X: np.ndarray) -> np.ndarray:
    return np.clip(fold.predict_members(X) @ fold.weights, fold.low, fold.high)


def _done(function: Any, parts: Sequence[Any], workers: int | None, notify: Notify) -> Any:
    """Parts with what came of them, as they end."""
    for outcome in map_unordered(function, parts, workers=workers):
        if outcome.value is None:
            raise JobError(f"{outcome.item.what} could not be explained: {outcome.error}")
        notify(PartExplained(outcome.item.what, len(outcome.item.X), outcome.seconds))
        yield outcome.item, outcome.value


def _write(path: Path, key: str, found: dict[str, np.ndarray]) -> None:
    write_whole(path, lambda file: np.savez(file, key=np.array(key), **found))  # type: ignore[arg-type]


def _read(path: Path, key: str) -> dict[str, np.ndarray] | None:
    """What was kept of a part; None where it is not there, damaged or of other work: then it is done again."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files if name != "key"} if str(kept["key"]) == key else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
