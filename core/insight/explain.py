"""A finished run in, what each column adds to each prediction out, in the unit of the label. Kept with the run.

Each row is explained by the models that did not train on it, one of each repeat: what is explained is what was scored. The blend's
contributions are the weighted sum of its members', which ``contributions.py`` gets from each model.
"""

import difflib
import hashlib
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from core.ensemble.fitted import LAYOUT, FoldModel, load_fold
from core.ensemble.models import CATALOGUE, Regressor
from core.errors import JobError, ParameterError, RunError
from core.events import ExplainStarted, Notify, PartExplained, ignore
from core.extraction.export import definitions
from core.extraction.matrix import Matrix
from core.insight.contributions import contributions
from core.insight.explanation import (
    EXPLANATION as EXPLANATION,
    VERSION,
    Explanation as Explanation,
    family_shares as family_shares,
    load_explanation as load_explanation,
    models_stamp,
    save_explanation,
)
from core.runs import Run
from core.runs.leaderboard import Oof, load_oof
from core.runtime.pool import map_unordered
from core.scoring.associations import equal_columns
from core.scoring.metrics import rmse
from core.workspace import make_folder, read_json, write_whole

CHECKED_COLUMNS = 60  # with the largest contributions: only they are shuffled
SHUFFLES = 3
MAX_ROWS = 1000


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
    rows: np.ndarray
    X: np.ndarray
    groups: tuple[tuple[int, ...], ...]
    seed: int
    kept: Path
    key: str
    what: str


_Item = TypeVar("_Item", _Part, _Check)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is explained, and what all parts of the work share.

    Attributes
    ----------
    run : Run
    layouts : list of dict, the folds' models as ``ensemble.json`` describes them, repeat after repeat
    matrix : Matrix
    oof : Oof
    rows : np.ndarray [shape=(k,)], numbers of the rows that are explained
    columns : list of tuple of int, numbers of the columns that vary, those with the same values together
    seed : int
    folder : Path, for finished parts
    key : str, hash of all that decides the results
    """

    run: Run
    layouts: list[dict[str, Any]]
    matrix: Matrix
    oof: Oof
    rows: np.ndarray
    columns: list[tuple[int, ...]]
    seed: int
    folder: Path
    key: str

    @property
    def folds(self) -> int:
        """Folds of each repeat."""
        return int(self.oof.folds.max()) + 1

    def draw_seed(self, *numbers: int) -> int:
        """The seed of a part."""
        return int(np.random.SeedSequence([self.seed, *numbers]).generate_state(1)[0])


@dataclass(frozen=True, slots=True)
class _Contributions:
    """Means over the repeats, of the rows that are explained: base [shape=(k,)], the blend's and the members' [shape=(k, d)]."""

    base: np.ndarray
    blend: np.ndarray
    members: dict[str, np.ndarray]


def explain_run(
    run: Run,
    *,
    clips: Sequence[str] = (),
    seed: int = 0,
    workers: int | None = None,
    checkpoints: Path | None = None,
    notify: Notify = ignore,
) -> Explanation:
    """Explain the out-of-fold predictions of a run. Copies of test-time augmentation are left out: the clip alone is explained.

    Parameters
    ----------
    run : Run
    clips : training clips that are explained in any case; where there are more than ``MAX_ROWS``, the others are drawn
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
    if run.kind.why_not_explained:
        raise RunError(f"run {run.id} cannot be explained by features: {run.kind.why_not_explained}")
    started = time.perf_counter()
    work = _prepare(run, clips, seed, checkpoints or run.folder / ".explaining")
    parts = _parts(work)
    notify(ExplainStarted(parts=len(parts) + work.folds))
    sums = _add_up(work, _run_all(_explain, parts, workers, notify))
    importance = np.abs(sums.blend).mean(axis=0)
    top = np.sort(np.argsort(-importance, kind="stable")[:CHECKED_COLUMNS])
    rise, spread = _permutation(work, top, _run_all(_shuffle, _checks(work, top), workers, notify))
    explanation = _describe(work, sums, rise, spread, seconds=time.perf_counter() - started)
    save_explanation(run, explanation)
    shutil.rmtree(work.folder, ignore_errors=True)
    return explanation


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


