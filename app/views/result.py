"""The result of a finished run: scores with badges, errors clip by clip, files to download. In the unit of the label."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import streamlit as st

from app import forms, resources, session
from app.charts import training
from app.views import best, curve
from app.views.epochs import draw_curves, share_words
from app.views.errors import clip_by_clip, show_coverage
from app.views.reading import show_transform_hint
from app.views.training import draw_rounds, leak_words
from app.words import (
    BADGES,
    SWITCHES,
    VERDICTS,
    analysed,
    changed_since,
    count,
    decimals,
    duration,
    errors_in_words,
    flattered,
    fold_plan,
    headline,
    plain,
)
from core.data.dataset import Dataset
from core.events import RoundsScored, StepDone
from core.runs import Run
from core.runs.kinds import ENSEMBLE
from core.runs.schema import LeakRecord, Scores
from core.scoring.figures import interval_text, number_format, text
from core.scoring.metrics import METRICS

_REPEATS_NAMED = 4
_VIEWS = ("Scores", "More clips?")
_NEXT = (
    ("predict", "Score new clips", ":material/target:", "next_step"),
    ("explain", "Explain this run", ":material/lightbulb:", "go_explain"),
    ("runs", "Compare runs", ":material/leaderboard:", "go_runs"),
)


@errors_in_words()
def show_results(runs: Sequence[Run], dataset: Dataset) -> None:
    """A run to choose, at first the newest, and its result.

    Parameters
    ----------
    runs : sequence of Run [length>=1] on the data set, of the kinds that the page shows, oldest first
    dataset : Dataset, as it is now
    """
    run = forms.choose_result(runs)
    if session.stamp_of(run) not in (None, dataset.stamp()):
        changed_since("this was trained")
    show_run(run, dataset)


def show_run(run: Run, dataset: Dataset) -> None:
    """Everything about a finished run, the most important first.

    Parameters
    ----------
    run : Run
    dataset : Dataset that it was trained on, as it is now
    """
    repeating = forms.repeating_columns(dataset)
    _head(run)
    _warnings(run, repeating)
    result, more_clips = st.tabs(list(_VIEWS), key="result_view", on_change="rerun", bind="query-params")
    if more_clips.open:
        with more_clips, errors_in_words():
            curve.show_curve(run)
    else:
        with result:
            _show_scores(run, dataset, repeating)


def _show_scores(run: Run, dataset: Dataset, repeating: Sequence[str]) -> None:
    """Scores, errors clip by clip, what was combined, files, and what the training reported."""
    st.markdown(f"**{plain(headline(run.scores, run.record.settings.ensemble.group_by))}**")
    with errors_in_words():
        if sentence := resources.in_practice(run):
            st.markdown(plain(sentence))
    _scores(run.scores)
    _leak_gap(run.scores.leak)
    _verdicts(run.scores, "Switches" if run.kind.holds_models else "The blend beside each run")
    best.show_ladder(run)
    oof = None
    with errors_in_words():
        oof = resources.oof(run)
    if oof is not None:
        if run.kind.name == ENSEMBLE and run.record.settings.ensemble.label_transform == "none":
            show_transform_hint(oof["label"].to_numpy(float))
        clip_by_clip(run, dataset.train, repeating)
    with st.grid(2, min_column_width=340):
        with st.container():
            _blend(run) if run.kind.member_noun else _networks(run)
        if oof is not None:
            with st.container():
                show_coverage(oof, run.scores.interval.level)
    if run.kind.member_noun:
        _members(run)
    _downloads(run)
    _next_steps(run)
    _curves(run)
    _set_aside(run)


def _head(run: Run) -> None:
    settings = run.record.settings.ensemble
    kind = run.kind.label or str(settings.preset)
    clips, took = count(run.record.dataset.train_clips, "clip"), duration(run.record.seconds)
    st.subheader("Result")
    facts = [plain(run.id), clips, plain(fold_plan(settings, run.record.grouped_by)), kind, took]
    st.caption(" · ".join([*facts, *analysed(run)]))


def _next_steps(run: Run) -> None:
    with st.container(horizontal=True):
        for page, label, icon, key in _NEXT:
            if page == "explain" and run.kind.why_not_explained:
                continue
            kind: Literal["primary", "secondary"] = "primary" if key == "next_step" else "secondary"
            st.button(label, icon=icon, key=key, type=kind, on_click=_go, args=(run.id, page))


def _curves(run: Run) -> None:
    """Curves of the training: rounds of boosting, or losses and epochs of a fine-tuning."""
    events, settings = [recorded.event for recorded in resources.events(run.folder / "events.jsonl")], run.record.settings
    if any(isinstance(event, RoundsScored) for event in events):
        with st.expander("Rounds of boosting", icon=":material/show_chart:", expanded=True):
            draw_rounds(events, settings.ensemble.members, settings.ensemble.folds)
    if any(isinstance(event, StepDone) for event in events):
        with st.expander("Losses and epochs", icon=":material/show_chart:", expanded=True):
            draw_curves(events, settings.finetune or {})


def _set_aside(run: Run) -> None:
    clips = [clip.model_dump() for clip in run.record.set_aside]
    if clips:
        with st.expander(f"{count(len(clips), 'clip')} set aside", icon=":material/warning:"):
            st.dataframe(pd.DataFrame(clips), hide_index=True, key="run_set_aside", alt="Clips that were set aside")


def _blend(run: Run) -> None:
    """Weight of each member of an ensemble, or of each run of a blend."""
    scores = run.scores
    st.markdown("**Weights of the blend**")
    table = pd.DataFrame(
        [(name, scores.blend.get(name, 0.0), member.oof_rmse) for name, member in scores.models.items()],
        columns=["member", "weight", "oof_rmse"],
    )
    st.altair_chart(training.member_weights(table), key="member_weights", alt="Weight of each member in the blend")
    words = _blend_words(scores.blend_rules, run.record.as_json()["settings"]["ensemble"])
    st.caption(words if run.kind.holds_models else "All runs have the same weight.")


def _networks(run: Run) -> None:
    """RMSE and chosen epoch of each fold's network, and which parameters were trained."""
    st.markdown("**Folds**")
    scores, settings = run.record.as_json()["scores"], run.record.settings.finetune or {}
    epochs = run.record.epochs or [None] * len(scores["fold_rmse"])
    frame = pd.DataFrame(
        [(number + 1, rmse, epoch) for number, (rmse, epoch) in enumerate(zip(scores["fold_rmse"], epochs, strict=True))],
        columns=["fold", "rmse", "epoch"],
    ).astype({"epoch": float})
    number = st.column_config.NumberColumn
    st.dataframe(
        frame,
        hide_index=True,
        key="result_table",
        alt="RMSE and chosen epoch of each fold",
        column_config={
            "fold": number("Fold", format="%d"),
            "rmse": number("RMSE", format=f"%{number_format(scores['constant_rmse'])}", help="On the fold's own rows"),
            "epoch": number(
                "Best epoch", format="%d", help=f"Of up to {settings['epochs']}; empty: the last, as there were no validation rows"
            ),
        },
    )
    mean, std = (text(scores[name], like=scores["constant_rmse"]) for name in ("fold_rmse_mean", "fold_rmse_std"))
    spread = f"Mean {mean}, standard deviation {std}."
    share, numbers = share_words(scores["trained_share"]), f"{scores['trained_parameters']:,} of {scores['parameters']:,}"
    st.caption(f"{spread} Trained: {share} of the parameters, {numbers}.  \n{plain(network_words(settings))}")


