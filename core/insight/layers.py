"""Layers of an encoder in, how well each of them tells the labels out: out-of-fold RMSE by layer and head.

Every layer and head is scored on the same folds, and everything that learns is fitted inside of them, so each number is out of
fold. A band of layers that is proposed from these numbers was chosen on all rows: a run on it is not ``nested`` for that choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.ensemble.models import CATALOGUE, make_model
from core.errors import JobError, ParameterError
from core.events import LayerScored, LayersStarted, Notify, ignore
from core.runtime.pool import map_unordered
from core.scoring.figures import text
from core.scoring.folds import Fold, make_folds, stopping_split
from core.scoring.metrics import rmse

HEADS = ("ridge", "svr", "lightgbm")
OUT_OF_FOLD = "out-of-fold"
_SURE = 3.0  # standard errors: the best of many layers is better by luck already
_SHARE_OF_LAYERS = 1 / 3  # that a band has at most, two layers at least
_LIGHTGBM = {"feature_fraction": 0.1}  # of the thousand and more columns of a layer, which say much the same


@dataclass(frozen=True, slots=True)
class LayerSettings:
    """How layers are scored.

    Attributes
    ----------
    heads : tuple of str, models of the catalogue
    folds : int >= 2
    repeats : int >= 1, how often the folds are drawn anew
    seed : int

    Raises
    ------
    ParameterError
        A head is not in the catalogue, or ``repeats`` is below 1.
    """

    heads: Sequence[str] = HEADS
    folds: int = 5
    repeats: int = 1
    seed: int = 42

    def __post_init__(self) -> None:
        if unknown := [head for head in self.heads if head not in CATALOGUE]:
            raise ParameterError(f"heads={','.join(unknown)} not among {', '.join(CATALOGUE)}")
        if self.repeats < 1:
            raise ParameterError(f"repeats={self.repeats} must be 1 or more")

    def plans(self, rows: int, groups: Sequence[str] | None) -> tuple[tuple[Fold, ...], ...]:
        """The folds of each repeat; rows of one group stay in one fold."""
        seeds = [(self.seed + repeat) % 2**31 for repeat in range(self.repeats)]
        return tuple(tuple(make_folds(rows, folds=self.folds, seed=seed, groups=groups)) for seed in seeds)


@dataclass(frozen=True, slots=True)
class LayerScores:
    """What scoring the layers of an encoder found.

    Attributes
    ----------
    encoder : str, name of its feature set
    heads : tuple of str [h]
    fold_rmse : np.ndarray [shape=(layers, h, plans * folds)], each on the rows of one fold
    oof_rmse : np.ndarray [shape=(layers, h)], over all rows, mean over repeats
    constant_rmse : float, of the mean label of the other folds
    constant_fold_rmse : np.ndarray [shape=(plans * folds,)], the same on the rows of each fold
    rows : int
    groups : str, what was kept together, in words; empty where nothing was
    """

    encoder: str
    heads: tuple[str, ...]
    fold_rmse: np.ndarray
    oof_rmse: np.ndarray
    constant_rmse: float
    constant_fold_rmse: np.ndarray
    rows: int
    groups: str = ""

    @property
    def best_of_layers(self) -> np.ndarray:
        """RMSE of each layer with its best head [shape=(layers,)]."""
        return self.oof_rmse.min(axis=1)

    def to_record(self) -> dict[str, Any]:
        """Fit for JSON."""
        return {
            "encoder": self.encoder,
            "heads": list(self.heads),
            "fold_rmse": self.fold_rmse.tolist(),
            "oof_rmse": self.oof_rmse.tolist(),
            "constant_rmse": self.constant_rmse,
            "constant_fold_rmse": self.constant_fold_rmse.tolist(),
            "rows": self.rows,
            "groups": self.groups,
            "badges": {"oof_rmse": OUT_OF_FOLD, "fold_rmse": OUT_OF_FOLD, "constant_rmse": OUT_OF_FOLD},
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "LayerScores":
        """What ``to_record`` gave.

        Raises
        ------
        JobError
            The record is damaged, or of another version.
        """
        try:
            named = ("fold_rmse", "oof_rmse", "constant_fold_rmse")
            of_folds, of_layers, constant_of_folds = (np.array(record[name], float) for name in named)
            heads = tuple(record["heads"])
            if of_folds.ndim != 3 or of_layers.shape != of_folds.shape[:2] or of_layers.shape[1] != len(heads):
                raise ValueError("shapes do not fit together")
            if constant_of_folds.shape != of_folds.shape[2:]:
                raise ValueError("as many folds of the baseline as of the layers")
            constant, rows = float(record["constant_rmse"]), int(record["rows"])
            return cls(str(record["encoder"]), heads, of_folds, of_layers, constant, constant_of_folds, rows, str(record["groups"]))
        except (KeyError, TypeError, ValueError) as error:
            raise JobError(f"the scores of the layers are damaged, or of another version ({error}); score them again") from None


@dataclass(frozen=True, slots=True)
class Band:
    """Neighbouring layers that are proposed; none (None) where no layer is better than the baseline."""

    first: int | None
    last: int | None
    reason: str

    def suffix(self) -> str:
        """What stands behind the name of the encoder's set.

        Examples
        --------
        >>> Band(7, 8, "").suffix(), Band(3, 3, "").suffix()
        ('@L7-8', '@L3')
        """
        if self.first is None:
            return ""
        return f"@L{self.first}" if self.first == self.last else f"@L{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class _Task:
    layer: int
    head: str
    X: np.ndarray
    y: np.ndarray
    groups: tuple[str, ...] | None
    plans: tuple[tuple[Fold, ...], ...]
    seed: int


def score_layers(
    X: np.ndarray,
    y: np.ndarray,
    groups: Sequence[str] | None,
    *,
    encoder: str,
    settings: LayerSettings = LayerSettings(),
    grouped_by: str = "",
    workers: int | None = None,
    notify: Notify = ignore,
) -> LayerScores:
    """Fit each head on each layer, fold by fold.

    Parameters
    ----------
    X : np.ndarray [shape=(n, layers, d)], float32, of each layer its columns
    y : np.ndarray [shape=(n,)], finite
    groups : sequence of str [n], or None; rows of one group stay in one fold
    encoder : str, name of its feature set
    settings : LayerSettings
    grouped_by : str, where the groups come from, in words
    workers : int >= 0, processes; None takes one for each core
    notify : called with LayersStarted, then LayerScored for each layer and head, as they end

    Returns
    -------
    scores : LayerScores

    Raises
    ------
    ParameterError
        There are fewer groups than folds.
    JobError
        A fit fails.
    """
    if X.ndim != 3 or len(X) != len(y):
        raise ParameterError(f"X has shape {X.shape}; expected ({len(y)}, layers, columns)")
    heads, layers, groups = tuple(settings.heads), X.shape[1], None if groups is None else tuple(groups)
    plans = settings.plans(len(y), groups)
    by_cost = sorted(heads, key=lambda head: -CATALOGUE[head].cost)
    tasks = [_Task(layer, head, X[:, layer], y, groups, plans, settings.seed) for head in by_cost for layer in range(layers)]
    notify(LayersStarted(len(tasks)))
    fold_rmse = np.full((layers, len(heads), settings.repeats * settings.folds), np.nan)
    oof_rmse = np.full((layers, len(heads)), np.nan)
    for outcome in map_unordered(_score, tasks, workers=workers):
        task = outcome.item
        if outcome.value is None:
            raise JobError(f"layer {task.layer} with {task.head}: {outcome.error}")
        cell = task.layer, heads.index(task.head)
        oof_rmse[cell], fold_rmse[cell] = outcome.value
        notify(LayerScored(task.layer, task.head, float(oof_rmse[cell])))
    constant_rmse, constant_fold_rmse = _score_constant(y, plans)
    return LayerScores(encoder, heads, fold_rmse, oof_rmse, constant_rmse, constant_fold_rmse, len(y), grouped_by)


def propose_band(scores: LayerScores) -> Band:
    """Neighbouring layers around the best, never a single lucky fold.

    The head with the best layer decides. A layer counts with the median of its fold errors, each beside the same fold of the
    baseline, and with half of what its neighbours say: the median keeps one lucky fold from deciding. The standard error
    is that of the best layer, or that of the middling layer where the best one's few folds happen to agree more. The best layer
    must be better than the constant by three standard errors; around it the band grows as long as the next layer is within one of
    it (Breiman et al. 1984, section 3.4.3), to a third of the layers at most and, where there are so many, to two at least.

    Parameters
    ----------
    scores : LayerScores

    Returns
    -------
    band : Band
    """
    layers = len(scores.oof_rmse)
    beside = scores.fold_rmse - scores.constant_fold_rmse  # (layers, h, folds): hard folds are hard for all
    smooth_of_heads = np.apply_along_axis(_smooth, 0, np.median(beside, axis=2))
    best, head = (int(place) for place in np.unravel_index(np.argmin(smooth_of_heads), smooth_of_heads.shape))
    smooth = smooth_of_heads[:, head]
    spreads = _middle_spread(beside[:, head])
    error = max(spreads[best], np.median(spreads)) / np.sqrt(beside.shape[2])
    if smooth[best] >= -_SURE * error:
        return Band(None, None, f"no layer is surely better than the baseline (RMSE {text(scores.constant_rmse)})")
    most = max(min(2, layers), int(layers * _SHARE_OF_LAYERS))
    first = last = best
    while last - first + 1 < most:
        near = [layer for layer in (first - 1, last + 1) if 0 <= layer < layers]
        layer = min(near, key=lambda one: smooth[one])
        if last > first and smooth[layer] - smooth[best] > error:
            break
        first, last = min(first, layer), max(last, layer)
    mean = float(scores.best_of_layers[first : last + 1].mean())
    names = f"layer {first}" if first == last else f"layers {first} to {last}"
    return Band(
        first,
        last,
        f"{names}: RMSE {text(mean, like=scores.constant_rmse)} with the best head of each, "
        f"against {text(scores.constant_rmse)} of the baseline",
    )


def best_neighbours(scores: LayerScores, count: int) -> tuple[int, ...]:
    """Neighbouring layers, so many, whose mean RMSE is lowest, each with its best head.

    Parameters
    ----------
    scores : LayerScores
    count : int in [1, layers]
    """
    sums = np.convolve(scores.best_of_layers, np.ones(count), mode="valid")
    first = int(np.argmin(sums))
    return tuple(range(first, first + count))


def _middle_spread(values: np.ndarray) -> np.ndarray:
    """Standard deviation over folds, as the quartiles say it (in a normal distribution 1.349 of it apart): one odd fold moves it
    little. Values [shape=(layers, folds)]."""
    low, high = np.percentile(values, [25, 75], axis=1)
    return np.asarray((high - low) / 1.349)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Each value with half of its neighbours' weight; the ends count themselves for the neighbour that they lack."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    return padded[:-2] / 4 + padded[1:-1] / 2 + padded[2:] / 4


def _score(task: _Task) -> tuple[float, np.ndarray]:
    """RMSE over all rows, mean over repeats, and that of each fold."""
    over_all, of_folds = [], []
    for plan in task.plans:
        oof = np.empty(len(task.y))
        for fold in plan:
            oof[fold.test_rows] = _fit_and_predict(task, fold)
            of_folds.append(rmse(task.y[fold.test_rows], oof[fold.test_rows]))
        over_all.append(rmse(task.y, oof))
    return float(np.mean(over_all)), np.array(of_folds)


def _fit_and_predict(task: _Task, fold: Fold) -> np.ndarray:
    from core.ensemble.preprocess import (
        make_preprocessor,  # scikit-learn comes with it, which those who only look at scores do not need
    )

    known, labels = task.X[fold.train_rows], task.y[fold.train_rows]
    preprocessor = make_preprocessor().fit(known)
    parameters = dict(CATALOGUE[task.head].presets["fast"])
    stopping = np.zeros(len(known), bool)
    if task.head == "lightgbm":
        parameters |= _LIGHTGBM
        fit_rows, _ = stopping_split(fold.train_rows, task.y, seed=task.seed, groups=task.groups)
        stopping = ~np.isin(fold.train_rows, fit_rows)
    model = make_model(task.head, parameters=parameters, seed=task.seed)
    model.fit(preprocessor.transform(known), labels, stopping)
    return np.clip(model.predict(preprocessor.transform(task.X[fold.test_rows])), labels.min(), labels.max())


def _score_constant(y: np.ndarray, plans: Sequence[Sequence[Fold]]) -> tuple[float, np.ndarray]:
    """RMSE of the mean training label over all rows, mean over repeats, and that of each fold."""
    over_all, of_folds = [], []
    for plan in plans:
        oof = np.empty(len(y))
        for fold in plan:
            oof[fold.test_rows] = y[fold.train_rows].mean()
            of_folds.append(rmse(y[fold.test_rows], oof[fold.test_rows]))
        over_all.append(rmse(y, oof))
    return float(np.mean(over_all)), np.array(of_folds)