def _stamp(run: Run, chosen: np.ndarray, seed: int) -> str:
    return hashlib.blake2b(f"{VERSION} {models_stamp(run)} {chosen.tolist()} {seed}".encode(), digest_size=16).hexdigest()


def _choose(total: int, named: Sequence[int], rows: int, seed: int) -> np.ndarray:
    """Numbers of the rows that are explained: all, or the named ones and others that are drawn."""
    if total <= rows:
        return np.arange(total)
    drawn = np.random.default_rng(seed).permutation(total)
    others = [row for row in drawn.tolist() if row not in set(named)]
    return np.array(sorted([*dict.fromkeys(named), *others[: max(0, rows - len(set(named)))]]))


def _prepare(run: Run, clips: Sequence[str], seed: int, folder: Path) -> _Work:
    matrix, oof = run.load_matrix(), load_oof(run)
    run.check_models()
    named = [matrix.filenames.index(name) for name in find_clips(run, matrix.filenames, clips)]
    rows = _choose(len(matrix.filenames), named, MAX_ROWS, seed)
    layouts = read_json(run.models / LAYOUT)["folds"]
    columns = equal_columns(matrix.X)
    return _Work(run, layouts, matrix, oof, rows, columns, seed, make_folder(folder), _stamp(run, rows, seed))


def _parts(work: _Work) -> list[_Part]:
    """The parts of all repeats and folds, longest first."""
    parts = [
        part for repeat in range(len(work.oof.folds)) for fold in range(work.folds) for part in _fold_parts(work, repeat, fold)
    ]
    return sorted(parts, key=lambda part: -part.cost)


def _fold_parts(work: _Work, repeat: int, fold: int) -> list[_Part]:
    fold_of, X, layout = work.oof.folds[repeat], work.matrix.X, work.layouts[repeat * work.folds + fold]
    rows = work.rows[fold_of[work.rows] == fold]
    if len(rows) == 0:
        return []
    where = f"fold {fold + 1}" + (f" of repeat {repeat + 1}" if len(work.oof.folds) > 1 else "")
    return [
        _Part(
            models=work.run.models,
            fold_layout=layout,
            member=member["name"],
            rows=rows,
            X=X[rows],
            background=X[fold_of != fold],
            seed=work.draw_seed(repeat, fold, number),
            kept=work.folder / f"repeat{repeat}-fold{fold}-member{number}.npz",
            key=work.key,
            what=f"{member['name']}, {where}",
            cost=len(rows) * CATALOGUE.get(member["model"], Regressor).explain_cost,
        )
        for number, member in enumerate(layout["members"])
    ]


def _explain(part: _Part) -> dict[str, np.ndarray]:
    """Contributions of a member to its rows, on the columns of the matrix."""
    if (kept := _read(part.kept, part.key)) is not None:
        return kept
    alone = {**part.fold_layout, "members": [member for member in part.fold_layout["members"] if member["name"] == part.member]}
    preprocessor, model, columns = load_fold(part.models, alone, part.X.shape[1]).members[part.member]
    transformed, background = (preprocessor.transform(some[:, columns]) for some in (part.X, part.background))  # type: ignore[attr-defined]
    values, base = contributions(model, transformed, background, seed=part.seed)
    taken = columns[preprocessor.named_steps["drop"].kept_]  # type: ignore[attr-defined]
    found = {"rows": part.rows, "values": values, "base": base, "columns": taken}
    _write(part.kept, part.key, found)
    return found


