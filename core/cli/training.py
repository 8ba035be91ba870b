"""Commands that train: ensembles, fine-tuned encoders, blends, and layers of an encoder scored one by one."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.cli import common
from core.cli.common import read_data, read_options, read_section, read_workspace
from core.cli.console import Progress, print_json, print_labels, print_layers, print_run, run_line
from core.errors import EarmarkError, ParameterError

if TYPE_CHECKING:
    from core.ensemble.config import EnsembleSettings
    from core.runs import Run

TRIALS = 30  # of ``earmark tune``, a member and fold


def train(options: argparse.Namespace) -> int:
    """Train an ensemble on a data set, or one for each of several labels."""
    labels = common.label_names(options)
    if len(labels) > 1:
        return _train_labels(options, labels)
    request = _train_request(options)
    run = _trained("train", request, options)
    _print_trained(run, options)
    _print_unused(run, options)
    return 0


def _train_labels(options: argparse.Namespace, labels: Sequence[str]) -> int:
    from core.runs import find_run

    workspace = read_workspace(options)
    common.take_label(options, labels[0], labels)
    done = common.do("labels", _train_request(options) | {"labels": labels}, workspace)
    runs = [find_run(done["runs"][label], workspace.jobs) for label in labels]
    for run in runs:
        print_run(run, out=sys.stderr if options.json else sys.stdout)
        _print_trained(run, options)
    if options.json:
        print_json({"runs": done["runs"], "submission": done["submission"]})
    else:
        print_labels(labels, runs, done["submission"])
    return 0


def _train_request(options: argparse.Namespace) -> dict[str, Any]:
    from core.cli.datasets import read_features
    from core.extraction.config import ExtractSettings

    dataset, layout = read_data(options)
    extract = read_options(options, ExtractSettings, features=read_features(options, dataset))
    request = {"dataset": os.path.abspath(options.dataset), "layout": layout, "extract": extract}
    return request | {"ensemble": read_ensemble(options)}


def _print_trained(run: "Run", options: argparse.Namespace) -> None:
    if options.json:
        models = {name: {"oof_rmse": model.oof_rmse} for name, model in run.scores.models.items()}
        print_json(run_line(run) | {"models": models, "submission": run.record.submission, "seconds": run.record.seconds})


def _print_unused(run: "Run", options: argparse.Namespace) -> None:
    """Say which sets at hand the training left out."""
    from core.tasks.ladder import unused

    try:
        line = unused(read_data(options)[0], run.record.settings.extract.features)
    except EarmarkError as error:  # the run is complete, whatever became of its data set or of a model
        line = f"unused sets are unknown: {error}"
    if line is not None:
        print(f"earmark: {line}", file=sys.stderr)


def auto(options: argparse.Namespace) -> int:
    """Find the best experiment for a data set."""
    from core.cli.console import print_ladder
    from core.ensemble.auto import AutoSettings
    from core.extraction.config import ExtractSettings

    _, layout = read_data(options)
    names = ("max_seconds", "channel", "slow_down", "encoder_window", "device", "batch", "workers")
    extract = read_options(options, ExtractSettings, *names)
    settings = read_options(options, AutoSettings)
    fetch_missing(settings.models, options)
    request = {"dataset": os.path.abspath(options.dataset), "layout": layout, "extract": extract, "auto": settings}
    run = _trained("auto", request, options)
    print_ladder(run, out=sys.stderr if options.json else sys.stdout)
    if options.json:
        print_json(run_line(run) | {"ladder": run.record.as_json()["ladder"], "submission": run.record.submission})
    return 0


def fetch_missing(named: Sequence[str], options: argparse.Namespace) -> None:
    """Name the models that could be fetched, and fetch them where a terminal, or --yes, says so; the others stay away."""
    from core.tasks.ladder import fetch_models, missing_models

    asks = sys.stdin.isatty() and not options.json
    for one in missing_models():
        if one.model in named:
            continue
        if not options.yes and not asks:
            print(f"not on this machine: {one.line()}; --fetch {one.model} fetches it", file=sys.stderr)
        elif options.yes or common.confirm(f"fetch {one.line()}?"):
            with Progress() as progress:
                fetch_models((one.model,), progress)


def tune(options: argparse.Namespace) -> int:
    """Train with a search for settings."""
    options.trials = TRIALS if options.trials is None else options.trials
    return train(options)


def finetune(options: argparse.Namespace) -> int:
    """Train an audio and a text encoder together on a data set."""
    from core.extraction.config import ExtractSettings
    from core.multimodal.config import COLUMN, FinetuneSettings, resolve_text
    from core.scoring.folds import FoldSettings

    dataset, layout = read_data(options)
    text = None if options.text is None else resolve_text(options.text, common.columns_of(dataset))
    if text is not None and text not in (options.text, COLUMN + options.text):
        common.say_meaning(options.text, text.removeprefix(COLUMN))
    ensemble = read_section(options, "ensemble")  # of a run whose clips are to be scored in the same folds
    plan = {name: ensemble[name] for name in FoldSettings.model_fields if name in ensemble and name != "level"}
    section = plan | read_section(options, "finetune")
    flags = {name: value for name in FinetuneSettings.model_fields if (value := getattr(options, name)) is not None}
    settings = FinetuneSettings(**section | flags | ({} if text is None else {"text": text}))
    extract = read_options(options, ExtractSettings, "max_seconds", "channel", "slow_down", "workers")
    request = {"dataset": os.path.abspath(options.dataset), "layout": layout, "extract": extract, "finetune": settings}
    run = _trained("finetune", request, options)
    if options.json:
        common.print_record(run, "submission", "seconds")
    return 0


def blend(options: argparse.Namespace) -> int:
    """Average finished runs, such as an ensemble and a fine-tuned one."""
    from core.runs import find_run

    workspace = read_workspace(options)
    chosen = [find_run(name, workspace.jobs) for name in options.runs]
    for run in chosen:
        if run.folder.parent.resolve() != workspace.jobs.resolve():
            raise ParameterError(
                f"{run.folder}: a blend is of runs in one workspace, here {workspace.root}; name it with --workspace"
            )
    run = _trained("blend", {"runs": [run.id for run in chosen]}, options)
    if options.json:
        common.print_record(run, "submission")
    return 0


def layers(options: argparse.Namespace) -> int:
    """Score the layers of an encoder."""
    from core.encoders.source import TO_CLIP
    from core.features import canonical

    _, layout = read_data(options)
    names = ("max_seconds", "channel", "slow_down", "encoder_window", "device", "workers")
    extract = {name: getattr(options, name) for name in names}
    request = {
        "dataset": os.path.abspath(options.dataset),
        "layout": layout,
        "encoder": canonical(options.encoder),
        "extract": {"encoder_window": TO_CLIP} | {name: value for name, value in extract.items() if value is not None},
        "heads": options.heads,
        "groups": options.group_by,
        **{name: getattr(options, name) for name in ("folds", "repeats", "seed")},
    }
    done = common.do("layers", request, read_workspace(options))
    if options.json:
        print_json(done)
    else:
        print_layers(done)
    return 0


def read_ensemble(options: argparse.Namespace) -> "EnsembleSettings":
    """The settings of an ensemble that a command line names."""
    from core.ensemble.config import EnsembleSettings

    if options.members and options.models:
        raise ParameterError("--models is short for --member; give one of the two")
    return read_options(options, EnsembleSettings, members=tuple(options.members) if options.members else options.models)


def _trained(kind: str, request: dict[str, Any], options: argparse.Namespace) -> "Run":
    """Do a job that ends in a run, and print its scores."""
    from core.runs import find_run

    workspace = read_workspace(options)
    run = find_run(common.do(kind, request, workspace)["run_id"], workspace.jobs)
    print_run(run, out=sys.stderr if options.json else sys.stdout)
    return run
