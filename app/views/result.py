"""What a finished run says of itself: figures with badges, errors clip by clip, files to take away. In the unit of the label."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import streamlit as st

from app import clip_urls, resources, session
from app.charts import training
from app.views.epochs import draw_curves, share_words
from app.views.training import draw_rounds, leak_words
from app.words import BADGES, SWITCHES, VERDICTS, count, duration, errors_in_words, flattered, fold_plan, plain
from core.events import RoundsScored, StepDone
from core.runs import BLEND, ENSEMBLE, FINETUNE, Run

_REPEATS_NAMED = 4
_WORST = 50
_MOST_GROUPS = 30
_NEXT = (
    ("predict", "Score new clips", ":material/target:", "next_step"),
    ("explain", "Explain this run", ":material/lightbulb:", "go_explain"),
    ("runs", "Compare runs", ":material/leaderboard:", "go_runs"),
)


def show_run(run: Run, repeating: Sequence[str]) -> None:
    """All that a finished run says, the most important first.

    Parameters
    ----------
    run : Run
    repeating : columns of the table whose values several clips share
    """
    scores, settings = run.scores, run.record["settings"]["ensemble"]
    how = {FINETUNE: "fine-tuned", BLEND: "blend of runs"}.get(run.kind) or settings["preset"]
    st.subheader("Result")
    st.caption(" · ".join([plain(run.id), count(run.record["dataset"]["train_clips"], "clip"), plain(fold_plan(settings)),
                           how, duration(run.record["seconds"])]))  # fmt: skip
    _warnings(run, repeating)
    _figures(scores, settings)
    _leak_gap(scores.get("leak"))
    _judged(scores, "The blend beside each run" if run.kind == BLEND else "Switches")
    oof = None
    with errors_in_words():
        oof = resources.oof(run)
    if oof is not None:
        clip_by_clip(run, repeating)
    with st.grid(2, min_column_width=340):
        with st.container():
            if run.is_finetuned:
                _networks(run)
            else:
                _blend(run)
        if oof is not None:
            with st.container():
                st.markdown("**Labels inside their interval**")
                st.altair_chart(
                    training.coverage_by_label(coverage_table(oof), scores["interval"]["level"]),
                    key="coverage_by_label",
                    alt="Share of labels inside their interval, by label",
                )
                st.caption(f"Asked for: {scores['interval']['level']:.0%}. Bins of about as many clips each.")
    if not run.is_finetuned:
        whole = "blend" if run.kind == BLEND else "ensemble"
        st.markdown("**Runs**" if run.kind == BLEND else "**Members**")
        _member_table(scores, settings, run.record["settings"]["extract"]["features"], whole)
    _downloads(run)
    with st.container(horizontal=True):
        for page, label, icon, key in _NEXT:
            if page == "explain" and run.kind != ENSEMBLE:  # it is not explained by columns
                continue
            kind: Literal["primary", "secondary"] = "primary" if key == "next_step" else "secondary"
            st.button(label, icon=icon, key=key, type=kind, on_click=_go, args=(run.id, page))
    events = [one.event for one in resources.events(run.folder / "events.jsonl")]
    if any(isinstance(event, RoundsScored) for event in events):
        with st.expander("Rounds of boosting", icon=":material/show_chart:", expanded=True):
            draw_rounds(events, settings["members"], settings["folds"])
    if run.is_finetuned and any(isinstance(event, StepDone) for event in events):
        with st.expander("Losses and epochs", icon=":material/show_chart:", expanded=True):
            draw_curves(events, run.record["settings"]["finetune"])
    aside = run.record["set_aside"]
    if aside:
        with st.expander(f"{count(len(aside), 'clip')} set aside", icon=":material/warning:"):
            st.dataframe(
                pd.DataFrame(aside),
                hide_index=True,
                key="run_set_aside",
                alt="Clips that were set aside",
            )


def _blend(run: Run) -> None:
    """How much each member of an ensemble counts, or each run of a blend."""
    scores = run.scores
    st.markdown("**Weights of the blend**")
    table = pd.DataFrame(
        [(name, scores["blend"].get(name, 0.0), one["oof_rmse"]) for name, one in scores["models"].items()],
        columns=["member", "weight", "oof_rmse"],
    )
    st.altair_chart(training.member_weights(table), key="member_weights", alt="Weight of each member in the blend")
    words = _blend_words(scores.get("blend_rules", {}), run.record["settings"]["ensemble"])
    st.caption("All runs count alike." if run.kind == BLEND else words)


def _networks(run: Run) -> None:
    """Of each fold's network the error and the epoch that was taken; and what was trained."""
    st.markdown("**Folds**")
    scores, settings = run.scores, run.record["settings"]["finetune"]
    epochs = run.record.get("epochs") or [None] * len(scores["fold_rmse"])
    frame = pd.DataFrame(
        [(number + 1, rmse, epoch) for number, (rmse, epoch) in enumerate(zip(scores["fold_rmse"], epochs, strict=True))],
        columns=["fold", "rmse", "epoch"],
    ).astype({"epoch": float})
    number = st.column_config.NumberColumn
    st.dataframe(
        frame,
        hide_index=True,
        key="result_table",
        alt="RMSE of each fold, and the epoch that was taken",
        column_config={
            "fold": number("Fold", format="%d"),
            "rmse": number("RMSE", format="%.4f", help="On the fold's own rows"),
            "epoch": number(
                "Epoch taken", format="%d", help=f"Of up to {settings['epochs']}; empty: the last, as no rows were set apart"
            ),
        },
    )
    told = f"Mean {scores['fold_rmse_mean']:.4f}, standard deviation {scores['fold_rmse_std']:.4f}."
    share, of = share_words(scores["trained_share"]), f"{scores['trained_parameters']:,} of {scores['parameters']:,}"
    st.caption(f"{told} Trained: {share} of the parameters, {of}.  \n{plain(network_words(settings))}")


