"""Commands on clips and data sets: report, print features, extract."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from core.cli import common
from core.cli.common import read_data, read_options, read_workspace
from core.cli.console import Progress, print_bandwidths, print_columns, print_json, print_problems, print_ratings
from core.cli.score_table import transform_words
from core.errors import ParameterError

if TYPE_CHECKING:
    from core.data.dataset import Dataset


def check(options: argparse.Namespace) -> int:
    """Report on a data set."""
    from core.cli.as_command import check_command
    from core.data.report import check_dataset
    from core.extraction.config import ExtractSettings
    from core.scoring.agreement import agreement

    if len(several := common.label_names(options)) > 1:
        common.take_label(options, several[0], several)
    dataset, _ = read_data(options)
    treatment = read_options(options, ExtractSettings, "channel", "slow_down").treatment
    with Progress() as progress:
        report = check_dataset(dataset, treatment=treatment, workers=options.workers, notify=progress)
    if options.json:
        print_json(report.as_json() | ({} if dataset.ratings is None else {"ratings": agreement(dataset.ratings)}))
        return 0 if report.why_not is None else 1
    record = report.as_json()
    labels: Any = record["labels"]
    print(f"{dataset.root}")
    print(f"  layout        {dataset.recognised}")
    print_columns(dataset.columns)
    print(f"  clips         {report.train_clips} to train on, {report.test_clips} to test")
    print(f"  length        {report.seconds / 3600:.2f} h ({report.seconds:.0f} s)")
    rates = ", ".join(f"{rate} Hz ({count})" for rate, count in sorted(report.sample_rates.items()))
    print(f"  sample rates  {rates or 'none'}")
    print_bandwidths(report.bandwidths)
    if treatment.words:
        print(f"  analysed      {treatment.words}")
    if labels["count"]:
        print("  labels        " + ", ".join(f"{key} {labels[key]:.4g}" for key in ("mean", "std", "min", "median", "max")))
        widest = max(labels["distribution"].values())
        for value, count in labels["distribution"].items():
            print(f"    {value:>16}  {count:5d}  {'#' * round(40 * count / widest)}")
    if (hint := transform_words(report.labels)) is not None:
        print(f"                {hint}")
    print_ratings(dataset.ratings)
    print_problems(report.problems)
    if report.why_not:
        print(f"Training is not possible: {report.why_not}.")
        return 1
    extract = ExtractSettings(channel=treatment.channel, slow_down=treatment.slow_down)
    print(f"Training is possible: {check_command(options.dataset, dataset.layout, extract, command='train')}")
    return 0


def features(options: argparse.Namespace) -> int:
    """Print the features of clips."""
    from core import features as handcrafted
    from core.data.audio import read_clip
    from core.encoders.batches import OneByOne
    from core.extraction.config import ExtractSettings
    from core.runtime.device import choose
    from core.runtime.pool import map_unordered

    settings = read_options(options, ExtractSettings, "max_seconds", "channel", "slow_down", "encoder_window")
    name = handcrafted.canonical(options.set)
    of = handcrafted.parse_set(name)
    if not of.of_audio or of.reads_text:
        raise ParameterError(f"{name!r} is of a table, not of a clip")
    of_clip = OneByOne(name, device=choose("auto" if of.on_device else "cpu"), encoder_window=settings.encoder_window)
    columns = handcrafted.columns(name)
    analysed = f" ({words})" if (words := settings.treatment.words) else ""
    code = 0

    def measure(file: str) -> Any:
        return of_clip(read_clip(file, max_seconds=settings.max_seconds, treatment=settings.treatment))

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
            print(f"{file}{analysed}")
            for column, value in zip(columns, outcome.value, strict=True):
                print(f"  {column.name:28} {value:14.6g}  {column.unit}")
    return code


def extract(options: argparse.Namespace) -> int:
    """Extract a data set into the workspace."""
    from core.data.rows import Problem
    from core.extraction.config import ExtractSettings

    dataset, layout = read_data(options)
    settings = read_options(options, ExtractSettings, features=read_features(options, dataset))
    request = {"dataset": os.path.abspath(options.dataset), "layout": layout, "extract": settings}
    done = common.do("extract", request, read_workspace(options))
    analysed = f" ({words})" if (words := settings.treatment.words) else ""
    ready, computed = done["ready"], done["computed"]
    print(f"{ready} clips have their features{analysed}: {computed} computed now, {ready - computed} cached")
    print_problems(Problem(**problem) for problem in done["set_aside"])
    for path in done["files"]:
        print(f"  {path}")
    return 0


def read_features(options: argparse.Namespace, dataset: "Dataset") -> tuple[str, ...] | None:
    """The feature sets that a command line names, plain ``transcript`` as what it means there; None where it names none."""
    from core.extraction.config import resolve_features

    if options.features is None:
        return None
    features = resolve_features(options.features, common.columns_of(dataset))
    for short, name in zip(options.features, features, strict=True):
        if name != short:
            common.say_meaning(short, name)
    return features
