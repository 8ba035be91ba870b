"""``earmark ...``: what a user types in, what the library finds out. Results go to standard output, progress to standard error.

Exit codes: 0 done, 1 something could not be done (said in words), 2 the command line itself is wrong, 130 stopped with Ctrl-C.
"""

import argparse
import io
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import __version__, jobs
from core.cli.console import (
    Progress,
    explanation_record,
    print_evaluation,
    print_explanation,
    print_json,
    print_layers,
    print_prediction,
    print_problems,
    print_run,
    run_line,
)
from core.errors import EarmarkError, JobError, ParameterError, RunError
from core.jobs.runner import Cancelled, perform
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.data.dataset import Dataset, Layout
    from core.ensemble import EnsembleSettings
    from core.extraction.config import ExtractSettings


AUTO_BATCH = 0
TRANSCRIPT = "transcript"
TEXT_COLUMNS = ("transcript", "transcription", "text", "words")
TRIALS = 30  # of ``earmark tune``, a member and fold


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    if sys.stdout is None or sys.stderr is None:  # closed by the caller
        nowhere = open(os.devnull, "w")  # noqa: SIM115  open as long as the process
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file name need not be text: what is not, is shown escaped
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except EarmarkError as error:
        print(f"earmark: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nearmark: stopped; what was finished is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    except Cancelled:
        print("earmark: cancelled; what was finished is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"earmark: {jobs.refusal(error)}", file=sys.stderr)
        return 1


def check(options: argparse.Namespace) -> int:
    """Report on a data set."""
    from core.data.report import check_dataset

    dataset, _ = _dataset(options)
    with Progress() as progress:
        report = check_dataset(dataset, workers=options.workers, notify=progress)
    if options.json:
        print_json(report.as_json())
        return 0 if report.why_not is None else 1
    record = report.as_json()
    labels: Any = record["labels"]
    print(f"{dataset.root}")
    print(f"  clips         {report.train_clips} to train on, {report.test_clips} to test")
    print(f"  length        {report.seconds / 3600:.2f} h ({report.seconds:.0f} s)")
    rates = ", ".join(f"{rate} Hz ({count})" for rate, count in sorted(report.sample_rates.items()))
    print(f"  sample rates  {rates or 'none'}")
    if labels["count"]:
        print("  labels        " + ", ".join(f"{key} {labels[key]:.4g}" for key in ("mean", "std", "min", "median", "max")))
        widest = max(labels["distribution"].values())
        for value, count in labels["distribution"].items():
            print(f"    {value:>16}  {count:5d}  {'#' * round(40 * count / widest)}")
    print_problems(report.problems)
    if report.why_not:
        print(f"Training is not possible: {report.why_not}.")
        return 1
    named = {"--filename-column": options.filename_column, "--label-column": options.label_column, "--audio": options.audio}
    flags = [part for flag, value in named.items() if value is not None for part in (flag, value)]
    print(f"Training is possible: {shlex.join(['earmark', 'train', options.dataset, *flags])}")
    return 0


def features(options: argparse.Namespace) -> int:
    """Print the features of clips."""
    from core import features as handcrafted
    from core.data.audio import check_max_seconds, read_clip
    from core.encoders.batches import OneByOne
    from core.runtime.device import choose
    from core.runtime.pool import map_unordered

    check_max_seconds(options.max_seconds)
    name = handcrafted.canonical(options.set)
    of = handcrafted.parse_set(name)
    if not of.of_audio:
        raise ParameterError(f"{name!r} is of a table, not of a clip")
    of_clip = OneByOne(name, device=choose("auto" if of.on_device else "cpu"))
    columns = handcrafted.columns(name)
    code = 0

    def measure(file: str) -> Any:
        return of_clip(read_clip(file, max_seconds=options.max_seconds))

    for outcome in map_unordered(measure, options.clips, workers=0):  # in this process, so in order
        file = outcome.item
        if outcome.value is None:
            code = 1
            if options.json:
                print_json({"file": file, "error": outcome.error})
            print(f"earmark: {file}: {outcome.error}", file=sys.stderr)
        elif options.json:
            print_json({"file": file} | {column.name: float(value) for column, value in zip(columns, outcome.value, strict=True)})
        else:
            print(file)
            for column, value in zip(columns, outcome.value, strict=True):
                print(f"  {column.name:28} {value:14.6g}  {column.unit}")
    return code


def extract(options: argparse.Namespace) -> int:
    """Extract a data set into the workspace."""
    from core.data.dataset import Problem

    dataset, layout = _dataset(options)
    options.features = _with_words(options.features, dataset)
    request = {"dataset": os.path.abspath(options.dataset), "layout": layout, "extract": _extract_settings(options)}
    done = _do("extract", request, _workspace(options))
    print(f"{done['ready']} clips have their features: {done['computed']} computed now, {done['ready'] - done['computed']} cached")
    print_problems(Problem(**problem) for problem in done["set_aside"])
    for path in done["files"]:
        print(f"  {path}")
    return 0


def train(options: argparse.Namespace) -> int:
    """Train an ensemble on a data set."""
    from core.runs import find_run

    workspace = _workspace(options)
    dataset, layout = _dataset(options)
    options.features = _with_words(options.features, dataset)
    extract, ensemble = _extract_settings(options), _ensemble_settings(options)
    request = {"dataset": os.path.abspath(options.dataset), "layout": layout, "extract": extract, "ensemble": ensemble}
    run = find_run(_do("train", request, workspace)["run_id"], workspace.jobs)
    print_run(run, out=sys.stderr if options.json else sys.stdout)
    if options.json:
        models = {name: {"oof_rmse": model.oof_rmse} for name, model in run.scores.models.items()}
        print_json(run_line(run) | {"models": models, "submission": run.record.submission, "seconds": run.record.seconds})
    return 0


def finetune(options: argparse.Namespace) -> int:
    """Train an audio and a text encoder together on a data set."""
    from core.extraction.config import ExtractSettings
    from core.multimodal.config import FinetuneSettings
    from core.runs import find_run
    from core.settings import build

    workspace = _workspace(options)
    dataset, layout = _dataset(options)
    flags = {field.name: getattr(options, field.name, None) for field in fields(FinetuneSettings)}
    flags |= {"text": _text_source(options.text, dataset), "audio": options.encoder_is}
    ensemble = _section(options, "ensemble")  # of a run whose clips are to be scored in the same folds
    plan = {name: ensemble[name] for name in ("folds", "groups", "stratified", "seed") if name in ensemble}
    settings = build(FinetuneSettings, plan | _section(options, "finetune"), **flags)
    extract = build(ExtractSettings, _section(options, "extract"), max_seconds=options.max_seconds, workers=options.workers)
    request = {"dataset": os.path.abspath(options.dataset), "layout": layout, "extract": extract, "finetune": settings}
    run = find_run(_do("finetune", request, workspace)["run_id"], workspace.jobs)
    print_run(run, out=sys.stderr if options.json else sys.stdout)
    if options.json:
        print_json(run_line(run) | {"submission": run.record.submission, "seconds": run.record.seconds})
    return 0


def blend(options: argparse.Namespace) -> int:
    """Average finished runs, such as an ensemble and a fine-tuned one."""
    from core.runs import find_run

    workspace = _workspace(options)
    chosen = [find_run(name, workspace.jobs) for name in options.runs]
    for run in chosen:
        if run.folder.parent.resolve() != workspace.jobs.resolve():
            raise ParameterError(
                f"{run.folder}: a blend is of runs in one workspace, here {workspace.root}; name it with --workspace"
            )
    names = [run.id for run in chosen]
    run = find_run(_do("blend", {"runs": names}, workspace)["run_id"], workspace.jobs)
    print_run(run, out=sys.stderr if options.json else sys.stdout)
    if options.json:
        print_json(run_line(run) | {"submission": run.record.submission})
    return 0


def tune(options: argparse.Namespace) -> int:
    """Train with a search for settings."""
    options.trials = TRIALS if options.trials is None else options.trials
    return train(options)


def runs(options: argparse.Namespace) -> int:
    """List the finished runs."""
    from core.runs import list_runs, unreadable_runs
    from core.runs.leaderboard import leaderboard, table_lines

    jobs_folder = _workspace(options).jobs
    rows = leaderboard(list_runs(jobs_folder))
    for _, reason in unreadable_runs(jobs_folder):
        print(f"warning: {reason}", file=sys.stderr)
    if options.json:
        print_json({"runs": rows})
    else:
        print("\n".join(table_lines(rows)) if rows else "no finished run yet; train one with: earmark train DATASET")
    return 0


def compare(options: argparse.Namespace) -> int:
    """Compare two runs."""
    from core.runs import find_run
    from core.runs.leaderboard import comparable, load_oof, settings_difference
    from core.scoring.compare import paired_verdict

    workspace = _workspace(options)
    before, after = (find_run(name, workspace.jobs) for name in (options.before, options.after))
    if why_not := comparable(before, after):
        raise ParameterError(f"{before.id} and {after.id} cannot be compared: {why_not}")
    one, other = load_oof(before), load_oof(after)
    groups = one.groups if any(one.groups) else None
    minutes = (after.record.seconds - before.record.seconds) / 60
    verdict = paired_verdict(one.labels, one.predictions, other.predictions, groups=groups, minutes=minutes)
    differences = settings_difference(before, after)
    if options.json:
        settings = {name: [value, new] for name, value, new in differences}
        print_json({"before": before.id, "after": after.id, "verdict": verdict, "settings": settings})
        return 0
    print(f"{after.id} against {before.id}: {verdict.sentence()}")
    for name, value, new in differences:
        print(f"  {name}: {value} -> {new}")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Score a run on a labelled hold-out."""
    from core.runs import find_run
    from core.tasks.score import ScoringOptions, evaluate_run

    workspace = _workspace(options)
    run = find_run(options.run, workspace.jobs)
    dataset, _ = _dataset(options)
    with Progress() as progress:
        found = evaluate_run(run, dataset.train, ScoringOptions(workspace, options.tta, notify=progress))
    if options.json:
        line = {"run_id": run.id, "clips": len(found.rows), **found.scores}
        line |= {"constant_rmse": found.constant_rmse, "interval_coverage": found.coverage, "trained_on": found.trained_on}
        predictions = [dict(zip(("file", "label", "prediction", "low", "high"), row, strict=True)) for row in found.rows]
        print_json(line | {"unreadable": found.unreadable, "predictions": predictions})
        return 0
    print(f"run {run.id} on {len(found.rows)} labelled clips of {dataset.name} that it was not trained on")
    for name, value in (*found.scores.items(), ("constant_rmse", found.constant_rmse)):
        print(f"  {name:14} {value:.4f}")
    print(f"  {'oof_rmse':14} {run.scores.oof_rmse:.4f}  (what training said)")
    print(f"  {'coverage':14} {found.coverage:.2f}  (of labels inside their interval)")
    if found.trained_on:
        print(f"  {len(found.trained_on)} clips left out, the run was trained on them (first: {found.trained_on[0]})")
    for name, reason in found.unreadable.items():
        print(f"  left out: {name}: {reason}")
    return 0


def cache_info(options: argparse.Namespace) -> int:
    """Say what the cache of a workspace holds."""
    from core.cli.doctor import size_text
    from core.extraction.extract import is_current
    from core.runtime.cache import VectorCache

    path = _cache(options)
    with VectorCache(path, read_only=True) as store:
        stored = store.stored()
    print(f"{path}: {size_text(path.stat().st_size)}")
    for of in stored:
        name = f"{of.set_name} of the first {of.max_seconds:g} s" if of.set_name else "of an unknown set"
        use = "in use" if is_current(of) else "of an earlier definition: earmark cache prune removes them"
        print(f"  {of.vectors:8d} vectors, {size_text(of.bytes):>9}  {name} ({use})")
    if kept := list(_workspace(options).frames.glob("audio_*.npy")):
        size = size_text(sum(file.stat().st_size for file in kept))
        print(f"  {len(kept):8d} clips,   {size:>9}  heard for fine-tuning (earmark cache prune --frames removes them)")
    return 0


def cache_verify(options: argparse.Namespace) -> int:
    """Check every vector of a cache against its checksum."""
    from core.runtime.cache import VectorCache

    path = _cache(options)
    with VectorCache(path, read_only=True) as store:
        damaged = store.damaged()
        vectors = sum(of.vectors for of in store.stored())
    if damaged:
        print(f"{len(damaged)} of {vectors} vectors are damaged; they are never used, and earmark cache prune removes them")
        return 1
    print(f"{vectors} vectors, all whole")
    return 0


def cache_prune(options: argparse.Namespace) -> int:
    """Remove from a cache what this version will not use."""
    from core.cli.doctor import size_text
    from core.extraction.extract import is_current
    from core.multimodal.frames import is_whole, torn_frames
    from core.runtime.cache import VectorCache

    path = _cache(options)
    before = path.stat().st_size
    with VectorCache(path) as store:
        removed = store.remove(store.damaged(), definitions=[of.definition for of in store.stored() if not is_current(of)])
    freed = max(0, before - path.stat().st_size)
    files = list(_workspace(options).frames.glob("audio_*.npy"))
    gone = [file for file in files if options.frames or not is_whole(file)]
    freed += sum(file.stat().st_size for file in gone)
    for file in (*gone, *torn_frames(_workspace(options).frames)):
        file.unlink(missing_ok=True)
    heard = f" and {len(gone)} of {len(files)} clips heard for fine-tuning" if files else ""
    print(f"{removed} vectors{heard} removed, {size_text(freed)} freed")
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Examine the installation."""
    from core.cli.doctor import examine

    found = examine(_workspace(options))
    if options.json:
        print_json({"findings": found})
    else:
        section = ""
        for finding in found:
            if finding.section != section:
                section = finding.section
                print(section)
            print(f"  {finding.name:16} {finding.value}")
            if finding.problem:
                print(f"  {'':16} problem: {finding.problem}")
    return 1 if any(finding.problem for finding in found) else 0


def app(options: argparse.Namespace) -> int:
    """Open the workbench in the browser."""
    import subprocess

    root = Path(__file__).resolve().parents[2]
    if not (root / "app" / "__main__.py").is_file():
        raise ParameterError(f"{root}: the browser workbench is not part of this installation; install Earmark from its repository")
    words = [sys.executable, "-m", "app", "--workspace", str(_workspace(options).root), "--from", str(Path.cwd())]
    words += [] if options.port is None else ["--port", str(options.port)]
    child = subprocess.Popen(words, cwd=root)
    signal.signal(signal.SIGTERM, lambda number, frame: child.terminate())
    try:
        return child.wait()
    except KeyboardInterrupt:  # a terminal tells the child too; another sender may not have
        try:
            return child.wait(timeout=3)
        except subprocess.TimeoutExpired:
            child.terminate()
            return child.wait()


def predict(options: argparse.Namespace) -> int:
    """Score clips with a finished run."""
    from core.runs import find_run
    from core.tasks.predict import score

    workspace = _workspace(options)
    if not options.clips and options.table is None:
        raise ParameterError("nothing to score: name clips, or a folder or CSV with --table PATH")
    run = find_run(options.run, workspace.jobs)
    layout = {name: getattr(options, name) for name in ("filename_column", "label_column", "audio") if getattr(options, name)}
    request = {"clips": options.clips, "table": options.table, "layout": layout, "tta": options.tta}
    with Progress() as progress:
        found = score(run, request, workspace, notify=progress)
    print_problems(found["problems"]) if not options.json else None
    for prediction in found["predictions"]:
        print_json(prediction) if options.json else print_prediction(prediction)
    if not options.json:
        print_evaluation(found["evaluation"], found.get("not_judged"))
    return 0 if all(prediction.prediction is not None for prediction in found["predictions"]) else 1


def explain(options: argparse.Namespace) -> int:
    """Explain the out-of-fold predictions of a run."""
    from core.insight.explain import find_clips, load_explanation
    from core.runs import find_run

    workspace = _workspace(options)
    run = find_run(options.run, workspace.jobs)
    clips = find_clips(run, run.load_matrix().filenames, options.clips)
    try:
        found = load_explanation(run)
    except RunError as error:
        print(f"earmark: {error}; doing so now", file=sys.stderr)
        found = None
    if found is None or not set(clips) <= set(found.filenames):
        name = run.id if run.folder.parent == workspace.jobs else str(run.folder)
        _do("explain", {"run": name, "clips": clips}, workspace)
        found = load_explanation(run)
        assert found is not None
    if options.json:
        print_json(explanation_record(run, found, clips))
    else:
        print_explanation(run, found, clips)
    return 0


def layers(options: argparse.Namespace) -> int:
    """Score the layers of an encoder."""
    from core.features import canonical

    _, layout = _dataset(options)
    extract = {"max_seconds": options.max_seconds, "device": options.device, "workers": options.workers}
    request = {
        "dataset": os.path.abspath(options.dataset),
        "layout": layout,
        "encoder": canonical(options.encoder),
        "extract": {name: value for name, value in extract.items() if value is not None},
        "heads": _list(options.heads),
        **{name: getattr(options, name) for name in ("groups", "folds", "repeats", "seed")},
    }
    done = _do("layers", request, _workspace(options))
    if options.json:
        print_json(done)
    else:
        print_layers(done)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="earmark", description="Audio regression with scores that hold on new clips.")
    parser.add_argument("--version", action="version", version=f"earmark {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(command=command)
        return sub

    # A flag that is not given stays None, so that a settings file can speak before the default does.
    def add_dataset(sub: argparse.ArgumentParser, *, audio: str = "--audio") -> None:
        sub.add_argument(
            "dataset", metavar="DATASET", help="folder with csvs/ and audios/, or a plain folder or CSV with its clips"
        )
        sub.add_argument("--filename-column", metavar="NAME", help="column with the names of the clips (default: filename)")
        sub.add_argument("--label-column", metavar="NAME", help="column with the labels (default: label)")
        sub.add_argument(audio, dest="audio", metavar="DIR", help="folder with the clips, where it is not the usual one")
        sub.add_argument("--settings", metavar="FILE", help="settings as JSON, or the run.json of a run; flags override it")

    def add_work(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--features", metavar="SETS", help="feature sets (default: ultra,mfcc,metadata; see README)")
        sub.add_argument("--max-seconds", type=float, metavar="S", help="only the start of longer clips is analysed (default: 45)")

        sub.add_argument(
            "--device", choices=("auto", "cuda", "cpu"), help="where PyTorch computes (default: auto, a GPU where there is one)"
        )
        sub.add_argument(
            "--batch", type=_batch, metavar="N", help="pieces that PyTorch computes at once (default: auto, what should fit)"
        )
        sub.add_argument(
            "--rehash", action="store_true", default=None, help="read every file anew instead of knowing it by its size and times"
        )

    def add_ensemble(sub: argparse.ArgumentParser) -> None:
        models = "xgboost,lightgbm,catboost,random_forest,extra_trees,svr,ridge"
        sub.add_argument(
            "--member",
            action="append",
            metavar="SPEC",
            help="MODEL[:SETS][:KEY=VALUE,...], such as svr:mfcc or lightgbm:ultra,mfcc:seed=7; may be given several times. "
            "Without sets, they are chosen inside each fold",
        )
        sub.add_argument("--models", metavar="NAMES", help=f"short for a --member each (default: {models})")
        sub.add_argument("--preset", metavar="NAME", help="fast or classic (default: fast)")
        sub.add_argument("--folds", type=int, metavar="N", help="folds of the cross-validation (default: 5)")
        sub.add_argument("--repeats", type=int, metavar="N", help="how often the folds are drawn anew (default: 1)")
        sub.add_argument("--stratified", action="store_true", default=None, help="folds with about the same distribution of labels")
        sub.add_argument(
            "--groups",
            metavar="COLUMN",
            help="column whose clips of one value stay in one fold, such as speaker; auto takes what audio, names and features say",
        )
        sub.add_argument("--scaling", metavar="NAME", help="robust or standard (default: robust)")
        sub.add_argument("--blend", metavar="NAME", help="auto, mean or weights (default: auto, the better one on an inner split)")
        sub.add_argument("--round-labels", action="store_true", default=None, help="bring predictions to the grid of the labels")
        sub.add_argument("--augment", type=int, metavar="K", help="altered copies of each training clip (default: 0)")
        sub.add_argument("--tta", type=int, metavar="K", help="altered copies of each scored clip, averaged (default: 0)")
        sub.add_argument(
            "--pseudo-labels", action="store_true", default=None, help="fit again with the test clips, as each fold labels them"
        )
        sub.add_argument(
            "--self-test", action="store_true", default=None, help="train on permuted labels too: there must be nothing to learn"
        )
        sub.add_argument("--level", type=float, metavar="P", help="share of labels that intervals are to cover (default: 0.9)")
        sub.add_argument("--trials", type=int, metavar="N", help="settings that each member tries inside each fold")
        sub.add_argument(
            "--minutes", type=float, metavar="M", help="time for the fits; cheap members first, what is not complete is left out"
        )
        sub.add_argument("--seed", type=int, metavar="N", help="(default: 42)")

    def add_workers(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--workers", type=int, metavar="N", help="worker processes (default: one for each core; 0: this one)")

    def add_workspace(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--workspace", metavar="DIR", help="where results are kept (default: $EARMARK_WORKSPACE or ./workspace)")

    sub = add("check", check, "report on a data set: counts, labels, and every problem with its clips")
    add_dataset(sub)
    add_workers(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = add("features", features, "print the features of clips")
    sub.add_argument("clips", nargs="+", metavar="CLIP")
    sub.add_argument(
        "--set", default="ultra", metavar="SET", help="any feature set, such as mfcc or torch200 (default: %(default)s)"
    )
    sub.add_argument("--max-seconds", type=float, default=45.0, metavar="S", help="only the start of longer clips is analysed")
    sub.add_argument("--json", action="store_true", help="print one JSON object a clip")

    sub = add("extract", extract, "extract the features of a data set once, and export them as .npz")
    add_dataset(sub)
    add_work(sub)
    add_workers(sub)
    add_workspace(sub)

    sub = add("train", train, "train a cross-validated ensemble and write the submission")
    add_dataset(sub)
    add_work(sub)
    add_ensemble(sub)
    add_workers(sub)
    add_workspace(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object as the last line")

    sub = add("finetune", finetune, "train an audio and a text encoder together, with adapters, and write the submission")
    add_dataset(sub, audio="--audio-dir")
    sub.add_argument(
        "--audio-model", metavar="ID|DIR", help="encoder of the Hugging Face hub or a folder (default: facebook/wav2vec2-base)"
    )
    sub.add_argument("--text-model", metavar="ID|DIR", help="text encoder, likewise (default: distilbert/distilbert-base-uncased)")
    sub.add_argument(
        "--text",
        metavar="SOURCE",
        help="a column of the table, transcript (a column that is called so, else describe), describe (the clip's acoustics in "
        "words), whisper=MODEL (what a recogniser hears), or none (default: describe)",
    )
    sub.add_argument(
        "--audio",
        dest="encoder_is",
        choices=("frozen", "lora", "none"),
        help="what is done with the audio encoder: its frames are computed once, it is trained with adapters, nothing is heard "
        "(default: frozen)",
    )
    sub.add_argument("--layer", type=int, metavar="N", help="layer of the audio encoder that is read (default: the last)")
    sub.add_argument("--fusion", choices=("attention", "gated", "concat"), help="(default: attention)")
    sub.add_argument("--folds", type=int, metavar="N", help="folds of the cross-validation (default: 5)")
    sub.add_argument("--groups", metavar="COLUMN", help="column whose clips of one value stay in one fold, or auto")
    sub.add_argument("--stratified", action="store_true", default=None, help="folds with about the same distribution of labels")
    sub.add_argument("--epochs", type=int, metavar="N", help="at most; the best on an inner split is taken (default: 15)")
    sub.add_argument("--patience", type=int, metavar="N", help="epochs without a better one that end a fold (default: 4)")
    sub.add_argument("--batch", type=int, metavar="N", help="clips at once (default: 4)")
    sub.add_argument("--accumulation", type=int, metavar="N", help="batches that make one step (default: 1)")
    sub.add_argument("--learning-rate", type=float, metavar="R", help="of the adapters (default: 2e-5)")
    sub.add_argument("--head-learning-rate", type=float, metavar="R", help="of pooling, fusion and head (default: 1e-3)")
    sub.add_argument("--warmup", type=float, metavar="P", help="share of the steps in which the rates rise (default: 0.1)")
    sub.add_argument("--weight-decay", type=float, metavar="W", help="(default: 0.01)")
    sub.add_argument("--clip-norm", type=float, metavar="N", help="longest gradient (default: 1)")
    sub.add_argument("--rank", type=int, metavar="R", help="of the adapters (default: 8)")
    sub.add_argument("--alpha", type=int, metavar="A", help="scale of the adapters: alpha / rank (default: 16)")
    sub.add_argument("--dropout", type=float, metavar="P", help="in adapters and fusion (default: 0.1)")
    sub.add_argument("--level", type=float, metavar="P", help="share of labels that intervals are to cover (default: 0.9)")
    sub.add_argument("--loss", choices=("huber", "mse"), help="(default: huber)")
    sub.add_argument("--concordance", type=float, metavar="W", help="weight of a concordance loss beside it (default: 0)")
    sub.add_argument("--seed", type=int, metavar="N", help="(default: 42)")
    sub.add_argument("--max-seconds", type=float, metavar="S", help="only the start of longer clips is heard (default: 45)")
    sub.add_argument("--device", choices=("auto", "cuda", "cpu"), help="where PyTorch computes (default: auto)")
    add_workers(sub)
    add_workspace(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object as the last line")

    sub = add("blend", blend, "average finished runs on the same clips and folds, such as an ensemble and a fine-tuned one")
    sub.add_argument(
        "runs", nargs="+", metavar="RUN", help="id of a run, latest, best, or a run's folder; two or more of one workspace"
    )
    add_workspace(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object as the last line")

    sub = add("tune", tune, "train with settings that each member finds for itself, inside each fold")
    add_dataset(sub)
    add_work(sub)
    add_ensemble(sub)
    add_workers(sub)
    add_workspace(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object as the last line")

    sub = add("predict", predict, "score clips with a finished run")
    sub.add_argument("run", metavar="RUN", help="id of a run, latest, best, or a run's folder")
    sub.add_argument("clips", nargs="*", metavar="CLIP")
    sub.add_argument(
        "--table", metavar="PATH", help="folder of clips or of a data set, or a CSV that names clips, with or without labels"
    )
    sub.add_argument("--filename-column", metavar="NAME", help="column with the names of the clips (default: filename)")
    sub.add_argument("--label-column", metavar="NAME", help="column with the labels (default: label)")
    sub.add_argument("--audio", metavar="DIR", help="folder with the clips of the table, where it is not its own")
    sub.add_argument("--tta", type=int, metavar="K", help="altered copies of each clip, averaged (default: as the run was trained)")
    add_workspace(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object a clip")

    sub = add("evaluate", evaluate, "score a finished run on a labelled data set that it was not trained on")
    sub.add_argument("run", metavar="RUN", help="id of a run, latest, best, or a run's folder")
    add_dataset(sub)
    sub.add_argument("--tta", type=int, metavar="K", help="altered copies of each clip, averaged (default: as the run was trained)")
    add_workspace(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = add("explain", explain, "tell which columns move the predictions of a finished run, and by how much")
    sub.add_argument("run", metavar="RUN", help="id of a run, latest, best, or a run's folder")
    sub.add_argument("clips", nargs="*", metavar="CLIP", help="clips of the training table to be explained one by one")
    add_workspace(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = add("layers", layers, "score each layer of an encoder by itself, and propose a band of them")
    add_dataset(sub)
    sub.add_argument("--encoder", metavar="SET", required=True, help="wav2vec2, hubert, wavlm or encoder:MODEL")
    sub.add_argument("--heads", metavar="NAMES", help="models that score a layer (default: ridge,svr,lightgbm)")
    sub.add_argument("--groups", metavar="COLUMN", help="column whose clips of one value stay in one fold, or auto")
    sub.add_argument("--folds", type=int, metavar="N", help="folds of the cross-validation (default: 5)")
    sub.add_argument("--repeats", type=int, metavar="N", help="how often the folds are drawn anew (default: 1)")
    sub.add_argument("--seed", type=int, metavar="N", help="(default: 42)")
    sub.add_argument("--max-seconds", type=float, metavar="S", help="only the start of longer clips is analysed (default: 45)")
    sub.add_argument("--device", choices=("auto", "cuda", "cpu"), help="where PyTorch computes (default: auto)")
    add_workers(sub)
    add_workspace(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = add("runs", runs, "list the finished runs")
    add_workspace(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = add("compare", compare, "compare two runs on the same clips and folds: better, worse, or cannot tell")
    sub.add_argument("before", metavar="RUN")
    sub.add_argument("after", metavar="RUN")
    add_workspace(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    caches = commands.add_parser("cache", help="look after the stored features", description="Look after the stored features.")
    actions = caches.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name, command, help in (
        ("info", cache_info, "what is stored, by feature set"),
        ("verify", cache_verify, "check every stored vector against its checksum"),
        ("prune", cache_prune, "remove what is damaged or of an earlier definition"),
    ):
        sub = actions.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(command=command)
        add_workspace(sub)
    sub.add_argument(
        "--frames", action="store_true", help="also remove what was heard for fine-tuning; it is heard again when needed"
    )

    sub = add("doctor", doctor, "examine versions, device, disk and workspace")
    add_workspace(sub)
    sub.add_argument("--json", action="store_true", help="print one JSON object")

    sub = add("app", app, "open the workbench in the browser")
    add_workspace(sub)
    sub.add_argument("--port", type=int, metavar="N", help="port on this machine (default: 8501, or the next free one)")
    return parser


def _do(kind: str, request: dict[str, Any], workspace: Workspace) -> Any:
    """Do a job in this process, or follow the one that is already at work on the same request; the result either way."""
    job, mine = jobs.claim(kind, request, workspace.jobs)
    with Progress() as progress:
        if mine:
            from core.tasks.kinds import work

            perform(job, work, notify=progress)
        else:
            print(f"job {job.id} is already at work on this; following it (Ctrl-C only stops following)", file=sys.stderr)
            for recorded in jobs.follow(job):
                progress(recorded.event)
    state = jobs.status(job)
    if state == jobs.FAILED:
        raise JobError(jobs.why_failed(job))
    if state != jobs.DONE:
        raise JobError(f"job {job.id} is {state}; the same command goes on from there")
    return jobs.result(job)


def _dataset(options: argparse.Namespace) -> tuple["Dataset", "Layout"]:
    """The data set, read once so that a wrong path is told at once, and how it is laid out."""
    from core.data.dataset import read_dataset

    if getattr(options, "workers", None) is not None and options.workers < 0:
        raise ParameterError(f"workers={options.workers} must be 0 or more")
    layout = _layout(options)
    return read_dataset(options.dataset, layout), layout


def _layout(options: argparse.Namespace) -> "Layout":
    from core.data.dataset import Layout
    from core.settings import build

    audio = str(Path(options.audio).absolute()) if options.audio and Path(options.audio).is_dir() else options.audio
    names = {"filename_column": options.filename_column, "label_column": options.label_column}
    return build(Layout, _section(options, "layout"), audio=audio, **names)


def _with_words(features: str | None, dataset: "Dataset") -> str | None:
    """Feature sets, plain ``transcript`` among them as what the data set has: a column that is called so, else a description."""
    sets = _list(features)
    if not sets or TRANSCRIPT not in sets:
        return features
    columns = dataset.train[0].columns if dataset.train else {}
    named = next((name for name in columns if name.casefold() in TEXT_COLUMNS), None)
    source = f"{TRANSCRIPT}:describe" if named is None else f"{TRANSCRIPT}:column={named}"
    print(f"earmark: {TRANSCRIPT} is taken as {source}", file=sys.stderr)
    return ",".join(source if name == TRANSCRIPT else name for name in sets)


def _text_source(text: str | None, dataset: "Dataset") -> str | None:
    """What ``--text`` means: a name is that of a column, unless it says where else the text comes from."""
    from core.multimodal.config import COLUMN, DESCRIBE, NONE, RECOGNISED

    if text is None or text in (DESCRIBE, NONE) or text.startswith((COLUMN, RECOGNISED)):
        return text
    columns = dataset.train[0].columns if dataset.train else {}
    if text != TRANSCRIPT or TRANSCRIPT in columns:
        return COLUMN + text
    named = next((name for name in columns if name.casefold() in TEXT_COLUMNS), None)
    source = DESCRIBE if named is None else COLUMN + named
    print(f"earmark: {TRANSCRIPT} is taken as {source.removeprefix(COLUMN)}", file=sys.stderr)
    return source


def _batch(text: str) -> int:
    """Pieces at once; 0 for ``auto``."""
    if text == "auto":
        return AUTO_BATCH
    if (batch := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a whole number from 1 on")
    return batch


def _extract_settings(options: argparse.Namespace) -> "ExtractSettings":
    from core.extraction.config import ExtractSettings
    from core.settings import build

    flags = {"features": _list(options.features), "max_seconds": options.max_seconds}
    flags |= {"workers": options.workers, "rehash": options.rehash, "device": options.device}
    flags |= {"batch": None if options.batch == AUTO_BATCH else options.batch}
    return build(ExtractSettings, _section(options, "extract"), **flags)


def _ensemble_settings(options: argparse.Namespace) -> "EnsembleSettings":
    from core.ensemble import EnsembleSettings
    from core.settings import build

    if options.member and options.models:
        raise ParameterError("--models is short for --member; give one of the two")
    names = [field.name for field in fields(EnsembleSettings) if field.name != "members"]
    flags = {name: getattr(options, name) for name in names}
    members = tuple(options.member) if options.member else _list(options.models)
    return build(EnsembleSettings, _section(options, "ensemble"), members=members, **flags)


def _section(options: argparse.Namespace, name: str) -> dict[str, Any]:
    from core.settings import read_settings

    file = getattr(options, "settings", None)
    return read_settings(file).get(name, {}) if file else {}


def _cache(options: argparse.Namespace) -> Path:
    path = _workspace(options).cache
    if not path.is_file():
        raise ParameterError(f"{path} is not there: nothing was extracted into this workspace yet (another one: --workspace)")
    return path


def _workspace(options: argparse.Namespace) -> Workspace:
    return Workspace.resolve(options.workspace)


def _list(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


if __name__ == "__main__":
    sys.exit(main())
