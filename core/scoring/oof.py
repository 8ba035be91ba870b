"""Folds and what was predicted for the rows that each of them scores, in; the figures of a cross-validation out.

Predictions have the unit of the label and are [shape=(repeats, n)]: the folds may be drawn several times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.scoring import bootstrap, intervals, metrics
from core.scoring.folds import Fold
from core.scoring.residuals import coverage_bins

PREDICTION_BINS = 5  # in which the coverage of intervals is looked at
FEWEST_GROUPS = 3  # whose means are worth a score
# How a figure was computed: on rows that neither a fit nor a choice has seen, on rows that no fit has seen, on rows that were seen.
NESTED, OUT_OF_FOLD, IN_SAMPLE = "nested", "out-of-fold", "in-sample"


@dataclass(frozen=True, slots=True)
class OofResult:
    """What a trainer, whatever it fits, predicted for rows that it was not fitted on.

    Attributes
    ----------
    plans : tuple, one a repeat, of tuples of Fold
    predictions : np.ndarray [shape=(repeats, n)]
    baseline : np.ndarray [shape=(repeats, n)], the mean label of the other folds
    labels : np.ndarray [shape=(n,)]
    groups : tuple of str [n] or None
    low, high : np.ndarray [shape=(repeats, n)], ends of the interval of each row, inside the range of the labels
    level : float, share of the labels that the intervals are to cover
    fitted_widths : bool, intervals are as wide as a spread that each fold has learned, and not all of one width
    """

    plans: tuple[tuple[Fold, ...], ...]
    predictions: np.ndarray
    baseline: np.ndarray
    labels: np.ndarray
    groups: tuple[str, ...] | None
    low: np.ndarray
    high: np.ndarray
    level: float
    fitted_widths: bool = False

    def fold_rmse(self, predictions: np.ndarray) -> list[float]:
        """RMSE of out-of-fold predictions [shape=(repeats, n)] in each fold, repeat after repeat."""
        return [
            metrics.rmse(self.labels[fold.test_rows], row[fold.test_rows])
            for plan, row in zip(self.plans, predictions, strict=True)
            for fold in plan
        ]

    def rmse_by_repeat(self, predictions: np.ndarray) -> list[float]:
        """RMSE of out-of-fold predictions [shape=(repeats, n)] in each repeat."""
        return [metrics.rmse(self.labels, row) for row in predictions]

    def fold_numbers(self) -> np.ndarray:
        """Number of the fold that scored each row, from 0, in each repeat [shape=(repeats, n)]."""
        numbers = np.empty(self.predictions.shape, int)
        for repeat, plan in enumerate(self.plans):
            for number, fold in enumerate(plan):
                numbers[repeat, fold.test_rows] = number
        return numbers

    def scores(self) -> dict[str, object]:
        """All figures, by the names under which they are stored and printed; ``badges`` says how each was computed."""
        by_repeat = [metrics.evaluate(self.labels, row) for row in self.predictions]
        covered = [intervals.coverage(self.labels, *ends) for ends in zip(self.low, self.high, strict=True)]
        figures = {
            **self._by_fold(self.predictions),
            "oof_rmse": float(np.mean([scores["rmse"] for scores in by_repeat])),
            "oof_rmse_by_repeat": [scores["rmse"] for scores in by_repeat],
            **{f"oof_{name}": float(np.mean([scores[name] for scores in by_repeat])) for name in metrics.METRICS if name != "rmse"},
            "group_level": self.group_level(),
            "constant_rmse": float(np.mean(self.rmse_by_repeat(self.baseline))),
        }
        return figures | {
            "interval_coverage": float(np.mean(covered)),
            "interval": self._interval(),
            "confidence": confidence_record(self.labels, self.predictions, groups=self.groups),
            "badges": dict.fromkeys([name for name, value in figures.items() if value is not None] + ["models"], NESTED)
            | {"interval_coverage": OUT_OF_FOLD},
        }

    def group_level(self) -> dict[str, object] | None:
        """The scores of the groups' means, mean label against mean prediction, as for systems or speakers; None without groups."""
        if self.groups is None:
            return None
        names, index, clips = np.unique(np.asarray(self.groups, str), return_inverse=True, return_counts=True)
        if len(names) < FEWEST_GROUPS or len(names) == len(self.labels):
            return None
        labels, *repeats = (np.bincount(index, row) / clips for row in (self.labels, *self.predictions))
        by_repeat = [metrics.evaluate(labels, row) for row in repeats]
        return {
            "groups": len(names),
            **{name: float(np.mean([scores[name] for scores in by_repeat])) for name in metrics.METRICS},
            "confidence": confidence_record(labels, np.array(repeats), groups=None),
        }

    def _interval(self) -> dict[str, object]:
        repeats = len(self.predictions)
        low, high, by = (values.ravel() for values in (self.low, self.high, self.predictions))
        bins = coverage_bins(np.tile(self.labels, repeats), low, high, by=by, bins=PREDICTION_BINS)
        return {
            "level": self.level,
            "mean_width": float(np.mean(self.high - self.low)),
            "fitted_widths": self.fitted_widths,
            "by_prediction": [{"low": one.low, "high": one.high, "share": one.share} for one in bins],
        }

    def member_scores(self, predictions: np.ndarray, *, sets: Sequence[Sequence[str]] | None = None) -> dict[str, object]:
        """Figures of one of several predictors on the same folds.

        Parameters
        ----------
        predictions : np.ndarray [shape=(repeats, n)]
        sets : the feature sets that it read, one a repeat and fold; None where it reads none
        """
        read = sets if sets is not None else [()] * sum(map(len, self.plans))
        rmse = float(np.mean(self.rmse_by_repeat(predictions)))
        return {"oof_rmse": rmse, **self._by_fold(predictions), "sets": [",".join(names) for names in read]}

    def _by_fold(self, predictions: np.ndarray) -> dict[str, object]:
        rmse = self.fold_rmse(predictions)
        return {"fold_rmse": rmse, "fold_rmse_mean": float(np.mean(rmse)), "fold_rmse_std": float(np.std(rmse))}