def network_words(settings: dict[str, Any]) -> str:
    """What a fine-tuned run hears and reads.

    Examples
    --------
    >>> of = {"audio": "frozen", "audio_model": "a/b", "layer": 7, "text": "describe", "text_model": "c/d", "fusion": "gated"}
    >>> network_words(of)
    'Hears with a/b (frozen, layer 7), reads what describes its acoustics with c/d, fusion gated.'
    >>> network_words(of | {"text": "none"})
    'Hears with a/b (frozen, layer 7), reads nothing.'
    """
    layer = "last layer" if settings["layer"] is None else f"layer {settings['layer']}"
    audio = {"frozen": f"frozen, {layer}", "lora": f"with adapters, {layer}"}.get(settings["audio"])
    hears = f"Hears with {settings['audio_model']} ({audio})" if audio else "Hears nothing"
    if settings["text"] == "none":
        return f"{hears}, reads nothing."
    way, _, of = settings["text"].partition("=")
    source = {"column": f"the column {of}", "whisper": f"what {of} recognises"}.get(way, "what describes its acoustics")
    fusion = f", fusion {settings['fusion']}" if audio else ""
    return f"{hears}, reads {source} with {settings['text_model']}{fusion}."


def _warnings(run: Run, repeating: Sequence[str]) -> None:
    scores, record = run.scores, run.record
    leak, proposals = scores.get("leak"), record.get("proposed_groups", [])
    flatters = flattered(scores)
    if leak is not None and flatters is not None:
        name, expect = flatters
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


def _judged(scores: dict[str, Any], title: str) -> None:
    """Verdicts of the switches, or of a blend; and the self-test."""
    judged, tested = scores.get("verdicts") or {}, scores.get("self_test")
    if not judged and tested is None:
        return
    st.markdown(f"**{title}**")
    for name, one in judged.items():
        colour, icon = VERDICTS[one["verdict"]]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(one["verdict"], icon=icon, color=colour)  # type: ignore[arg-type]
            told = one["sentence"].removeprefix(one["verdict"]).strip()  # the badge has said it
            st.markdown(plain(f"{SWITCHES.get(name, name.capitalize())}, {told}"), width="content")
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
        st.altair_chart(training.verdicts(frame), key="verdicts", alt="Change of the RMSE by each switch, with its interval")


def _blend_words(rules: dict[str, int], settings: dict[str, Any]) -> str:
    if settings.get("blend") == "mean" or len(settings["members"]) == 1:
        return "All members count alike."
    mean, learned = rules.get("mean", 0), rules.get("weights", 0)
    ways = [f"learned weights in {count(learned, 'fold')}"] if learned else []
    ways += [f"the mean of the members that do well in {count(mean, 'fold')}"] if mean else []
    said = ", ".join(ways)
    return f"{said[:1].upper()}{said[1:]}, as each fold's training rows decide."


