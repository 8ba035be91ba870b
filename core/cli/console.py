"""What the command line shows: progress as bars on standard error, results as lines for people or for programs."""

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from core.cli.score_table import confidence_words, fitness_lines, score_lines, score_text, untransformed
from core.events import (
    BatchHalved,
    ClipSetAside,
    CompilingStarted,
    DeviceChosen,
    EpochScored,
    Event,
    ExtractionStarted,
    FinetuneStarted,
    FoldScored,
    LabelStarted,
    LadderPlanned,
    LadderStepDone,
    LayerScored,
    LeakGapFound,
    StageStarted,
    Warned,
    ignore,
)
from core.progress import Progress as JobProgress, ProgressCounter
from core.scoring.figures import interval_text, number_format, text
from core.scoring.metrics import METRICS
from core.workspace import to_json

if TYPE_CHECKING:
    from core.data.bandwidth import Bandwidths
    from core.data.rows import Column, Problem
    from core.insight.explain import Explanation
    from core.runs import Run
    from core.runs.schema import MemberScore, Scores
    from core.scoring.agreement import Ratings
    from core.tasks.score import Evaluation, Prediction

_TOP = 15  # columns named for people
_SHOWN = 20  # problems printed for people; --json has them all


class Progress:
    """Draws events as bars on standard error."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._counter = ProgressCounter()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *reason: object) -> None:
        self._close()

    def __call__(self, event: Event) -> None:
        try:
            self._draw(event)
        except OSError:  # nobody looks any more; the work goes on
            self._bar, self._draw = None, ignore  # type: ignore[method-assign]

    def _draw(self, event: Event) -> None:
        before = self._counter.progress
        self._counter.add(event)
        progress = self._counter.progress
        if isinstance(event, ExtractionStarted):
            print(f"{event.clips} clips: {event.cached} cached, {event.to_do} to extract", file=sys.stderr)
        if not progress.unit or isinstance(event, LeakGapFound):
            self._close()
        elif progress.count != before.count:
            self._start(progress)
        if (line := _line(event, progress)) is not None:
            if self._bar is not None:
                self._bar.write(line, file=sys.stderr)
            elif isinstance(event, LabelStarted | LadderPlanned | LadderStepDone | LeakGapFound | StageStarted | Warned):
                print(line, file=sys.stderr)
        if self._bar is not None and int(progress.done) > self._bar.n:
            self._bar.update(int(progress.done) - self._bar.n)

    def _start(self, progress: JobProgress) -> None:
        """Begin a bar that shows the rate and the time left."""
        from tqdm import tqdm

        self._close()
        unit = "score" if progress.task == "layers" else progress.unit
        self._bar = tqdm(total=progress.total, desc=progress.task, unit=unit, file=sys.stderr, dynamic_ncols=True, smoothing=0.1)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _line(event: Event, progress: JobProgress) -> str | None:
    """What is printed of an event besides the bar, if anything."""
    match event:
        case LeakGapFound(random_rmse=random_rmse, grouped_rmse=grouped_rmse, groups=groups):
            return f"quick model: RMSE {text(random_rmse)} in random folds, {text(grouped_rmse)} by {groups}"
        case DeviceChosen():
            return f"PyTorch computes on {progress.device}"
        case BatchHalved(set_name=set_name, batch=batch):
            return f"{set_name}: memory ran out; from here on at most {batch} at once"
        case LayerScored(layer=layer, head=head, rmse=rmse):
            return f"layer {layer}, {head}: RMSE {text(rmse)}"
        case FinetuneStarted(trained=trained, parameters=parameters):
            return f"{trained:,} of {parameters:,} parameters are trained ({trained / parameters:.2%})"
        case EpochScored(fold=fold, epoch=epoch, rmse=rmse):
            return f"fold {fold + 1}, epoch {epoch}: RMSE {text(rmse)} on validation rows"
        case LabelStarted(label=label, number=number, labels=labels):
            return f"label {number} of {labels}: {label}"
        case StageStarted(what=what):
            return f"{what} ..."
        case LadderPlanned(title=title, seconds=seconds, reason=reason):
            return f"planned: {title}: {reason or f'about {max(6, seconds) / 60:.1f} minutes'}"
        case LadderStepDone(title=title, score=score, kept=kept, reason=reason, metric=metric):
            like = None if METRICS[metric].in_label_unit else 1.0
            outcome = f"{METRICS[metric].label} {text(score, like=like)}, {'kept' if kept else 'not kept'}"
            said = "passed over" if math.isnan(score) else outcome
            return f"{title}: {said}{f' ({reason})' if reason else ''}"
        case Warned(text=warning):
            return f"warning: {warning}"
        case CompilingStarted():
            return "compiling the extractor for this machine: once, about half a minute"
        case ClipSetAside(file=file, reason=reason):
            return f"set aside: {file}: {reason}"
        case FoldScored(fold=fold, rmse=rmse) if progress.unit == "epoch":
            return f"fold {fold + 1}: RMSE {text(rmse)} on its own rows"
        case FoldScored(fold=fold, rmse=rmse, repeat=repeat):
            return f"repeat {repeat + 1}, fold {fold + 1}: ensemble RMSE {text(rmse)}"
    return None


def print_json(value: object) -> None:
    """One line of JSON, NaN as null."""
    print(json.dumps(to_json(value), ensure_ascii=False, allow_nan=False))


def print_columns(columns: Iterable["Column"]) -> None:
    """What the columns of each table are for, a line a table."""
    by_table: dict[str, list[str]] = {}
    for column in columns:
        by_table.setdefault(column.table, []).append(f"{column.name} ({column.role})")
    for table, described in by_table.items():
        print(f"  {table}: {', '.join(described)}")


def print_bandwidths(bandwidths: "Bandwidths") -> None:
    """How far up the sound of the clips reaches, beside what their sample rates promise."""
    from core.data.bandwidth import NARROW_SHARE, khz

    if bandwidths.median_hz is None:
        print("  bandwidth     unknown for every clip: silent, or too weak at high frequencies")
        return
    narrow = f"{bandwidths.narrow} of {bandwidths.clips} clips under {NARROW_SHARE:.0%} of half their sample rate"
    print(f"  bandwidth     {khz(bandwidths.median_hz)} the median clip; {narrow}")
    for sentence in bandwidths.sentences:
        print(f"                {sentence}")


def print_problems(problems: Iterable["Problem"]) -> None:
    """The first problems of each level."""
    ordered = sorted(problems, key=lambda problem: problem.level)
    for level, title in (("error", "set aside"), ("warning", "kept, with a warning")):
        some = [problem for problem in ordered if problem.level == level]
        if some:
            print(f"{len(some)} {title}:")
            print("\n".join(_first([f"{problem.file}: {problem.reason}" for problem in some])))


def print_ratings(ratings: "Ratings | None") -> None:
    """How many raters there are, how far they agree, and what that allows a model."""
    if ratings is None:
        return
    from core.scoring.agreement import agreement

    found = agreement(ratings)
    by = f"by {found.raters} raters" if found.raters else "by raters without names"
    print(f"  ratings       {found.ratings} {by} of {found.clips} clips; spread within a clip {text(found.spread, decimals=3)}")
    print(f"  agreement     {found.words()}")
    if found.ceiling is not None:
        print(f"  ceiling       {found.ceiling.sentence()}")


def print_prediction(one: "Prediction", *, like: float | None = None) -> None:
    """A clip in a line: the prediction, its interval, and why to doubt it; figures in the format of ``like``, or of themselves."""
    value, ends = "not scored", ""
    if one.prediction is not None:
        value = text(one.prediction, like=like)
        ends = interval_text(None if one.low is None or one.high is None else (one.low, one.high), like=like)
    doubts = list(one.warnings)
    if one.trained_on:
        doubts.append(f"trained on this clip, as {one.trained_on[0]}")
    if one.surroundings is not None:
        doubts += one.surroundings.doubts()
    print(
        "  ".join(
            [
                f"{value:>12}",
                f"{ends:>{20 if number_format(like).endswith('f') else 24}}",
                one.file,
                *(f"[{doubt}]" for doubt in doubts),
            ]
        )
    )


def print_evaluation(found: "Evaluation | None", why_not: str | None = None) -> None:
    """Scores against labels, where there are any."""
    if why_not is not None:
        print(f"not compared with labels: {why_not}")
    if found is None:
        return
    print(f"{len(found.rows)} labelled clips that the run was not trained on")
    for name, value in (*found.scores.items(), ("constant_rmse", found.constant_rmse)):
        print(f"  {name:14} {score_text(name, value, like=found.constant_rmse)}")
    print(f"  {'coverage':14} {found.coverage:.2f}  (share of labels inside their prediction interval)")
    if found.trained_on:
        print(f"  {len(found.trained_on)} clips left out, the run was trained on them (first: {found.trained_on[0]})")


def _first(lines: Sequence[str]) -> list[str]:
    more = [f"  ... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [f"  {line}" for line in lines[:_SHOWN]] + more


def print_run(run: "Run", out: Any) -> None:
    """Scores of a run by fold and model, and where its files are."""
    record = run.record
    lines = [_headline(run), "", *_score_table(run), "", *_score_lines(run), *_doubt_lines(run), *_test_lines(run)]
    if record.set_aside:
        lines.append(f"  {len(record.set_aside)} clips set aside:")
        lines += _first([f"  {problem.file}: {problem.reason}" for problem in record.set_aside])
    lines.append("")
    if record.submission:
        lines.append(f"  submission  {record.submission}")
    lines += [f"  run         {run.folder}", f"  {record.seconds:.1f} s"]
    print("\n".join(lines), file=out)


def print_ladder(run: "Run", out: Any) -> None:
    """The steps that led to a run, a line each: what was tried, how it scored, and why it was kept or not."""
    metric = next((step.metric for step in run.record.ladder), "rmse")
    lines = ["", f"  the steps by {METRICS[metric].label}, on the folds that they were chosen on:"]
    like = run.scores.constant_rmse if METRICS[metric].in_label_unit else 1.0
    for step in run.record.ladder:
        score = ("-" if step.score is None else text(step.score, like=like)).rjust(8)
        mark = "kept" if step.kept else "passed over" if step.skipped else "not kept"
        lines.append(f"  {score}  {mark:11}  {step.title}{f': {step.reason}' if step.reason else ''}")
    lines.append("  The scores above are of folds that no step has used.")
    print("\n".join(lines), file=out)


def print_labels(labels: Sequence[str], runs: Sequence["Run"], submission: Any) -> None:
    """Scores of the runs on several labels, a line each, and where their submission is."""
    width = max(8, *map(len, labels))
    print()
    print(f"  {'label':{width}}{'OOF RMSE':>11}{'constant':>11}{'Pearson':>10}  run")
    for label, run in zip(labels, runs, strict=True):
        scores = run.scores
        errors = "".join(f"{text(value, like=scores.constant_rmse):>11}" for value in (scores.oof_rmse, scores.constant_rmse))
        print(f"  {label:{width}}{errors}{text(scores.oof_pearson, like=1.0):>10}  {run.id}")
    if submission is not None:
        print(f"  submission  {submission}")


def run_line(run: "Run") -> dict[str, Any]:
    """Id and scores of a run for programs, members left out."""
    return {"run_id": run.id} | {name: value for name, value in run.record.as_json()["scores"].items() if name != "models"}


def _headline(run: "Run") -> str:
    data, plan, finetune = run.record.dataset, run.record.settings.ensemble, run.record.settings.finetune
    grouped = f"grouped by {run.record.grouped_by}" if run.record.grouped_by else "without groups"
    kind = "stratified folds" if plan.stratified else "folds"
    if finetune is not None:
        how = f"audio {finetune['audio_encoder']}, text {finetune['text']}, fusion {finetune['fusion']}"
    else:
        how = run.kind.label or f"{plan.preset} preset"
    return f"run {run.id}: {data.train_clips} clips of {data.name}, {plan.repeats} x {plan.folds} {kind} {grouped}, {how}"


def _score_table(run: "Run") -> Iterator[str]:
    """A line for each member and the whole: RMSE by fold, the mean over repeats, and out of fold."""
    scores, folds, repeats = run.scores, run.record.settings.ensemble.folds, run.record.settings.ensemble.repeats
    width = max(14, *(len(name) for name in scores.models))
    like = scores.constant_rmse
    cell = len(text(like, like=like)) + 3
    head = "".join(f"{title:>{cell}}" for title in (*(f"fold {fold + 1}" for fold in range(folds)), "mean", "std", "OOF"))
    yield f"  {'RMSE':{width}}{head}{'weight':>8}"
    figures: dict[str, MemberScore | Scores] = {**scores.models}
    if run.kind.member_noun:
        figures[run.kind.whole_noun] = scores
    for name, row in figures.items():
        by_fold = [sum(row.fold_rmse[fold::folds]) / repeats for fold in range(folds)]
        errors = "".join(
            f"{text(value, like=like):>{cell}}" for value in (*by_fold, row.fold_rmse_mean, row.fold_rmse_std, row.oof_rmse)
        )
        weight = f"{scores.blend[name]:8.2f}" if name in scores.blend else ""
        yield f"  {name:{width}}{errors}{weight}"


def _score_lines(run: "Run") -> Iterator[str]:
    """Figures of the whole, out of fold."""
    scores, like = run.scores, run.scores.constant_rmse
    yield from score_lines(scores)
    yield ""
    if scores.confidence is not None:
        yield f"  {confidence_words(scores.confidence)}"
    if run.record.settings.ensemble.repeats > 1:
        yield "  by repeat     RMSE " + "  ".join(text(value, like=like) for value in scores.oof_rmse_by_repeat)
    yield f"  baseline      RMSE {text(like)}  (mean of the training labels)"
    if scores.ceiling is not None:
        yield f"  ceiling       {scores.ceiling.sentence}"
    yield from fitness_lines(run)
    asked = f"{scores.interval.level:.0%} asked for; mean width {scores.interval.mean_width:.3g}"
    widths = "fitted to the clip" if scores.interval.fitted_widths else "the same for all clips"
    yield f"  intervals     {scores.interval_coverage:.1%} of labels inside, {asked}, {widths}"
    if words := scores.interval.words():
        yield f"                {words}"
    if scores.trained_share is not None:
        share = f"{scores.trained_parameters:,} of {scores.parameters:,}"
        yield f"  trained       {scores.trained_share:.2%} of the parameters ({share})"


def _doubt_lines(run: "Run") -> Iterator[str]:
    """What may flatter the score, and what the switches did."""
    record, scores = run.record, run.scores
    if (leak := scores.leak) is not None:
        like = scores.constant_rmse
        by = f"{text(leak.random_rmse, like=like)} in random folds, {text(leak.grouped_rmse, like=like)} by {leak.groups}"
        yield f"  leak gap      {leak.gap:+{number_format(like)}}: a quick model has RMSE {by}"
    for proposal in record.proposed_groups:
        yield f"  not tied      {proposal.tied} clips: {proposal.reason} (--group-by auto ties them)"
    for column in record.label_leaks:
        yield f"  holds labels  {column.column}: {column.reason}"
    if (tested := scores.self_test) is not None:
        verdict = "passed" if tested.passed else "FAILED: the permuted labels are predicted, so a label leaks"
        yield f"  self-test     {tested.ratio:.3f} of the baseline's error on permuted labels: {verdict}"
    if (hint := untransformed(run)) is not None:
        yield f"  labels        {hint}"
    for name, judged in scores.verdicts.items():
        yield f"  {name:13} {judged.sentence}"


def _test_lines(run: "Run") -> Iterator[str]:
    """Predictions of the test table."""
    test = run.record.test
    if test is not None and test.count:
        figures = "  ".join(f"{name} {text(getattr(test, name))}" for name in ("min", "max", "mean", "median", "std"))
        yield f"  {test.count} test clips  {figures}"
    if test is not None and (filled := test.filled_with_training_median):
        yield f"  {len(filled)} test clips cannot be read and got the training median: {', '.join(filled[:_SHOWN])}"


def print_explanation(run: "Run", explanation: "Explanation", clips: Sequence[str]) -> None:
    """The columns that move most, what families do, and where the prediction of each named clip comes from."""
    from core.extraction.export import definitions
    from core.insight.explain import family_shares

    extract = run.record.settings.extract
    known = definitions(extract.features, extract.treatment)
    importance, names = explanation.importance, explanation.columns
    like = run.scores.constant_rmse
    print(f"run {run.id}: {len(explanation.filenames)} clips, each explained by the models that did not train on it [out-of-fold]")
    if words := extract.treatment.words:
        print(f"  analysed      {words}")
    print()
    print(f"  {'mean change':>11}  {'shuffled':>9}  column")
    for place in (-importance).argsort(kind="stable")[:_TOP].tolist():
        name = names[place]
        about = f"{known[name].definition}, {known[name].unit}" if name in known else "column of the table"
        equal = f" (and {len(explanation.equal[name])} equal)" if name in explanation.equal else ""
        checked = explanation.permutation[place]
        shuffled = text(checked, like=like, sign="+", undefined="")
        print(f"  {text(importance[place], like=like):>11}  {shuffled:>9}  {name}{equal}: {about}")
    print()
    print("  by family: " + ", ".join(f"{name} {share:.0%}" for name, share in family_shares(explanation).items()))
    print("  mean change: of the prediction, in units of the label; shuffled: rise of the RMSE where the feature is shuffled")
    for clip in clips:
        row = explanation.filenames.index(clip)
        moved = explanation.contributions[row]
        print()
        scored, summed = (text(some[row], like=like) for some in (explanation.oof_prediction, explanation.prediction))
        print(f"{clip}: label {explanation.labels[row]:.10g}, predicted out of fold {scored}")
        print(f"  {text(explanation.base[row], like=like, sign='+'):>10}  base: mean prediction of the models")
        order = abs(moved).argsort(kind="stable")[::-1]
        for place in order[:_TOP].tolist():
            unit = known[names[place]].unit if names[place] in known else ""
            value = f"{explanation.values[row, place]:.5g} {'' if unit == '1' else unit}".strip()
            print(f"  {text(moved[place], like=like, sign='+'):>10}  {names[place]} = {value}")
        rest = order[_TOP:]
        print(f"  {text(moved[rest].sum(), like=like, sign='+'):>10}  {len(rest)} other features")
        print(f"  {summed:>10}  the prediction, before it is clipped to the label range")


def explanation_record(run: "Run", explanation: "Explanation", clips: Sequence[str]) -> dict[str, Any]:
    """The same as one JSON object, with all columns."""
    from core.insight.explain import family_shares

    rows = [explanation.filenames.index(clip) for clip in clips]
    columns = [
        {"column": name, "family": family, "mean_change": change, "permutation": rise, "equal": explanation.equal.get(name, ())}
        for name, family, change, rise in zip(
            explanation.columns,
            explanation.families,
            explanation.importance.tolist(),
            explanation.permutation.tolist(),
            strict=True,
        )
    ]
    return {
        "run_id": run.id,
        "clips_explained": len(explanation.filenames),
        "badge": "out-of-fold",
        "columns": sorted(columns, key=lambda one: -one["mean_change"]),
        "families": family_shares(explanation),
        "clips": [
            {
                "file": explanation.filenames[row],
                "label": explanation.labels[row],
                "oof_prediction": explanation.oof_prediction[row],
                "prediction": explanation.prediction[row],
                "base": explanation.base[row],
                "contributions": dict(zip(explanation.columns, explanation.contributions[row].tolist(), strict=True)),
            }
            for row in rows
        ],
    }


def print_layers(done: dict[str, Any]) -> None:
    """Scores of an encoder's layers as a table, and the band that is proposed."""
    scores, band = done["scores"], done["band"]
    grouped = f", grouped by {scores['groups']}" if scores["groups"] else ""
    print(f"{scores['encoder']}: out-of-fold RMSE on {scores['rows']} clips{grouped}")
    print("  layer  " + "".join(f"{head:>10}" for head in scores["heads"]))
    for layer, row in enumerate(scores["oof_rmse"]):
        mark = "  *" if band["first"] is not None and band["first"] <= layer <= band["last"] else ""
        print(f"  {layer:5d}  " + "".join(f"{text(value, like=scores['constant_rmse']):>10}" for value in row) + mark)
    print(f"  baseline (mean of the training labels): {text(scores['constant_rmse'])}")
    print(f"proposed (*): {done['set']}; {band['reason']}" if done["set"] else band["reason"])
