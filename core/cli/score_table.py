"""Scores of a run in, the lines of its table out: errors in the unit of the label, each score with its confidence interval."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.scoring.figures import interval_text, text
from core.scoring.metrics import METRICS

if TYPE_CHECKING:
    import numpy as np

    from core.runs import Run
    from core.runs.schema import ConfidenceRecord, Scores


def score_lines(scores: "Scores") -> Iterator[str]:
    """A line for each score: its value over all clips and, where there are groups, over the means of the groups."""
    level, unit = scores.group_level, scores.constant_rmse
    titles = [f"out-of-fold [{scores.badges.get('oof_rmse', 'no badge')}]", "all clips", _interval_title(scores.confidence)]
    if level is not None:
        titles += [f"{level.groups} group means", _interval_title(level.confidence)]
    rows = [titles]
    for name, metric in METRICS.items():
        like = unit if metric.in_label_unit else 1.0
        row = [metric.label, text(scores.score(name), like=like), interval_text(scores.ends(name), like=like)]
        if level is not None:
            row += [text(getattr(level, name), like=like), interval_text(level.confidence.of(name), like=like)]
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(["", row[0].ljust(len(first)), *others]).rstrip()


def score_text(name: str, value: float, *, like: float) -> str:
    """A score by its name: an error in the format of ``like``, a number without unit with four decimals."""
    unit_free = name in METRICS and not METRICS[name].in_label_unit
    return text(value, like=1.0 if unit_free else like)


def confidence_words(confidence: "ConfidenceRecord") -> str:
    """What an interval was computed from.

    Examples
    --------
    >>> from core.runs.schema import ConfidenceRecord
    >>> confidence_words(ConfidenceRecord(level=0.95, draws=1000, units=82, by_group=True, ends={}))
    '95 % intervals: bootstrap over 82 groups, 1000 draws'
    """
    units = f"{confidence.units} {'groups' if confidence.by_group else 'clips'}"
    return f"{100 * confidence.level:.0f} % intervals: bootstrap over {units}, {confidence.draws} draws"


def transform_words(labels: "np.ndarray") -> str | None:
    """The label transform that is likely to help, and why; None where there is none."""
    from core.data.dataset import transform_hint

    hint = transform_hint(labels)
    return None if hint is None else f"{hint[0]}: --label-transform {hint[1]} may help"


def fitness_lines(run: "Run") -> Iterator[str]:
    """How many predictions are a step off at most, and how many pairs are in order, in a line; none where nothing can be said."""
    from core.errors import RunError
    from core.runs.leaderboard import load_oof
    from core.scoring.fitness import fitness

    try:
        oof = load_oof(run)
        sentence = fitness(oof.labels, oof.predictions).sentence()
    except RunError as error:  # the scores are those of the record: they are shown whatever became of this file
        sentence = f"unknown: {error}"
    if sentence:
        yield f"  in practice   {sentence}"


def untransformed(run: "Run") -> str | None:
    """The label transform that an ensemble without one should try, and why; None where there is none."""
    from core.errors import RunError
    from core.runs.kinds import ENSEMBLE
    from core.runs.leaderboard import load_oof

    if run.kind.name != ENSEMBLE or run.record.settings.ensemble.label_transform != "none":
        return None
    try:
        return transform_words(load_oof(run).labels)
    except RunError:  # a hint is no reason to hide the scores; what needs the table says that it is damaged
        return None


def _interval_title(confidence: "ConfidenceRecord | None") -> str:
    return "" if confidence is None else f"{100 * confidence.level:.0f} % interval"
