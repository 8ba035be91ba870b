"""Scikit-learn estimators as .skops files, which hold data and the names of types, but no code."""

import importlib
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

from core.errors import RunError

_importing = threading.Lock()

# The types that a stored forest or preprocessor may hold besides those that skops trusts by itself. A tree's node indices are
# checked after loading, because scikit-learn follows them blindly.
TRUSTED_TYPES = (
    *(f"core.{module}.{name}" for module in ("ensemble.preprocess", "preprocess") for name in ("DropRedundant", "Limit")),
    *(f"core.ensemble.preprocess.{name}" for name in ("ColumnsRobustScaler", "Screen", "WeighSets")),
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
)


def save_skops(estimator: Any, path: Path) -> None:
    """Write a scikit-learn estimator as .skops: data and type names, no code."""
    _skops_io().dump(estimator, path, compression=zipfile.ZIP_DEFLATED, compresslevel=1)


def load_skops(path: Path, expected: type) -> Any:
    """Read a .skops file that holds an estimator of the expected type and nothing that is not trusted.

    Raises
    ------
    RunError
        The file is damaged, holds other types, or an estimator of another kind.
    """
    skops_io = _skops_io()
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        estimator = skops_io.load(path, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException as error:
        raise RunError(f"{path}: holds types that Earmark does not load ({str(error).splitlines()[0]})") from None
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise RunError(f"{path}: not a readable model ({error}); train again") from None
    if not isinstance(estimator, expected):
        raise RunError(f"{path}: expected {expected.__name__}, found {type(estimator).__name__}")
    return estimator


def _skops_io() -> Any:
    """``skops.io``, without PyTorch: it looks into each part of scikit-learn, and one of them imports torch, which takes seconds.

    A part that is marked as not to be imported is passed over.
    """
    import sklearn.base  # noqa: F401  (whole before a part of it is held back)

    part = "sklearn.externals.array_api_compat.torch"
    with _importing:
        hold_back = "skops.io" not in sys.modules and part not in sys.modules
        if hold_back:
            sys.modules[part] = None  # type: ignore[assignment]
        try:
            return importlib.import_module("skops.io")
        finally:
            if hold_back:
                sys.modules.pop(part, None)