def _add_up(work: _Work, results: Iterable[tuple[_Part, dict[str, np.ndarray]]]) -> _Contributions:
    """Contributions of the members and of their blend, from those of each part."""
    shape = len(work.rows), len(work.columns)
    members = {name: np.zeros(shape) for name in work.run.scores.models}
    total, base = np.zeros(shape), np.zeros(len(work.rows))
    index = {row: number for number, row in enumerate(work.rows.tolist())}
    group_of = np.full(work.matrix.X.shape[1], -1)
    for number, group in enumerate(work.columns):
        group_of[list(group)] = number
    repeats = len(work.oof.folds)
    for part, result in results:
        rows = [index[row] for row in result["rows"].tolist()]
        summed = np.zeros((len(rows), len(work.columns)))
        groups = group_of[result["columns"]]
        for column in np.flatnonzero(groups >= 0):  # of equal columns several may have a say, in members with sets of their own
            summed[:, groups[column]] += result["values"][:, column]
        members[part.member][rows] += summed / repeats
        weight = next(member["weight"] for member in part.fold_layout["members"] if member["name"] == part.member)
        total[rows] += weight * summed / repeats
        base[rows] += weight * (result["base"] + result["values"][:, groups < 0].sum(axis=1)) / repeats
    return _Contributions(base, total, members)


def _describe(work: _Work, sums: _Contributions, rise: np.ndarray, spread: np.ndarray, *, seconds: float) -> Explanation:
    matrix, rows = work.matrix, work.rows
    known = definitions(work.run.record.settings.extract.features)
    names = [matrix.names[group[0]] for group in work.columns]
    return Explanation(
        filenames=tuple(matrix.filenames[row] for row in rows),
        columns=tuple(names),
        equal={matrix.names[first]: tuple(matrix.names[other] for other in others) for first, *others in work.columns if others},
        families=tuple(known[name].family if name in known else name.split(".")[0] for name in names),
        labels=matrix.y[rows],
        oof_prediction=work.oof.predictions.mean(axis=0)[rows],
        prediction=sums.base + sums.blend.sum(axis=1),
        base=sums.base,
        contributions=sums.blend.astype(np.float32),
        values=matrix.X[rows][:, [group[0] for group in work.columns]],
        members={name: values.astype(np.float32) for name, values in sums.members.items()},
        permutation=rise,
        permutation_std=spread,
        seconds=seconds,
    )


def _checks(work: _Work, top: np.ndarray) -> list[_Check]:
    """A check for each fold of the first repeat."""
    fold_of = work.oof.folds[0]
    rows_by_fold = [np.flatnonzero(fold_of == fold) for fold in range(int(fold_of.max()) + 1)]
    return [
        _Check(
            models=work.run.models,
            fold_layout=work.layouts[fold],
            rows=rows,
            X=work.matrix.X[rows],
            groups=tuple(work.columns[number] for number in top),
            seed=work.draw_seed(fold),
            kept=work.folder / f"check-fold{fold}.npz",
            key=work.key,
            what=f"shuffled columns, fold {fold + 1}",
        )
        for fold, rows in enumerate(rows_by_fold)
    ]


def _permutation(
    work: _Work, top: np.ndarray, results: Iterable[tuple[_Check, dict[str, np.ndarray]]]
) -> tuple[np.ndarray, np.ndarray]:
    """Rise of the RMSE by column, and its standard deviation over the shuffles [shape=(d,)]."""
    y, columns = work.matrix.y, len(work.columns)
    whole, after = np.empty(len(y)), np.empty((len(top), SHUFFLES, len(y)))
    for check, result in results:
        whole[check.rows] = result["whole"]
        after[:, :, check.rows] = result["after"]
    rises = np.sqrt(((after - y) ** 2).mean(axis=2)) - rmse(y, whole)  # (columns, shuffles)
    rise, spread = np.full(columns, np.nan), np.full(columns, np.nan)
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


def _run_all(
    function: Callable[[_Item], dict[str, np.ndarray]], items: Sequence[_Item], workers: int | None, notify: Notify
) -> Iterator[tuple[_Item, dict[str, np.ndarray]]]:
    """Items of the work with their results, as they end."""
    for outcome in map_unordered(function, items, workers=workers):
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
