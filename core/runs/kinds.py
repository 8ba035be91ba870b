"""What a run is: trained as an ensemble, fine-tuned, or a blend of others. Everything that depends on it is asked here.

A new kind is a module with a ``RUN``, and a line in ``RUN_KINDS``. The registry holds names of modules, as a started process is
named: they stand above this one, and listing runs loads none of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from core.errors import RunError

ENSEMBLE = "ensemble"  # a record without a kind is one
RUN_KINDS = {
    ENSEMBLE: "core.tasks.train",
    "finetune": "core.tasks.finetune",
    "blend": "core.tasks.blend",
}


@dataclass(frozen=True, slots=True)
class RunKind:
    """A kind of run.

    Attributes
    ----------
    name : str, in run.json
    command : str, the subcommand of ``earmark`` that makes it
    noun : str, with its article: a trained ensemble
    label : str, that follows its name in a list; empty for the usual kind
    page : str, name of the page that shows its result
    member_noun : str, what is combined, in the plural: Members; empty where there is nothing
    whole_noun : str, what they make: ensemble
    submission_name : str, file name of its submission
    predict : called with the run, rows of a table and ScoringOptions; returns a list of ``tasks.score.Prediction``
    why_not_explained : str, why its predictions cannot be explained by features; empty where they can
    why_no_curve : str, why its error with more clips is not measured; empty where it can be
    models_note : str, what the download of its models holds; empty where its folder holds names of other runs instead
    why_no_submission : str, where it has none
    takes_copies : bool, augmented copies of a scored clip can be averaged
    """

    name: str
    command: str
    noun: str
    label: str
    page: str
    member_noun: str
    whole_noun: str
    submission_name: str
    predict: Callable[[Any, Sequence[Any], Any], list[Any]]
    why_not_explained: str = ""
    why_no_curve: str = "it is measured for trained ensembles only"
    models_note: str = "The models of all folds with the record of the run, as one zip."
    why_no_submission: str = "this data set has no test table"
    takes_copies: bool = False

    @property
    def holds_models(self) -> bool:
        """Whether its folder holds what was fitted, rather than the names of other runs."""
        return bool(self.models_note)


@cache
def run_kind(name: str) -> RunKind:
    """The kind of that name.

    Raises
    ------
    RunError
        There is none.
    """
    if name not in RUN_KINDS:
        raise RunError(f"kind={name!r} not among {', '.join(RUN_KINDS)}: the run is of another version of Earmark")
    kind: RunKind = import_module(RUN_KINDS[name]).RUN
    return kind