def measure(
    plans: Sequence[Sequence[Fold]],
    predictions: np.ndarray,
    labels: np.ndarray,
    *,
    groups: Sequence[str] | None,
    level: float,
    sides: np.ndarray | None = None,
) -> OofResult:
    """Out-of-fold predictions with their baseline and their intervals.

    Parameters
    ----------
    plans : one a repeat
    predictions : np.ndarray [shape=(repeats, n)]
    labels : np.ndarray [shape=(n,)]
    groups : sequence of str [n] or None, as the folds were made with
    level : float between 0 and 1, share of the labels that an interval is to cover
    sides : np.ndarray [shape=(repeats, 2, n)], the spread below and above each prediction, learned without its fold; None makes
        intervals of one width
    """
    by_repeat = [None] * len(predictions) if sides is None else sides
    ends = [
        intervals.oof_intervals(row, labels, groups=groups, level=level, sides=spread)
        for row, spread in zip(predictions, by_repeat, strict=True)
    ]
    least, most = label_range(labels)
    return OofResult(
        plans=tuple(tuple(plan) for plan in plans),
        predictions=predictions,
        baseline=baseline(plans, labels),
        labels=labels,
        groups=tuple(groups) if groups is not None else None,
        low=np.clip([low for low, _ in ends], least, most),
        high=np.clip([high for _, high in ends], least, most),
        level=level,
        fitted_widths=sides is not None,
    )


def confidence_record(labels: np.ndarray, predictions: np.ndarray, *, groups: Sequence[str] | None) -> dict[str, object]:
    """The confidence interval of each score, as a record has it; ``units`` is how many clips or groups were drawn from."""
    return {
        "level": bootstrap.LEVEL,
        "draws": bootstrap.DRAWS,
        "units": len(labels) if groups is None else len(set(groups)),
        "by_group": groups is not None,
        "ends": {name: list(ends) for name, ends in bootstrap.confidence(labels, predictions, groups=groups).items()},
    }


def baseline(plans: Sequence[Sequence[Fold]], labels: np.ndarray) -> np.ndarray:
    """What knowing nothing of a clip predicts: the mean label of the training rows of its fold [shape=(repeats, n)]."""
    means = np.empty((len(plans), len(labels)))
    for row, plan in zip(means, plans, strict=True):
        for fold in plan:
            row[fold.test_rows] = labels[fold.train_rows].mean()
    return means


def label_range(labels: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest label."""
    return float(labels.min()), float(labels.max())
