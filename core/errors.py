"""Every error that Earmark raises on purpose. Its text says what was expected, what arrived and what to do.

EarmarkError
├── ParameterError     a setting or an argument is outside what is accepted
├── DataError          a data set, a table or a matrix is not as required
│   └── AudioError     one file cannot be turned into samples or features; carries ``path`` and ``reason``
├── RunError           a finished run cannot be found or read
├── FileError          a file of the workspace is damaged; carries ``path`` and ``reason``
├── TrackingError      a finished run cannot be copied to MLflow; the run itself is whole
└── JobError           a job cannot be started, found or gone on with
"""

from pathlib import Path


class EarmarkError(Exception):
    """Base of the tree: catching it catches every error that a user can mend."""


class ParameterError(EarmarkError):
    """A setting or an argument is outside what is accepted."""


class DataError(EarmarkError):
    """A data set, a table or a matrix is not as required."""


class AudioError(DataError):
    """One file cannot be turned into samples or features.

    Parameters
    ----------
    path : the file
    reason : half a sentence that fits behind the name of the file
    """

    def __init__(self, path: str | Path, reason: str):
        super().__init__(str(path), reason)  # both in args: the error survives the way back from a worker process
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path.name}: {self.reason}"


class RunError(EarmarkError):
    """A finished run cannot be found or read."""


class FileError(EarmarkError):
    """A file of the workspace is damaged.

    Parameters
    ----------
    path : the file
    reason : half a sentence that names the field, where one is wrong
    """

    def __init__(self, path: str | Path, reason: str):
        super().__init__(str(path), reason)
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class TrackingError(EarmarkError):
    """A finished run cannot be copied to MLflow; the run itself is whole."""


class JobError(EarmarkError):
    """A job cannot be started, found or gone on with."""
