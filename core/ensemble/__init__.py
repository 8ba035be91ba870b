"""A cross-validated ensemble. Its main names can be imported from here; their modules are loaded when one is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.ensemble.config import EnsembleSettings as EnsembleSettings
    from core.ensemble.result import EnsembleResult as EnsembleResult
    from core.ensemble.train import train_ensemble as train_ensemble, with_sets_of as with_sets_of


def __getattr__(name: str) -> Any:
    module = "core.ensemble.config" if name == "EnsembleSettings" else "core.ensemble.train"
    return getattr(import_module(module), name)