def _member_table(scores: dict[str, Any], settings: dict[str, Any], sets: Sequence[str], whole: str) -> None:
    folds, repeats = settings["folds"], settings.get("repeats", 1)
    places = [f"fold {training.place(repeat, fold, repeats)}" for repeat in range(repeats) for fold in range(folds)]
    rows = [
        [name, scores["blend"].get(name), one["oof_rmse"], one["fold_rmse_mean"], one["fold_rmse_std"], _chosen(one["sets"], sets),
         *one["fold_rmse"]]
        for name, one in scores["models"].items()
    ]  # fmt: skip
    rows.append([whole, 1.0, scores["oof_rmse"], scores["fold_rmse_mean"], scores["fold_rmse_std"], "", *scores["fold_rmse"]])
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


def _go(run_id: str, page: str) -> None:
    session.open_run(run_id)
    session.go(page)


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
        if run.kind != BLEND:
            st.download_button(
                "Models",
                lambda: models_zip(run),
                f"models_{run.id}.zip",
                "application/zip",
                icon=":material/download:",
                on_click="ignore",
                key="download_models",
                help="Adapters and heads of all folds with the record of the run, as one zip; the encoders stay where they are."
                if run.is_finetuned
                else "The models of all folds with the record of the run, as one zip.",
            )
    if run.kind == BLEND:
        st.caption("A blend has no models of its own: those of its runs are taken away there.")
    if not run.record["submission"]:
        why_not = "not all of its runs have one on the same clips" if run.kind == BLEND else "this data set has no test table"
        st.caption(f"There is no submission: {why_not}.")