def network_words(settings: dict[str, Any]) -> str:
    """The inputs and encoders of a fine-tuned run.

    Examples
    --------
    >>> chosen = {"audio_encoder": "frozen", "audio_model": "a/b", "layer": 7, "fusion": "gated"}
    >>> chosen |= {"text": "describe", "text_model": "c/d"}
    >>> network_words(chosen)
    'Audio input: a/b (frozen, layer 7). Text input: c/d on a description of the acoustics. Fusion: gated.'
    >>> network_words(chosen | {"text": "none"})
    'Audio input: a/b (frozen, layer 7). No text input.'
    """
    layer = "last layer" if settings["layer"] is None else f"layer {settings['layer']}"
    training = {"frozen": f"frozen, {layer}", "lora": f"with adapters, {layer}"}.get(settings["audio_encoder"])
    audio = f"Audio input: {settings['audio_model']} ({training})." if training else "No audio input."
    if settings["text"] == "none":
        return f"{audio} No text input."
    kind, _, name = settings["text"].partition("=")
    source = {"column": f"the column {name}", "whisper": f"the transcript by {name}"}.get(kind, "a description of the acoustics")
    fusion = f" Fusion: {settings['fusion']}." if training else ""
    return f"{audio} Text input: {settings['text_model']} on {source}.{fusion}"


