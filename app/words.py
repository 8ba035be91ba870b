"""Numbers, times and errors as readable text."""

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from core.errors import EarmarkError
from core.jobs import os_error_message
from core.runs import Run
from core.runs.schema import EnsembleRecord, Scores
from core.scoring.figures import interval_text, text

NOTHING = "\N{EN DASH}"  # in place of a number that is not known yet
SWITCHES = {
    "augment": "Augmentation",
    "tta": "Test-time augmentation",
    "pseudo_labels": "Pseudo-labels",
    "rater_bias": "Rater offsets",
    "label_transform": "Label transform",
    "self_test": "Self-test",
}
BADGES = {  # colour, icon, definition
    "nested": (
        "green",
        ":material/verified:",
        "Every choice (weights, feature sets, epochs) was made without the scored fold.",
    ),
    "out-of-fold": ("blue", ":material/check:", "No model was fitted on the label of the row or on its group."),
    "in-sample": ("orange", ":material/warning:", "Something was fitted on these rows: expect larger errors on new clips."),
}
VERDICTS = {
    "helps": ("green", ":material/trending_down:"),
    "hurts": ("red", ":material/trending_up:"),
    "cannot tell": ("gray", ":material/question_mark:"),
}
_NOT_CHOSEN = ", which was not chosen"
_RECORDING = ("identical audio", "near-identical")  # kinds of groups that are one recording
LITTLE = 0.02  # of the RMSE: groups that change it less than this need no warning
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:])")


def plain(text: str) -> str:
    """Text of a user, such as a file name, so that Markdown shows it as it is.

    Examples
    --------
    >>> plain("a_b*")
    'a\\\\_b\\\\*'
    """
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split("\n")))


def duration(seconds: float) -> str:
    """A duration to read.

    Examples
    --------
    >>> duration(7.4), duration(75), duration(7265)
    ('7 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def about(seconds: float) -> str:
    """An estimated duration, no finer than an estimate is.

    Examples
    --------
    >>> about(3.2), about(43), about(167), about(7265)
    ('about 5 s', 'about 45 s', 'about 3 min', 'about 2 h')
    """
    if seconds < 57:
        return f"about {max(5, 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    tens = 10 * round(seconds / 600)
    return f"about {tens // 60} h" + (f" {tens % 60} min" if tens % 60 else "")


def count(number: int, noun: str) -> str:
    """A number with its noun.

    Examples
    --------
    >>> count(1, "clip"), count(1200, "clip")
    ('1 clip', '1,200 clips')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def decimals(error: float) -> int:
    """Decimals of a number whose error is known: as many as give the error two digits.

    Examples
    --------
    >>> decimals(0.74), decimals(0.031), decimals(12.3), decimals(250), decimals(0)
    (2, 3, 0, 0, 4)
    """
    return max(0, min(10, 1 - math.floor(math.log10(error)))) if error > 0 else 4


def fold_plan(plan: EnsembleRecord, grouped_by: str | None) -> str:
    """The folds of a run, and what kept clips together in them.

    Examples
    --------
    >>> fold_plan(EnsembleRecord(members=["svr"], folds=5, repeats=3, stratified=True), "speaker")
    '3 x 5 stratified folds grouped by speaker'
    """
    repeats = f"{plan.repeats} x " if plan.repeats > 1 else ""
    kind = "stratified folds" if plan.stratified else "folds"
    return f"{repeats}{plan.folds} {kind} " + (f"grouped by {grouped_by}" if grouped_by else "without groups")


def group_noun(groups: str) -> str:
    """What the groups of a leak gap are.

    Examples
    --------
    >>> group_noun("speaker, which was not chosen"), group_noun("identical audio, name stem, near-identical")
    ('speaker', 'recording or name stem')
    """
    names = groups.removesuffix(_NOT_CHOSEN).split(", ")
    return " or ".join(dict.fromkeys("recording" if name in _RECORDING else name for name in names))


def flattered(scores: Scores) -> tuple[str, float] | None:
    """Groups that make a run's RMSE too low, and the RMSE to expect on new ones; None where there are no such groups."""
    leak = scores.leak
    if leak is None or leak.chosen or leak.gap < LITTLE * leak.random_rmse:
        return None
    return group_noun(leak.groups), scores.oof_rmse * leak.grouped_rmse / leak.random_rmse


def headline(scores: Scores, group_by: str | None) -> str:
    """What a run's RMSE means: for which clips to expect it, with its interval, beside the baseline and the raters' ceiling.

    Parameters
    ----------
    scores : Scores
    group_by : str or None, column that keeps clips together in the folds
    """
    like = scores.constant_rmse
    if (known := flattered(scores)) is not None:
        clips = f"new clips of a known {known[0]}"
    else:
        clips = f"clips of a new {group_by}" if group_by and group_by != "auto" else "new clips"
    ends = scores.ends("rmse")
    interval = f" (95 % interval: {interval_text(ends, like=like, decimals=3)})" if ends is not None else ""
    ceiling = ""
    if scores.ceiling is not None:
        ceiling = f", and the raters' own disagreement allows {text(scores.ceiling.rmse, like=like, decimals=3)}"
    rmse, baseline = (text(value, like=like, decimals=3) for value in (scores.oof_rmse, like))
    return f"On {clips}, expect an RMSE of {rmse}{interval}; the mean label gives {baseline}{ceiling}."


def run_label(run: Run, best: Run | None = None) -> str:
    """A run by its error, its data set, its folds and its name."""
    mark = " · best here" if best is not None and run.id == best.id else ""
    kind = f" · {run.kind.label}" if run.kind.label else ""
    folds = fold_plan(run.record.settings.ensemble, run.record.grouped_by) + kind
    return f"RMSE {text(run.scores.oof_rmse)} · {run.record.dataset.name} · {folds} · {run.name}{mark}"


def analysed(run: Run) -> list[str]:
    """How the clips of a run were analysed, in words; empty where they were taken as they are."""
    words = run.record.settings.extract.treatment.words
    return [words] if words else []


def changed_since(what: str) -> None:
    """Say that a result was computed from other files than there are now."""
    st.warning(f"Clips or tables have changed since {what}.", icon=":material/history:")


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Show an error on the page, at the place where it arose; a defect of Earmark goes to the server's log in full."""
    try:
        yield
    except EarmarkError as error:
        st.error(plain(str(error)), icon=":material/error:")
    except OSError as error:
        st.error(plain(os_error_message(error)), icon=":material/error:")
    except Exception as error:
        logging.getLogger("earmark").exception("defect")
        what = f"An error of Earmark itself, {type(error).__name__}. Finished work is kept; the server's output has the details."
        st.error(plain(what), icon=":material/error:")