def models_zip(run: Run) -> bytes:
    """The models of a run with its record, as they stand in its folder."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(run.folder / "run.json", f"{run.id}/run.json")
        for name in run.record["model_files"]:
            archive.write(run.models / name, f"{run.id}/models/{name}")
    return packed.getvalue()


@st.fragment
@errors_in_words()
def clip_by_clip(run: Run, repeating: Sequence[str]) -> None:
    """Predictions and errors of each clip, to be heard; errors by label and by group.

    Parameters
    ----------
    run : Run
    repeating : columns of the table whose values several clips share
    """
    oof, clips = resources.oof(run), session.clips_of(run)
    with st.grid(2, min_column_width=340):
        with st.container():
            st.markdown("**Prediction by label**")
            st.altair_chart(training.oof_scatter(oof), key="oof_scatter", on_select="rerun", alt="Out-of-fold prediction by label")
            st.caption("Click a point to hear its clip.")
        with st.container():
            st.markdown("**Error by label**")
            st.altair_chart(
                training.error_by_label(oof, error_bins(oof)), key="error_by_label", alt="Error by label, with its mean"
            )
            st.caption("Above 0 the prediction is too high. Line: mean error of about as many clips each.")
    picked = [point.get("clip") for point in session.picked("oof_scatter").get("clip", [])]
    if picked and len(row := oof[oof["filename"] == picked[0]]):
        _heard(row.iloc[0], clips.get(picked[0]))
    left, right = st.tabs(["Largest errors", "By group"], key="errors_view", on_change="rerun")
    if left.open:
        with left:
            _largest(oof, clips)
    if right.open:
        with right:
            _by_group(run, oof, repeating)


def _heard(row: pd.Series, path: Path | None) -> None:
    with st.container(border=True):
        error = row["oof_prediction"] - row["label"]
        st.markdown(
            f"**{plain(row['filename'])}** · label {row['label']:.10g} · predicted {row['oof_prediction']:.3f}, "
            f"{row['low']:.3f} to {row['high']:.3f} · error {error:+.3f} · fold {int(row['fold'])}"
        )
        if path is not None and path.is_file():
            st.audio(str(path))
        else:
            st.caption("The clip is not to be heard: it is no longer in its data set.")


def _largest(oof: pd.DataFrame, clips: dict[str, Path]) -> None:
    frame = oof.assign(error=oof["oof_prediction"] - oof["label"])
    frame = frame.iloc[np.argsort(-frame["error"].abs().to_numpy(), kind="stable")[:_WORST]]
    shown = frame[
        [name for name in ("filename", "label", "oof_prediction", "error", "low", "high", "fold", "group") if name in frame]
    ]
    number = st.column_config.NumberColumn
    columns: dict[str, Any] = {
        "filename": st.column_config.TextColumn("Clip", pinned=True),
        "label": number("Label", format="%.10g"),
        "oof_prediction": number("Prediction", format="%.3f"),
        "error": number("Error", format="%+.3f"),
        "low": number("Low", format="%.3f"),
        "high": number("High", format="%.3f"),
        "fold": "Fold",
        "group": "Group",
    }
    if clip_urls.routed() and clips:
        shown = shown.copy()
        there = [clips.get(name) for name in shown["filename"]]
        shown.insert(0, "play", [clip_urls.address(path) if path is not None else None for path in there])
        columns["play"] = st.column_config.AudioColumn("Play", help="Double click to hear it here")
    st.caption("Where the models are furthest from the label; a wrong label is often among the first.")
    st.dataframe(
        shown, hide_index=True, height=320, column_config=columns, key="largest_errors", alt="Clips with the largest errors"
    )


def _by_group(run: Run, oof: pd.DataFrame, repeating: Sequence[str]) -> None:
    columns = session.columns_of(run)
    options = [*(["group"] if "group" in oof else []), *(name for name in repeating if name in columns)]
    if not options:
        st.caption("Nothing groups these clips: no column of the table has several clips for one value.")
        return
    chosen_by = run.record["settings"]["ensemble"].get("groups")
    name = st.segmented_control(
        "Group by",
        options,
        default=options[0],
        required=True,
        format_func=lambda one: f"{chosen_by} (of the folds)" if one == "group" and chosen_by else one,
        key="errors_group",
        width="content",
    )
    values = oof["group"] if name == "group" else oof["filename"].map(columns[str(name)])
    table = group_table(oof, values)
    if len(table) == 0:
        st.caption("The tables have changed since: no value belongs to these clips.")
        return
    st.altair_chart(training.errors_by_group(table.head(_MOST_GROUPS)), key="errors_by_group", alt="RMSE and mean error by group")
    if len(table) > _MOST_GROUPS:
        st.caption(f"The {_MOST_GROUPS} with the largest error of {len(table):,}.")


def group_table(oof: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    """Columns ``group``, ``clips``, ``rmse``, ``mean_error``, the largest error first.

    Parameters
    ----------
    oof : pd.DataFrame with ``label``, ``oof_prediction``
    values : the group of each row; rows without one are left out
    """
    error = oof["oof_prediction"] - oof["label"]
    frame = pd.DataFrame({"group": values, "error": error, "square": error**2}).dropna(subset="group")
    table = frame.groupby("group", sort=False).agg(clips=("error", "size"), mean_error=("error", "mean"), square=("square", "mean"))
    table["rmse"] = np.sqrt(table.pop("square"))
    return table.sort_values("rmse", ascending=False, kind="stable").reset_index()


def error_bins(oof: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Mean error by label: columns ``label`` (mean of the bin), ``error``, ``clips``; bins of about as many clips each."""
    frame = pd.DataFrame({"label": oof["label"], "error": oof["oof_prediction"] - oof["label"]})
    table = frame.groupby(_bins(oof["label"], bins)).agg(label=("label", "mean"), error=("error", "mean"), clips=("error", "size"))
    return table.reset_index(drop=True)


def coverage_table(oof: pd.DataFrame, bins: int = 8) -> pd.DataFrame:
    """Share of labels inside their interval: columns ``label`` (range of the bin), ``share``, ``clips``."""
    inside = (oof["low"] <= oof["label"]) & (oof["label"] <= oof["high"])
    frame = pd.DataFrame({"label": oof["label"], "inside": inside})
    table = frame.groupby(_bins(oof["label"], bins)).agg(
        low=("label", "min"), high=("label", "max"), share=("inside", "mean"), clips=("inside", "size")
    )
    named = [
        f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}" for low, high in zip(table["low"], table["high"], strict=True)
    ]
    return table.assign(label=named)[["label", "share", "clips"]].reset_index(drop=True)


def _bins(labels: pd.Series, bins: int) -> np.ndarray:
    """Number of the bin of each label; equal labels are in one bin."""
    ordered = np.sort(labels.to_numpy(float))
    edges = np.unique(ordered[np.linspace(0, len(ordered), bins + 1).astype(int)[1:-1].clip(0, len(ordered) - 1)])
    return np.searchsorted(edges, labels.to_numpy(float), side="right")