def _warnings(run: Run, repeating: Sequence[str]) -> None:
    scores, record = run.record.as_json()["scores"], run.record.as_json()
    leak, proposals = scores.get("leak"), record.get("proposed_groups", [])
    flatters = flattered(run.scores)
    if leak is not None and flatters is not None:
        (name, expect), places = flatters, decimals(scores["oof_rmse"])
        said, expected, random, grouped = (
            f"{value:.{places}f}" for value in (scores["oof_rmse"], expect, leak["random_rmse"], leak["grouped_rmse"])
        )
        st.warning(
            plain(
                f"These folds are random, but clips share a {name}: this RMSE holds only for a known {name}. "
                f"For a new {name} expect about {expected} instead of {said}: grouped folds raise the RMSE of a quick model from "
                f"{random} to {grouped}. Choose it under Groups."
            ),
            icon=":material/groups:",
        )
    elif leak is None and repeating and run.record.grouped_by is None:
        st.warning(
            f"Trained without groups, although several clips share a {plain(' or a '.join(repeating[:3]))}. On new clips from "
            "other groups, expect a larger error.",
            icon=":material/groups:",
        )
    for proposal in proposals:
        st.warning(
            plain(f"Not kept together: {proposal['reason']} ({proposal['kind']}). Groups: auto keeps them in one fold."),
            icon=":material/link:",
        )
    for leaking in record.get("label_leaks", []):
        st.error(
            plain(
                f"The column {leaking['column']} {leaking['reason']}: a score with it says nothing about new clips. Leave it out."
            ),
            icon=":material/key:",
        )
    if scores["oof_rmse"] >= scores["constant_rmse"]:
        st.warning(
            "No better than the baseline (mean of the training labels): nothing was learned.", icon=":material/trending_flat:"
        )
    filled = (record["test"] or {}).get("filled_with_training_median")
    if filled:
        st.warning(
            f"{count(len(filled), 'test clip')} cannot be read and got the training median: {plain(', '.join(filled[:20]))}",
            icon=":material/warning:",
        )


def _scores(scores: Scores) -> None:
    gain = 1 - scores.oof_rmse / scores.constant_rmse
    by_repeat = scores.oof_rmse_by_repeat
    spread = ""
    if len(by_repeat) > _REPEATS_NAMED:
        ends = interval_text((min(by_repeat), max(by_repeat)), like=scores.constant_rmse)
        spread = f"{ends} in {len(by_repeat)} repeats"
    elif len(by_repeat) > 1:
        spread = "by repeat " + ", ".join(text(value, like=scores.constant_rmse) for value in by_repeat)
    interval, ceiling = scores.interval, scores.ceiling
    if ceiling is not None:
        st.info(plain(f"What the raters allow: {ceiling.sentence}."), icon=":material/vertical_align_bottom:")
    with st.grid(3, min_column_width=220):
        _score(scores, "oof_rmse", "Out-of-fold RMSE", f"{abs(gain):.0%} {'below' if gain > 0 else 'above'} the baseline", spread)
        _score(scores, "constant_rmse", "Baseline RMSE", "predicts the mean of the training labels")
        _score(
            scores,
            "interval_coverage",
            "Interval coverage",
            f"{interval.level:.0%} asked for; mean width {interval.mean_width:.3g}",
            interval.words(),
            percent=True,
        )
        _score(scores, "oof_mae", "MAE", "mean absolute error")
        _score(scores, "oof_pearson", "Pearson", "correlation with the label")
        _score(scores, "oof_r2", "R²", "share of the label variance explained")
    _score_table(scores)


