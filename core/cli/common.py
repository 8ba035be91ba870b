"""What commands share: the workspace, the data set and the settings that a command line names, and the way a job is done."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from core import jobs
from core.cli.arguments import split_names
from core.cli.console import Progress, print_json, run_line
from core.errors import JobError
from core.jobs.runner import perform
from core.workspace import Workspace

if TYPE_CHECKING:
    from core.data.dataset import Dataset
    from core.data.layouts.layout import Layout
    from core.runs import Run
    from core.section import Section

Kind = TypeVar("Kind", bound="Section")


def do(kind: str, request: dict[str, Any], workspace: Workspace) -> Any:
    """Do a job in this process, or follow the one that is already at work on the same request; the result either way."""
    job, is_new = jobs.claim(kind, request, workspace.jobs)
    with Progress() as progress:
        if is_new:
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
        raise JobError(f"job {job.id} is {state}; the same command resumes it")
    return jobs.result(job)


def read_workspace(options: argparse.Namespace) -> Workspace:
    """The workspace that is named, else the usual one."""
    return Workspace.resolve(options.workspace)


def read_options(options: argparse.Namespace, kind: type[Kind], *names: str, **more: Any) -> Kind:
    """A section of the settings from the flags and the settings file; a flag overrides the file.

    Parameters
    ----------
    options : argparse.Namespace
    kind : the section
    names : the settings that flags may set, by name; all where there are none
    more : further values that override the file, where they are not None
    """
    from core.settings import build

    flags = {name: getattr(options, name, None) for name in names or kind.model_fields}
    return build(kind, read_section(options, kind.section), **flags | more)


def read_section(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """A section of the settings file that is named; empty where there is none."""
    from core.settings import read_settings

    file = getattr(options, "settings", None)
    return read_settings(file).get(name, {}) if file else {}


def read_layout(options: argparse.Namespace) -> "Layout":
    """How the data set is laid out; folders and tables as seen from here are made absolute."""
    from core.data.layouts.layout import Layout

    named = {name: getattr(options, name, None) for name in ("audio", "train", "test")}
    return read_options(
        options, Layout, **{name: str(Path(path).absolute()) for name, path in named.items() if path and Path(path).exists()}
    )


def label_names(options: argparse.Namespace) -> tuple[str, ...]:
    """The columns of labels that a command line names."""
    return split_names(read_layout(options).label_column)


def take_label(options: argparse.Namespace, label: str, labels: Sequence[str]) -> None:
    """Go on with one of several labels; the others are neither features nor groups of it."""
    layout = read_layout(options)
    layout = layout.with_label(label, (*labels, *layout.other_labels))
    options.label_column, options.other_labels = layout.label_column, layout.other_labels


def read_data(options: argparse.Namespace) -> tuple["Dataset", "Layout"]:
    """The data set, read once so that a wrong path is reported at once, and how it is laid out."""
    from core.data.dataset import read_dataset
    from core.extraction.config import ExtractSettings

    read_options(options, ExtractSettings, "workers")  # refused before anything is read
    layout = read_layout(options)
    return read_dataset(options.dataset, layout, segments=read_workspace(options).segments), layout


def columns_of(dataset: "Dataset") -> tuple[str, ...]:
    """The further columns of the training table."""
    return tuple(dataset.train[0].columns) if dataset.train else ()


def confirm(question: str) -> bool:
    """Ask on standard error; only y and yes are yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().casefold() in ("y", "yes")


def say_meaning(short: str, meaning: str) -> None:
    """Say on standard error what a short name is taken as."""
    print(f"earmark: {short} is taken as {meaning}", file=sys.stderr)


def print_record(run: "Run", *names: str) -> None:
    """One line of JSON: a run's id, its scores without those of the members, and parts of its record."""
    print_json(run_line(run) | {name: run.record.as_json()[name] for name in names})
