"""A training drawn: its errors as they come, and what a finished run says of itself. Errors are in the unit of the label."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app import ui_charts_training, ui_live, ui_resources
from app.ui_words import BADGES, NOTHING, SWITCHES, VERDICTS, count, duration, fold_plan, plain
from core.events import FitFinished, FoldScored, LeakGapFound, Recorded, RoundsScored, TrainingStarted, Warned
from core.runs import Run

_NOT_CHOSEN = ", which was not chosen"
_RECORDING = ("identical audio", "near-identical")  # kinds of groups that are one recording
_LITTLE = 0.02  # of the error: groups that change it less than this make no difference worth a warning
_REPEATS_NAMED = 4


def draw_training(recorded: list[Recorded], plan: dict[str, Any], best: float | None) -> None:
    """Errors as they come: each member on each fold, all that is fitted so far against the constant, and rounds of boosting.

    Parameters
    ----------
    recorded : events of the job so far
    plan : the ensemble's settings, as the job's request has them
    best : RMSE of the best run before that can be compared, or None
    """
    for one in recorded:
        if isinstance(one.event, Warned):
            st.warning(plain(one.event.text), icon=":material/warning:")
    ours = [one.event for one in ui_live.of_ensemble(recorded)]
    leak = next((event for event in ours if isinstance(event, LeakGapFound)), None)
    if leak is not None:
        leak_words(leak.random_rmse, leak.grouped_rmse, leak.groups, chosen=plan.get("groups") is not None)
    total = next((event.fits for event in ours if isinstance(event, TrainingStarted)), 0)
    if not total:
        return
    fits = [event for event in ours if isinstance(event, FitFinished)]
    scored = sum(isinstance(event, FoldScored) for event in ours)
    folds, repeats = plan["folds"], plan.get("repeats", 1)
    last = fits[-1] if fits else None
    with st.grid(4, min_column_width=190):
        st.metric("RMSE out of fold, so far", f"{last.oof_rmse:.4f}" if last else NOTHING, border=True, help="Mean of the members.")
        st.metric("Constant predictor", f"{last.constant_rmse:.4f}" if last else NOTHING, border=True, help="On the same clips.")
        st.metric(
            "Best run before", NOTHING if best is None else f"{best:.4f}", border=True, help="On this data, with these groups."
        )
        st.metric("Folds complete", f"{scored} of {folds * repeats}", border=True)
    if (beside := ui_live.stage(recorded)) is not None:
        st.caption(f"The ensemble is fitted. Now: {plain(beside)}. What is drawn here is the ensemble alone.")
    if not fits:
        st.caption("The first fits are under way ...")
    else:
        with st.grid(2, min_column_width=320):
            st.altair_chart(
                ui_charts_training.fold_scores(fits, plan["members"], folds, repeats),
                key="fold_scores",
                alt="RMSE by member and fold",
            )
            st.altair_chart(
                ui_charts_training.running_error(fits, total, best),
                key="running_error",
                alt="RMSE so far, beside the constant's and the best run's",
            )
    if any(isinstance(event, RoundsScored) for event in ours):
        st.markdown("**Rounds of boosting**")
        draw_rounds(ours, plan["members"], folds)


def draw_rounds(events: Sequence[object], members: Sequence[str], folds: int) -> None:
    """A small chart for each boosted member: its error by round, a line a fold."""
    rounds = [event for event in events if isinstance(event, RoundsScored)]
    told = {event.model for event in rounds}
    st.caption("RMSE on the rows that early stopping looks at: training rows, not the fold's score.")
    with st.grid(min(3, len(told)), min_column_width=260):
        for number, member in enumerate(members):
            if member in told:
                with st.container():
                    st.caption(plain(member))
                    curves = ui_charts_training.round_curves([one for one in rounds if one.model == member], folds)
                    st.altair_chart(curves, key=f"rounds_{number}", alt=f"RMSE of {member} by round, on the early-stopping rows")


def leak_words(random_rmse: float, grouped_rmse: float, groups: str, *, chosen: bool) -> None:
    """What a cheap model says of the folds, before the long work."""
    name = group_noun(groups)
    with st.container(border=True):
        st.markdown(f"**Leak gap {grouped_rmse - random_rmse:+.3f}**, as a cheap model sees it")
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            st.metric("In random folds", f"{random_rmse:.3f}", width="content")
            st.metric(plain(f"Grouped by {name}"), f"{grouped_rmse:.3f}", width="content")
            st.markdown(plain(leak_sentence(random_rmse, grouped_rmse, groups, chosen=chosen)), width="content")


def group_noun(groups: str) -> str:
    """What one of the groups is, of which a leak gap tells.

    Examples
    --------
    >>> group_noun("speaker, which was not chosen"), group_noun("identical audio, name stem, near-identical")
    ('speaker', 'recording or name stem')
    """
    names = groups.removesuffix(_NOT_CHOSEN).split(", ")
    return " or ".join(dict.fromkeys("recording" if name in _RECORDING else name for name in names))


def leak_sentence(random_rmse: float, grouped_rmse: float, groups: str, *, chosen: bool) -> str:
    """What follows from the two errors of a cheap model.

    Examples
    --------
    >>> leak_sentence(0.61, 0.79, "speaker", chosen=True)
    'Random folds would have told 0.61; for a new speaker expect 0.79.'
    >>> leak_sentence(0.61, 0.79, "speaker, which was not chosen", chosen=False)
    'These folds are random and tell 0.61; for a new speaker expect 0.79.'
    >>> leak_sentence(0.61, 0.615, "room", chosen=True)
    'It makes little difference whether the room is known.'
    """
    name = group_noun(groups)
    if grouped_rmse - random_rmse < _LITTLE * random_rmse:
        return f"It makes little difference whether the {name} is known."
    told = "Random folds would have told" if chosen else "These folds are random and tell"
    return f"{told} {random_rmse:.2f}; for a new {name} expect {grouped_rmse:.2f}."


def show_run(run: Run, repeating: Sequence[str]) -> None:
    """All that a finished run says, the most important first.

    Parameters
    ----------
    run : Run
    repeating : columns of the table whose values several clips share
    """
    scores, settings = run.scores, run.record["settings"]["ensemble"]
    st.subheader("Result")
    st.caption(" · ".join([plain(run.id), count(run.record["dataset"]["train_clips"], "clip"), plain(fold_plan(settings)),
                           settings["preset"], duration(run.record["seconds"])]))  # fmt: skip
    _warnings(run, repeating)
    _figures(scores, settings)
    _leak_gap(scores.get("leak"))
    _judged(scores)
    with st.grid(2, min_column_width=340):
        with st.container():
            st.markdown("**Weights of the blend**")
            table = pd.DataFrame(
                [(name, scores["blend"].get(name, 0.0), one["oof_rmse"]) for name, one in scores["models"].items()],
                columns=["member", "weight", "oof_rmse"],
            )
            st.altair_chart(
                ui_charts_training.member_weights(table), key="member_weights", alt="Weight of each member in the blend"
            )
            st.caption(_blend_words(scores.get("blend_rules", {}), settings))
        with st.container():
            st.markdown("**Prediction by label**")
            st.altair_chart(
                ui_charts_training.oof_scatter(ui_resources.oof(run)), key="oof_scatter", alt="Out-of-fold prediction by label"
            )
    st.markdown("**Members**")
    _member_table(scores, settings, run.record["settings"]["extract"]["features"])
    _downloads(run)
    events = [one.event for one in ui_resources.events(run.folder / "events.jsonl")]
    if any(isinstance(event, RoundsScored) for event in events):
        with st.expander("Rounds of boosting", icon=":material/show_chart:", expanded=True):
            draw_rounds(events, settings["members"], settings["folds"])
    aside = run.record["set_aside"]
    if aside:
        with st.expander(f"{count(len(aside), 'clip')} set aside", icon=":material/warning:"):
            st.dataframe(
                pd.DataFrame(aside),
                hide_index=True,
                key="run_set_aside",
                alt="Clips that were set aside",
            )


def _warnings(run: Run, repeating: Sequence[str]) -> None:
    scores, record = run.scores, run.record
    leak, proposals = scores.get("leak"), record.get("proposed_groups", [])
    flatters = leak is not None and not leak["chosen"] and leak["gap"] >= _LITTLE * leak["random_rmse"]
    if leak is not None and flatters:
        name = group_noun(leak["groups"])
        expect = scores["oof_rmse"] * leak["grouped_rmse"] / leak["random_rmse"]
        st.warning(
            plain(
                f"These folds are random, and clips share a {name}: this error is that of a {name} that is known. "
                f"For a new {name} expect about {expect:.2f} instead of {scores['oof_rmse']:.2f}: a cheap model goes from "
                f"{leak['random_rmse']:.2f} to {leak['grouped_rmse']:.2f}. Choose it under Groups."
            ),
            icon=":material/groups:",
        )
    elif leak is None and repeating and not record["settings"]["ensemble"]["groups"]:
        st.warning(
            f"Trained without groups, although several clips share a {plain(' or a '.join(repeating[:3]))}: where new clips come "
            "from others, expect a larger error than this.",
            icon=":material/groups:",
        )
    for one in proposals:
        st.warning(
            plain(f"Not kept together: {one['reason']} ({one['kind']}). Groups: auto keeps them in one fold."),
            icon=":material/link:",
        )
    for one in record.get("label_leaks", []):
        st.error(
            plain(f"The column {one['column']} {one['reason']}: a score with it says nothing of new clips. Leave it out."),
            icon=":material/key:",
        )
    if scores["oof_rmse"] >= scores["constant_rmse"]:
        st.warning("This is no better than always saying the mean label: nothing was learned.", icon=":material/trending_flat:")
    filled = (record["test"] or {}).get("filled_with_training_median")
    if filled:
        st.warning(
            f"{count(len(filled), 'test clip')} cannot be read and got the training median: {plain(', '.join(filled[:20]))}",
            icon=":material/warning:",
        )


def _figures(scores: dict[str, Any], settings: dict[str, Any]) -> None:
    gain = 1 - scores["oof_rmse"] / scores["constant_rmse"]
    by_repeat = scores.get("oof_rmse_by_repeat", [])
    spread = ""
    if len(by_repeat) > _REPEATS_NAMED:
        spread = f"{min(by_repeat):.3f} to {max(by_repeat):.3f} in {len(by_repeat)} repeats"
    elif len(by_repeat) > 1:
        spread = "by repeat " + ", ".join(f"{value:.3f}" for value in by_repeat)
    interval = scores["interval"]
    with st.grid(3, min_column_width=220):
        _figure(scores, "oof_rmse", "RMSE out of fold", f"{abs(gain):.0%} {'below' if gain > 0 else 'above'} the constant", spread)
        _figure(scores, "constant_rmse", "Constant predictor", "always says the mean label of the other folds")
        _figure(
            scores,
            "interval_coverage",
            "Labels inside their interval",
            f"{interval['level']:.0%} asked for; mean width {interval['mean_width']:.3g}",
            percent=True,
        )
        _figure(scores, "oof_mae", "MAE", "mean distance from the label")
        _figure(scores, "oof_pearson", "Pearson", "correlation with the label")
        _figure(scores, "oof_r2", "R²", "share of the labels' variance")


def _figure(scores: dict[str, Any], name: str, label: str, *notes: str, percent: bool = False) -> None:
    value, badge = scores[name], scores["badges"].get(name)
    with st.container(border=True, height="stretch"):
        shown = "undefined" if value is None else f"{value:.1%}" if percent else f"{value:.4f}"
        with st.container(horizontal=True, vertical_alignment="top", horizontal_alignment="distribute"):
            st.metric(label, shown, width="content")
            if badge is not None:
                colour, icon, definition = BADGES[badge]
                st.badge(badge, icon=icon, color=colour, help=definition)  # type: ignore[arg-type]
        st.caption("  \n".join(plain(note) for note in notes if note))


def _leak_gap(leak: dict[str, Any] | None) -> None:
    if leak is None:
        st.caption("Nothing was found that ties clips together; so there is no leak gap.")
    else:
        leak_words(leak["random_rmse"], leak["grouped_rmse"], leak["groups"], chosen=leak["chosen"])


def _judged(scores: dict[str, Any]) -> None:
    """Verdicts of the switches, and the self-test."""
    judged, tested = scores.get("verdicts") or {}, scores.get("self_test")
    if not judged and tested is None:
        return
    st.markdown("**Switches**")
    for name, one in judged.items():
        colour, icon = VERDICTS[one["verdict"]]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(one["verdict"], icon=icon, color=colour)  # type: ignore[arg-type]
            told = one["sentence"].removeprefix(one["verdict"]).strip()  # the badge has said it
            st.markdown(plain(f"{SWITCHES.get(name, name)}, {told}"), width="content")
    if tested is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            passed = tested["passed"]
            st.badge(
                "passed" if passed else "failed",
                icon=":material/verified:" if passed else ":material/gpp_bad:",
                color="green" if passed else "red",
                help="Passed where training on permuted labels is not clearly better than the constant predictor.",
            )
            told = "nothing is learned where there is nothing to learn" if passed else "something is learned that no clip tells"
            st.markdown(
                plain(f"{SWITCHES['self_test']}: on permuted labels {tested['ratio']:.3f} of the constant's error: {told}"),
                width="content",
            )
    if judged:
        frame = pd.DataFrame(
            [
                (SWITCHES.get(name, name), one["difference"], one["low"], one["high"], one["verdict"])
                for name, one in judged.items()
            ],
            columns=["switch", "difference", "low", "high", "verdict"],
        )
        st.altair_chart(
            ui_charts_training.verdicts(frame), key="verdicts", alt="Change of the RMSE by each switch, with its interval"
        )


def _blend_words(rules: dict[str, int], settings: dict[str, Any]) -> str:
    if settings.get("blend") == "mean" or len(settings["members"]) == 1:
        return "All members count alike."
    mean, learned = rules.get("mean", 0), rules.get("weights", 0)
    ways = [f"learned weights in {count(learned, 'fold')}"] if learned else []
    ways += [f"the mean of the members that do well in {count(mean, 'fold')}"] if mean else []
    said = ", ".join(ways)
    return f"{said[:1].upper()}{said[1:]}, as each fold's training rows decide."


def _member_table(scores: dict[str, Any], settings: dict[str, Any], sets: Sequence[str]) -> None:
    folds, repeats = settings["folds"], settings.get("repeats", 1)
    places = [f"fold {ui_charts_training.place(repeat, fold, repeats)}" for repeat in range(repeats) for fold in range(folds)]
    rows = [
        [name, scores["blend"].get(name), one["oof_rmse"], one["fold_rmse_mean"], one["fold_rmse_std"], _chosen(one["sets"], sets),
         *one["fold_rmse"]]
        for name, one in scores["models"].items()
    ]  # fmt: skip
    rows.append(["ensemble", 1.0, scores["oof_rmse"], scores["fold_rmse_mean"], scores["fold_rmse_std"], "", *scores["fold_rmse"]])
    frame = pd.DataFrame(rows, columns=["member", "weight", "RMSE", "mean", "std", "sets", *places])
    number = st.column_config.NumberColumn
    formats: dict[str, Any] = {name: number(format="%.4f") for name in places}
    formats |= {
        "member": st.column_config.TextColumn("Member", pinned=True),
        "weight": number("Weight", format="%.2f"),
        "RMSE": number("RMSE", format="%.4f", help="Of all clips out of fold; the mean over repeats"),
        "mean": number("Mean", format="%.4f", help="Of the folds' own RMSE"),
        "std": number("Std", format="%.4f", help="Of the folds' own RMSE"),
        "sets": st.column_config.TextColumn(
            "Feature sets", width="medium", help="As each fold chose, where none were named; in how many folds"
        ),
    }
    st.dataframe(
        frame,
        hide_index=True,
        column_config=formats,
        key="result_table",
        alt="Weight, RMSE and feature sets by member",
    )


def _chosen(taken: Sequence[str], sets: Sequence[str]) -> str:
    """Sets by how many folds took them: ``all in 4; ultra,mfcc in 1``; once where all took the same."""
    together = ",".join(sets)
    named = ["all" if name == together and len(sets) > 1 else name for name in taken]
    by_count = sorted(dict.fromkeys(named), key=lambda name: -named.count(name))
    return by_count[0] if len(by_count) == 1 else "; ".join(f"{name} in {named.count(name)}" for name in by_count)


def _downloads(run: Run) -> None:
    """The files to take away."""
    files = {
        "Submission": (run.record["submission"], "text/csv", ""),
        "Out-of-fold predictions": (run.folder / "oof.csv", "text/csv", f"oof_{run.id}.csv"),
        "Each repeat, NumPy": (run.folder / "oof_repeats.npz", "application/octet-stream", f"oof_{run.id}.npz"),
        "Test intervals": (run.folder / "test_predictions.csv", "text/csv", f"test_{run.id}.csv"),
    }
    with st.container(horizontal=True):
        for label, (file, kind, name) in files.items():
            if file and Path(file).is_file():
                st.download_button(
                    label,
                    Path(file).read_bytes(),
                    name or Path(file).name,
                    kind,
                    icon=":material/download:",
                    on_click="ignore",
                    key=f"download_{label}",
                )
    if not run.record["submission"]:
        st.caption("This data set has no test table, so there is no submission.")