def score_frame(scores: Scores) -> pd.DataFrame:
    """A row for each score: over all clips and, where the folds have groups, over the means of the groups, with intervals."""
    level, rows = scores.group_level, []
    for name, metric in METRICS.items():
        like = scores.constant_rmse if metric.in_label_unit else 1.0
        row = {"score": metric.label, "value": text(scores.score(name), like=like)}
        row["interval"] = interval_text(scores.ends(name), like=like)
        if level is not None:
            row["group_value"] = text(getattr(level, name), like=like)
            row["group_interval"] = interval_text(level.confidence.of(name), like=like)
        rows.append(row)
    return pd.DataFrame(rows)


def _score_table(scores: Scores) -> None:
    confidence, level = scores.confidence, scores.group_level
    if confidence is None:  # a run of an earlier version
        return
    column = st.column_config.TextColumn
    interval = f"{confidence.level:.0%} interval"
    st.dataframe(
        score_frame(scores),
        hide_index=True,
        key="score_table",
        alt="Scores with their confidence intervals",
        column_config={
            "score": column("Score"),
            "value": column("All clips", help="Out-of-fold predictions against labels"),
            "interval": column(interval),
            "group_value": column(
                f"Means of {level.groups} groups" if level is not None else "",
                help="Mean prediction of a group against its mean label",
            ),
            "group_interval": column(f"{interval} of the means"),
        },
    )
    units = count(confidence.units, "group" if confidence.by_group else "clip")
    st.caption(f"Intervals: bootstrap over {units}, {confidence.draws:,} draws.")


def _score(scores: Scores, name: str, label: str, *notes: str, percent: bool = False) -> None:
    value, badge = getattr(scores, name), scores.badges.get(name)
    with st.container(border=True, height="stretch"):
        metric = METRICS.get(name.removeprefix("oof_"))
        like = 1.0 if metric is not None and not metric.in_label_unit else scores.constant_rmse
        shown = f"{value:.1%}" if percent and value is not None else text(value, like=like)
        with st.container(horizontal=True, vertical_alignment="top", horizontal_alignment="distribute"):
            st.metric(label, shown, width="content")
            if badge is not None:
                colour, icon, definition = BADGES[badge]
                st.badge(badge, icon=icon, color=colour, help=definition)  # type: ignore[arg-type]
        st.caption("  \n".join(plain(note) for note in notes if note))


def _leak_gap(leak: LeakRecord | None) -> None:
    if leak is None:
        st.caption("No leak gap: nothing was found that ties clips together.")
    else:
        leak_words(leak.random_rmse, leak.grouped_rmse, leak.groups, chosen=leak.chosen)


def _verdicts(scores: Scores, title: str) -> None:
    """Verdicts of the switches, or of a blend; and the self-test."""
    verdicts, self_test = scores.verdicts, scores.self_test
    if not verdicts and self_test is None:
        return
    st.markdown(f"**{title}**")
    for name, verdict in verdicts.items():
        colour, icon = VERDICTS[verdict.verdict]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(verdict.verdict, icon=icon, color=colour)  # type: ignore[arg-type]
            sentence = verdict.sentence.removeprefix(verdict.verdict).strip()  # the badge has said it
            st.markdown(plain(f"{SWITCHES.get(name, name.capitalize())}, {sentence}"), width="content")
    if self_test is not None:
        _self_test(self_test.ratio, passed=self_test.passed)
    if verdicts:
        names = ["difference", "low", "high", "verdict"]
        rows = [(SWITCHES.get(switch, switch), *(getattr(verdict, name) for name in names)) for switch, verdict in verdicts.items()]
        frame = pd.DataFrame(rows, columns=["switch", *names])
        st.altair_chart(training.verdicts(frame), key="verdicts", alt="Change of the RMSE by each switch, with its interval")


