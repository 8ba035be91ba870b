"""Curves of a fine-tuning, while it runs and afterwards: losses by step, errors by epoch, in the unit of the label."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import streamlit as st

from app.charts import finetune, training
from app.views import live
from app.views.training import leak_words
from app.words import NOTHING, plain
from core.events import EpochScored, FinetuneStarted, FitFinished, FoldScored, LeakGapFound, Recorded, StepDone, Warned
from core.runtime.device import Device
from core.scoring.figures import text

_GB = 1e9
_VALIDATION = "validation rows, which choose the best epoch: training rows, not the fold's score"


def draw_finetuning(recorded: list[Recorded], settings: dict[str, Any], best: float | None, device: Device) -> None:
    """Metrics and curves of a running fine-tuning.

    Parameters
    ----------
    recorded : events of the job so far
    settings : of the fine-tuning, as the job's request has them
    best : RMSE of the best run before that can be compared, or None
    device : Device on which it computes
    """
    ours = [one.event for one in recorded]
    for event in ours:
        if isinstance(event, Warned):
            st.warning(plain(event.text), icon=":material/warning:")
    leak = next((event for event in ours if isinstance(event, LeakGapFound)), None)
    if leak is not None:
        leak_words(leak.random_rmse, leak.grouped_rmse, leak.groups, chosen=settings["group_by"] is not None)
    began = next((event for event in ours if isinstance(event, FinetuneStarted)), None)
    if began is None:
        return
    _figures(ours, began, best, device)
    if any(isinstance(event, StepDone) for event in ours):
        draw_curves(ours, settings, of="job", ticks=True)
    else:
        st.caption("The first steps are running ...")


def draw_curves(events: Sequence[object], settings: dict[str, Any], *, of: str = "run", ticks: bool = False) -> None:
    """Loss and learning rate by step, error by epoch, and of the folds that are scored.

    Parameters
    ----------
    events : of a fine-tuning
    settings : of the fine-tuning, as its request or record has them
    of : str, tells its charts from those of another on the same page
    ticks : bool, whether more is to come
    """
    steps = [event for event in events if isinstance(event, StepDone)]
    epochs = [event for event in events if isinstance(event, EpochScored)]
    if not steps:
        return
    folds, most, table = settings["folds"], max(step.steps for step in steps), finetune.step_table(steps)
    charts, draw = finetune, live.draw_chart
    with st.grid(2, min_column_width=320):
        with st.container():
            st.markdown("**Loss by step**")
            what = "Loss on the training rows, by step and fold"
            draw(table, charts.loss_chart, folds, most, settings["loss"], key=f"losses_{of}", what=what, zooms=True, ticks=ticks)
            st.caption("On the training rows, with labels scaled to mean 0 and variance 1.")
        with st.container():
            st.markdown("**RMSE by epoch**")
            what = "RMSE on the validation rows, by epoch and fold"
            errors = charts.epoch_table(epochs)
            draw(errors, charts.epoch_chart, folds, settings["epochs"], key=f"epochs_{of}", what=what, zooms=True, ticks=ticks)
            st.caption(f"On {_VALIDATION}. A large point is the best epoch; the fold uses it.")
        rows = [_as_fit(event) for event in events if isinstance(event, FoldScored)]
        if ticks or rows:
            with st.container():
                st.markdown("**Score of the folds**")
                scored = training.fold_table(rows, 1)
                what = "RMSE of each fold on its held-out rows"
                draw(
                    scored,
                    training.fold_chart,
                    ("fine-tuned",),
                    folds,
                    1,
                    key=f"fold_scores_{of}",
                    what=what,
                    ticks=ticks,
                )
                st.caption("On each fold's held-out rows; drawn when the fold ends.")
        with st.container():
            st.markdown("**Learning rate**")
            last = table[table["fold"] == steps[-1].fold + 1]
            draw(last, charts.rate_chart, most, key=f"rates_{of}", what="Learning rate by step", ticks=ticks)
            st.caption(f"In fold {steps[-1].fold + 1}. {_whose(settings)}")
    if ticks:
        st.caption("Ctrl and the wheel zoom loss and RMSE by epoch; drag to move, double click to reset.")


def _figures(events: Sequence[object], began: FinetuneStarted, best: float | None, device: Device) -> None:
    scored = {event.fold: event.rmse for event in events if isinstance(event, FoldScored)}
    steps = [event for event in events if isinstance(event, StepDone)]
    now = steps[-1] if steps else None
    apart = finetune.epoch_table([event for event in events if isinstance(event, EpochScored)])
    apart = apart[apart["fold"] == now.fold + 1] if now is not None else apart[:0]
    so_far = float(np.sqrt(np.mean(np.square(list(scored.values()))))) if scored else None
    memory = NOTHING if now is None else f"{max(step.memory_gb for step in steps):.1f} GB"
    total = f" Of {device.memory_bytes / _GB:.0f} GB of the {plain(device.name)}." if device.memory_bytes else ""
    with st.grid(4, min_column_width=190):
        st.metric(
            "RMSE of scored folds",
            NOTHING if so_far is None else text(so_far),
            border=True,
            help="On the folds' held-out rows; each fold has the same weight.",
        )
        st.metric(
            "Best run before",
            NOTHING if best is None else text(best, like=so_far),
            border=True,
            help="On this data set, with these groups.",
        )
        st.metric("Folds complete", f"{len(scored)} of {began.folds}", border=True)
        st.metric(
            "RMSE, validation rows",
            text(float(apart["rmse"].min()), like=so_far) if len(apart) else NOTHING,
            border=True,
            help=f"The best epoch so far of the current fold, on {_VALIDATION}.",
        )
        st.metric("Epoch", NOTHING if now is None else f"{now.epoch:.1f} of {began.epochs}", border=True, help=_fold_words(now))
        st.metric("Learning rate", NOTHING if now is None else f"{now.learning_rate:.2e}", border=True)
        where = "GPU" if device.kind == "cuda" else "process"
        st.metric(f"Memory of the {where}", memory, border=True, help=f"The most so far.{total}")
        st.metric(
            "Parameters trained",
            share_words(began.trained / began.parameters),
            border=True,
            help=f"{began.trained:,} of {began.parameters:,}: adapters, pooling, fusion and head.",
        )


def share_words(share: float) -> str:
    """A share of parameters with two digits.

    Examples
    --------
    >>> share_words(0.0097312), share_words(0.97347), share_words(0.0004)
    ('0.97%', '97%', '0.04%')
    """
    percent = 100 * share
    return f"{percent:.0f}%" if percent >= 10 else f"{percent:.1f}%" if percent >= 1 else f"{percent:.2f}%"


def _fold_words(now: StepDone | None) -> str:
    return "Per fold, at most." if now is None else f"Of fold {now.fold + 1}, at most: it stops when it no longer improves."


def _whose(settings: dict[str, Any]) -> str:
    if settings["text"] == "none" and settings["audio_encoder"] != "lora":  # no encoder has adapters
        return "For pooling, fusion and head."
    return (
        f"For the adapters; that of pooling, fusion and head follows the same schedule, up to {settings['head_learning_rate']:g}."
    )


def _as_fit(event: FoldScored) -> FitFinished:
    """A scored fold as a fit, which the chart of folds draws."""
    return FitFinished("fine-tuned", event.fold, event.rmse, None, 0.0, event.rmse, event.rmse)
