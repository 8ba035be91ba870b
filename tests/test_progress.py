"""How far a job is, as its events say it: the same for the bar of the command line and for the page."""

import pytest

from core.cli import console
from core.events import (
    BatchHalved,
    CheckStarted,
    ClipChecked,
    ClipExtracted,
    ClipSetAside,
    CompilingStarted,
    DeviceChosen,
    EpochScored,
    ExplainStarted,
    ExtractionStarted,
    FinetuneStarted,
    FitFinished,
    FoldScored,
    JobStarted,
    LayerScored,
    LayersStarted,
    LeakGapFound,
    PartExplained,
    StageStarted,
    StepDone,
    TrainingStarted,
    Warned,
)
from core.progress import Progress, measure_progress

FIT = FitFinished("svr", 0, 1.0, None, 0.1, 1.0, 2.0)


def step(fold, epoch):
    return StepDone(fold, 1, 8, epoch, 0.5, 1e-4, 1.0)


def counted(*events):
    progress = measure_progress(events)
    return progress.task, progress.unit, progress.done, progress.total


def test_nothing_is_counted_before_the_work_begins():
    assert measure_progress([]) == Progress() == measure_progress([JobStarted(1, "a"), ClipExtracted("a", 1.0), FIT])


@pytest.mark.parametrize(
    ("start", "steps", "says"),
    [
        (CheckStarted(3), [ClipChecked("a"), ClipSetAside("b", "empty")], ("check", "clip", 2, 3)),
        (ExtractionStarted(5, 2, 3), [ClipExtracted("a", 1.0), ClipSetAside("b", "empty")], ("extract", "clip", 2, 3)),
        (TrainingStarted(9), [FIT, FoldScored(0, 1.0)], ("train", "fit", 1, 9)),
        (ExplainStarted(4), [PartExplained("fold 1", 9, 1.0)], ("explain", "part", 1, 4)),
        (LayersStarted(6), [LayerScored(1, "ridge", 0.5)], ("layers", "part", 1, 6)),
        (FinetuneStarted(2, 4, 1, 2), [step(0, 0.5), EpochScored(0, 1, 0.5, 0.1), step(0, 1.5)], ("fine-tune", "epoch", 1.5, 8)),
        (
            FinetuneStarted(2, 4, 1, 2),
            [EpochScored(0, 1, 0.5, 0.1), FoldScored(0, 0.5), step(1, 0.5)],
            ("fine-tune", "epoch", 4.5, 8),
        ),
    ],
)
def test_each_task_counts_its_own_steps(start, steps, says):
    assert counted(start, *steps) == says
    assert counted(TrainingStarted(7), FIT, start, *steps) == says  # a new count begins at nothing
    assert counted(start, *steps, JobStarted(2, "a")) == ("", "", 0, 0)


def test_where_all_clips_are_cached_there_is_nothing_to_count():
    assert counted(ExtractionStarted(5, 5, 0)) == ("", "", 0, 0)


def test_a_stage_beside_the_work_ends_the_count_until_the_next_begins():
    told = [TrainingStarted(1), FIT, StageStarted("self-test 1 of 3")]
    assert counted(*told) == counted(*told, FIT) == ("", "", 0, 0)
    progress = measure_progress([*told, TrainingStarted(1), FIT])
    assert (progress.stage, progress.done, progress.total, progress.count) == ("self-test 1 of 3", 1, 1, 2)
    assert measure_progress([*told, ExtractionStarted(5, 2, 3)]).stage is None


def test_the_device_is_named_with_what_its_memory_allows():
    progress = measure_progress([DeviceChosen("cuda", "H100"), BatchHalved("wavlm", 8), CompilingStarted()])
    assert (progress.device, progress.memory, progress.compiling) == ("cuda (H100)", "memory allows wavlm 8 at once", True)
    assert measure_progress([BatchHalved("fine-tuning", 2)]).memory == "memory allows batches of 2"


def test_the_bar_counts_what_the_page_counts_and_a_warning_does_not_end_it(capsys):
    events = [
        *[JobStarted(1, "a"), DeviceChosen("cpu", "cpu"), ExtractionStarted(4, 1, 3), ClipExtracted("a", 1.0)],
        *[Warned("read twice"), ClipSetAside("b", "empty"), ClipExtracted("c", 1.0), TrainingStarted(2), FIT, FoldScored(0, 1.0)],
        *[StageStarted("self-test 1 of 3"), TrainingStarted(2), FIT, FinetuneStarted(2, 2, 1, 2), step(0, 0.5)],
        *[EpochScored(0, 1, 0.5, 0.1), step(0, 1.5), FoldScored(0, 0.5), step(1, 0.5), EpochScored(1, 1, 0.5, 0.1)],
    ]
    with console.Progress() as bar:
        for number, event in enumerate(events, 1):
            bar(event)
            progress = measure_progress(events[:number])
            assert (bar._bar is not None) == bool(progress.unit)
            if progress.unit:
                assert (bar._bar.n, bar._bar.total) == (int(progress.done), progress.total)
        bar(LeakGapFound(0.9, 1.3, "speaker"))
    said = capsys.readouterr().err
    for line in (
        "4 clips: 1 cached, 3 to extract",
        "warning: read twice",
        "set aside: b: empty",
        "repeat 1, fold 1: ensemble RMSE 1.0000",
        "self-test 1 of 3 ...",
        "fold 1: RMSE 0.5000 on its own rows",
        "quick model: RMSE 0.9000 in random folds, 1.3000 by speaker",
    ):
        assert line in said