def _self_test(ratio: float, *, passed: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(
            "passed" if passed else "failed",
            icon=":material/verified:" if passed else ":material/gpp_bad:",
            color="green" if passed else "red",
            help="Passed where training on permuted labels is not clearly better than the baseline.",
        )
        verdict = "nothing is learned from them" if passed else "something is learned although there is nothing to learn"
        words = f"{SWITCHES['self_test']}: on permuted labels the RMSE is {ratio:.3f} of the baseline's: {verdict}"
        st.markdown(plain(words), width="content")


def _blend_words(rules: dict[str, int], settings: dict[str, Any]) -> str:
    if settings.get("blend") == "mean" or len(settings["members"]) == 1:
        return "All members have the same weight."
    words_of = {
        "weights": "learned weights",
        "weights near the best": "learned weights near the best member",
        "mean": "the mean of the good members",
        "best": "the best member alone",
    }
    ways = [f"{words_of.get(rule, rule)} in {count(folds, 'fold')}" for rule, folds in rules.items() if folds]
    words = ", ".join(ways)
    return f"{words[:1].upper()}{words[1:]}, chosen on each fold's training rows."


def _members(run: Run) -> None:
    """Weight, RMSE and feature sets of each member of an ensemble, or of each run of a blend."""
    scores, settings = run.scores, run.record.settings
    folds, repeats = settings.ensemble.folds, settings.ensemble.repeats
    places = [f"fold {training.place(repeat, fold, repeats)}" for repeat in range(repeats) for fold in range(folds)]
    rows = [
        [name, scores.blend.get(name), member.oof_rmse, member.fold_rmse_mean, member.fold_rmse_std,
         _chosen(member.sets, settings.extract.features), *member.fold_rmse]
        for name, member in scores.models.items()
    ]  # fmt: skip
    rows.append([run.kind.whole_noun, 1.0, scores.oof_rmse, scores.fold_rmse_mean, scores.fold_rmse_std, "", *scores.fold_rmse])
    frame = pd.DataFrame(rows, columns=["member", "weight", "RMSE", "mean", "std", "sets", *places])
    number, error = st.column_config.NumberColumn, f"%{number_format(scores.constant_rmse)}"
    formats: dict[str, Any] = {name: number(format=error) for name in places}
    formats |= {
        "member": st.column_config.TextColumn("Member", pinned=True),
        "weight": number("Weight", format="%.2f"),
        "RMSE": number("RMSE", format=error, help="Out of fold, over all clips; the mean over repeats"),
        "mean": number("Mean", format=error, help="Over the folds' own RMSE"),
        "std": number("Std", format=error, help="Over the folds' own RMSE"),
        "sets": st.column_config.TextColumn(
            "Feature sets", width="medium", help="Chosen by each fold where none were named, with the number of folds"
        ),
    }
    alt = "Weight, RMSE and feature sets by member"
    st.markdown(f"**{run.kind.member_noun}**")
    st.dataframe(frame, hide_index=True, column_config=formats, key="result_table", alt=alt)


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
    """Buttons for the files of a run."""
    files = {
        "Submission": (run.record.submission, "text/csv", ""),
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
        if run.kind.holds_models:
            st.download_button(
                "Models",
                lambda: models_zip(run),
                f"models_{run.id}.zip",
                "application/zip",
                icon=":material/download:",
                on_click="ignore",
                key="download_models",
                help=run.kind.models_note,
            )
    if not run.kind.holds_models:
        st.caption("A blend has no models of its own: download those of its runs from their pages.")
    if not run.record.submission:
        st.caption(f"No submission: {run.kind.why_no_submission}.")


def models_zip(run: Run) -> bytes:
    """The models and the record of a run as one zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(run.folder / "run.json", f"{run.id}/run.json")
        for name in run.record.model_files:
            archive.write(run.models / name, f"{run.id}/models/{name}")
    return packed.getvalue()
