"""Finished runs side by side: a row of figures for each, what differs in their settings, whether their errors can be compared.

Runs in, rows and texts out. Errors are in units of the label, times in seconds; a figure that was not computed is None.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import RunError
from core.runs.store import OOF, Run, ranked, ranked_with, ranking_metric
from core.scoring.figures import interval_text, text
from core.scoring.metrics import METRICS

_NAMED = 3  # members that a row names; the others are counted
_COLUMNS = (  # title, name in the row
    ("", "best"),
    ("run", "run_id"),
    ("name", "name"),
    ("created", "created"),
    ("data set", "dataset"),
    ("clips", "clips"),
    ("members", "members"),
    ("folds", "plan"),
    ("OOF RMSE", "oof_rmse"),
    ("95 % interval", "oof_rmse_ends"),
    ("MAE", "oof_mae"),
    ("Spearman", "oof_spearman"),
    ("CCC", "oof_ccc"),
    ("badge", "badge"),
    ("constant", "constant_rmse"),
    ("ceiling", "ceiling_rmse"),
    ("leak gap", "leak_gap"),
    ("seconds", "seconds"),
)
_PLAN = {"folds": "folds", "stratified": "stratified", "groups": "group_by", "seed": "seed"}  # settings that make the folds
_ERRORS = ("oof_rmse", "oof_mae", "constant_rmse", "ceiling_rmse", "leak_gap")  # in units of the label
_DIGITS = {"oof_spearman": 3, "oof_ccc": 3, "seconds": 1}


@dataclass(frozen=True, slots=True)
class Oof:
    """Out-of-fold predictions of a run, row by row.

    Attributes
    ----------
    filenames : tuple of str [n]
    contents : tuple of str [n], hash of each clip's bytes
    labels : np.ndarray [shape=(n,)]
    groups : tuple of str [n], "" without groups
    folds : np.ndarray of int [shape=(repeats, n)], the fold that scored the row, the first being 0
    predictions : np.ndarray [shape=(repeats, n)]
    """

    filenames: tuple[str, ...]
    contents: tuple[str, ...]
    labels: np.ndarray
    groups: tuple[str, ...]
    folds: np.ndarray
    predictions: np.ndarray


def leaderboard(runs: Sequence[Run], *, metric: str | None = None) -> list[dict[str, Any]]:
    """A row for each run, in the order given.

    Parameters
    ----------
    runs : sequence of Run, oldest first
    metric : str, of ``metrics.METRICS``, by which runs are ranked; None takes that of the newest run on the same data and grouping

    Returns
    -------
    rows : list of dict, fit for JSON: run_id, name, notes, created, dataset,
        clips, members (text), plan (text), oof_rmse with its badge and the other
        scores by name, confidence (both ends of each), group_level (the same of
        the groups' means), constant_rmse, ceiling_rmse (what raters allow), leak_gap, seconds,
        metric (by which it is ranked), best (no run on the same data and grouping ranks higher)
    """
    kinds: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        kinds.setdefault(ranked_with(run), []).append(run)
    metrics = {kind: METRICS[metric] if metric else ranking_metric(some) for kind, some in kinds.items()}
    best = {kind: ranked(some, metrics[kind])[0] for kind, some in kinds.items()}
    return [
        {
            "run_id": run.id,
            "name": run.about.get("name"),
            "notes": run.notes or None,
            "created": run.record.created,
            "dataset": run.record.dataset.name,
            "clips": run.record.dataset.train_clips,
            "members": _members(run),
            "plan": _plan(run),
            **{f"oof_{metric}": run.scores.score(metric) for metric in METRICS},
            "confidence": None if run.scores.confidence is None else run.scores.confidence.ends,
            "group_level": None if run.scores.group_level is None else run.scores.group_level.model_dump(),
            "badge": run.scores.badges.get("oof_rmse"),
            "constant_rmse": run.scores.constant_rmse,
            "ceiling_rmse": None if run.scores.ceiling is None else run.scores.ceiling.rmse,
            "leak_gap": run.scores.leak_gap,
            "seconds": run.record.seconds,
            "metric": metrics[ranked_with(run)].name,
            "best": best[ranked_with(run)] is run,
        }
        for run in runs
    ]


def table_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows of ``leaderboard`` as an aligned table, a star before the best run of each kind; a dash stands for None.

    Examples
    --------
    >>> rows = [{"run_id": "a", "oof_rmse": 0.5, "best": True}, {"run_id": "b", "oof_rmse": 12.25, "best": False}]
    >>> [line.split() for line in table_lines(rows)][1]
    ['*', 'a', '-', '-', '-', '-', '-', '-', '0.5000', '-', '-', '-', '-', '-', '-', '-', '-', '-']
    """
    lines = [[title for title, _ in _COLUMNS], *([_cell(name, row) for _, name in _COLUMNS] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [name in (*_ERRORS, *_DIGITS, "clips") for _, name in _COLUMNS]
    cells = [[text.rjust(w) if r else text.ljust(w) for text, w, r in zip(line, widths, right, strict=True)] for line in lines]
    return ["  ".join(line).rstrip() for line in cells]


def flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of a nested record by dotted name.

    Examples
    --------
    >>> flatten({"ensemble": {"folds": 5, "members": ["svr"]}, "seed": 1})
    {'ensemble.folds': 5, 'ensemble.members': ['svr'], 'seed': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in record.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat


def settings_difference(a: Run, b: Run) -> list[tuple[str, Any, Any]]:
    """Dotted name and both values of each setting that differs; None where a run has no such setting."""
    first, second = (flatten(run.record.as_json()["settings"]) for run in (a, b))
    both = ((name, first.get(name), second.get(name)) for name in first | second)
    return [(name, one, other) for name, one, other in both if one != other]


def load_oof(run: Run) -> Oof:
    """Read the out-of-fold predictions of every repeat.

    Raises
    ------
    RunError
        The file is missing or damaged.
    """
    path = run.folder / OOF
    try:
        with (
            path.open("rb") as file,
            np.load(file, allow_pickle=False) as stored,
        ):  # given a path, np.load leaves a damaged one open
            arrays = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise RunError(f"{path}: missing; the run is of an earlier version, which did not keep its folds: train again") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path}: cannot be read ({error}); train again") from None
    if problem := next(_problems(arrays), None):
        raise RunError(f"{path}: expected {problem}; it is damaged: train again")
    texts = {name: tuple(arrays[name].tolist()) for name in ("filenames", "contents", "groups")}
    return Oof(**texts, labels=arrays["labels"], folds=arrays["folds"], predictions=arrays["predictions"])


def comparable(a: Run, b: Run) -> str | None:
    """Whether the errors of two runs can be compared clip by clip.

    Returns
    -------
    why_not : None for the same clips in the same order with the same labels and folds; else the first difference, in words
    """
    try:
        first, second = load_oof(a), load_oof(b)
    except RunError as error:
        return str(error)
    return _clips_differ(a, b, first, second) or _folds_differ(a, b, first, second)


def _clips_differ(a: Run, b: Run, first: Oof, second: Oof) -> str | None:
    for run, own, others in ((a, first, second.filenames), (b, second, first.filenames)):
        known = set(others)
        if extra := [name for name in own.filenames if name not in known]:
            return f"{_count(extra)} only in {run.id} (first: {extra[0]})"
    if first.filenames != second.filenames:
        return "they have the same clips in another order"
    if other := _where(first, np.array(first.contents) != np.array(second.contents)):
        return f"the audio of {_count(other)} is not the same (first: {other[0]})"
    if other := _where(first, first.labels != second.labels):
        row = first.filenames.index(other[0])
        return f"the labels of {_count(other)} differ (first: {other[0]}, {first.labels[row]:g} and {second.labels[row]:g})"
    return None


def _folds_differ(a: Run, b: Run, first: Oof, second: Oof) -> str | None:
    if len(first.folds) != len(second.folds):
        return f"{a.id} has {_times(len(first.folds))}, {b.id} has {_times(len(second.folds))}"
    if np.array_equal(first.folds, second.folds):
        return None
    plans = [{name: getattr(run.record.settings.ensemble, field) for name, field in _PLAN.items()} for run in (a, b)]
    names = [name for name in _PLAN if plans[0][name] != plans[1][name]]
    differ = [f"{name} {_text(plans[0][name])} and {_text(plans[1][name])}" for name in names]
    return f"their folds differ ({', '.join(differ) or 'the groups changed'}); train one again with the settings of the other"


def _where(oof: Oof, differs: np.ndarray) -> list[str]:
    return [oof.filenames[row] for row in np.flatnonzero(differs)]


def _count(names: Sequence[str]) -> str:
    return "1 clip" if len(names) == 1 else f"{len(names)} clips"


def _times(repeats: int) -> str:
    return "1 repeat" if repeats == 1 else f"{repeats} repeats"


def _problems(arrays: Mapping[str, np.ndarray]) -> Iterator[str]:
    """What the arrays lack of all that is read from them, in words."""
    kinds = {"filenames": "U", "contents": "U", "labels": "fiu", "groups": "U", "folds": "iu", "predictions": "f"}
    for name, kind in kinds.items():
        if name not in arrays:
            yield f"an array {name}"
        elif arrays[name].dtype.kind not in kind or not arrays[name].size:
            yield f"{'texts' if kind == 'U' else 'numbers'} as {name}, not {arrays[name].size} of {arrays[name].dtype}"
    n = arrays["filenames"].size
    for name in ("filenames", "contents", "labels", "groups"):
        if arrays[name].shape != (n,):
            yield f"{name} of shape ({n},), not {arrays[name].shape}"
    for name in ("folds", "predictions"):
        if arrays[name].shape != (len(arrays["folds"]), n):
            yield f"{name} of shape (repeats, {n}), not {arrays[name].shape}"
    for name in ("labels", "predictions"):
        if not np.isfinite(arrays[name]).all():
            yield f"finite {name}"


def _members(run: Run) -> str:
    names = run.record.settings.ensemble.members
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _plan(run: Run) -> str:
    plan = run.record.settings.ensemble
    repeats = f"{plan.repeats} x " if plan.repeats > 1 else ""
    return f"{repeats}{plan.folds} {'stratified ' if plan.stratified else ''}folds" + (
        f" by {run.record.grouped_by}" if run.record.grouped_by else ""
    )


def _cell(name: str, row: Mapping[str, Any]) -> str:
    value = row.get(name)
    if name == "best":
        return "*" if value else ""
    if name == "oof_rmse_ends":
        return interval_text((row.get("confidence") or {}).get("rmse"), like=row.get("oof_rmse")) or "-"
    if value is None:
        return "-"
    if name in _ERRORS:
        return text(value, like=row.get("oof_rmse"))
    if name in _DIGITS:
        return f"{value:.{_DIGITS[name]}f}"
    return str(value)[:16].replace("T", " ") if name == "created" else _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value, ensure_ascii=False)
