"""A run in the making: where it is written, since when, and who listens."""

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from core.errors import TrackingError
from core.events import Notify, Warned, ignore
from core.jobs import new_id
from core.runs import tracking
from core.runs.store import RECORD, Run, read_run
from core.workspace import Workspace, make_folder

CHECKPOINTS = "checkpoints"


@dataclass
class RunContext:
    """Makes the folder of a run on entering, and on an error removes one that was not there before.

    Attributes
    ----------
    workspace : Workspace
    folder : of the run, whose name is its id; None makes a new one
    notify : told of the progress
    started : float, seconds of ``time.perf_counter``
    """

    workspace: Workspace
    folder: Path
    notify: Notify = ignore
    created_here: bool = False
    started: float = field(default_factory=time.perf_counter)

    @classmethod
    def begin(cls, workspace: Workspace, folder: Path | None, notify: Notify) -> Self:
        """A context for a run's folder, or for a new one."""
        return cls(workspace, folder or workspace.jobs / new_id(), notify, created_here=folder is None)

    @property
    def checkpoints(self) -> Path:
        """Finished parts of the work, for another attempt."""
        return self.folder / CHECKPOINTS

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def seconds(self) -> float:
        """Since the work began."""
        return time.perf_counter() - self.started

    def finished(self) -> Run | None:
        """The run that an earlier attempt finished in this folder, or None."""
        return self.finish() if (self.folder / RECORD).is_file() else None

    def finish(self) -> Run:
        """The finished run, after it was copied to MLflow; where that cannot be done it is no worse for it."""
        run = read_run(self.folder)
        shutil.rmtree(self.checkpoints, ignore_errors=True)  # the run has what they held
        try:
            tracking.mirror(run, self.workspace)
        except TrackingError as error:
            self.notify(Warned(f"the run is complete, but was not written to MLflow: {error}"))
        return run

    def __enter__(self) -> Self:
        make_folder(self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None and self.created_here and not (self.folder / RECORD).is_file():
            shutil.rmtree(self.folder, ignore_errors=True)  # a folder without run.json would only puzzle
