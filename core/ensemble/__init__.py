"""A cross-validated ensemble. Names of ``core.ensemble.train`` can be imported from here; it is loaded when one is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.ensemble.config import EnsembleSettings as EnsembleSettings
    from core.ensemble.train import (
        IN_SAMPLE as IN_SAMPLE,
        NESTED as NESTED,
        OUT_OF_FOLD as OUT_OF_FOLD,
        EnsembleResult as EnsembleResult,
        check_plan as check_plan,
        train_ensemble as train_ensemble,
        with_sets_of as with_sets_of,
    )


def __getattr__(name: str) -> Any:
    return getattr(import_module("core.ensemble.train"), name)
