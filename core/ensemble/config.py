"""Settings of an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.ensemble.blend import BLENDS
from core.ensemble.members import parse_members
from core.ensemble.models import CATALOGUE, PRESETS, SCALINGS
from core.errors import ParameterError
from core.scoring.folds import Fold, make_folds
from core.scoring.oof import check_plan


@dataclass(frozen=True, slots=True)
class EnsembleSettings:
    """How an ensemble is trained.

    Attributes
    ----------
    members : tuple of str, each as ``members.parse_member`` reads it
    preset : str, "fast" or "classic"
    folds : int >= 2
    repeats : int >= 1, of the folds, each with another seed
    stratified : bool, folds with about the same distribution of labels
    groups : str or None, column whose rows of one value stay in one fold; "auto" takes what the names, the audio and the features
        say of rows that belong together
    scaling : str, "standard" or "robust"
    blend : str, "auto" for the better of the two on an inner split, "mean" of all members, or "weights"
    round_labels : bool, predictions are brought to the grid on which the labels stand
    augment : int >= 0, altered copies of each training clip
    tta : int >= 0, altered copies of each scored clip whose predictions are averaged with its own
    pseudo_labels : bool, fit again with the clips of the test table, labelled by the fold's own first fit
    self_test : bool, train on permuted labels too: there must be nothing to learn
    level : float between 0 and 1, share of the labels that an interval is to cover
    trials : int >= 0, settings that each member tries on an inner split of each fold; 0 takes its own
    minutes : float > 0 or None, time for the fits: cheap members come first, those that are not complete by then are left out
    seed : int >= 0
    workers : int >= 0, processes; None takes one for each core, 0 works in this process
    """

    members: tuple[str, ...] = tuple(CATALOGUE)
    preset: str = "fast"
    folds: int = 5
    repeats: int = 1
    stratified: bool = False
    groups: str | None = None
    scaling: str = "robust"
    blend: str = "auto"
    round_labels: bool = False
    augment: int = 0
    tta: int = 0
    pseudo_labels: bool = False
    self_test: bool = False
    level: float = 0.9
    trials: int = 0
    minutes: float | None = None
    seed: int = 42
    workers: int | None = None

    def __post_init__(self) -> None:
        parse_members(self.members)
        for name, known in (("preset", PRESETS), ("scaling", SCALINGS), ("blend", BLENDS)):
            if getattr(self, name) not in known:
                raise ParameterError(f"{name}={getattr(self, name)!r} not among {', '.join(known)}")
        if self.groups is not None and not self.groups.strip():
            raise ParameterError("groups='' names no column; leave the option out to train without groups")
        for name, least in (("folds", 2), ("repeats", 1), ("augment", 0), ("tta", 0), ("trials", 0)):
            if getattr(self, name) < least:
                raise ParameterError(f"{name}={getattr(self, name)} must be {least} or more")
        if self.minutes is not None and not 0 < self.minutes < np.inf:
            raise ParameterError(f"minutes={self.minutes} must be above 0")
        if not 0 < self.level < 1:
            raise ParameterError(f"level={self.level} must be above 0 and below 1")
        if self.workers is not None and self.workers < 0:
            raise ParameterError(f"workers={self.workers} must be 0 or more")
        if not 0 <= self.seed < 2**31:
            raise ParameterError(f"seed={self.seed} must be 0 or more and below 2147483648")

    @property
    def copies(self) -> int:
        """Altered copies of each training clip that are needed."""
        return max(self.augment, self.tta)

    def plans(self, labels: np.ndarray, groups: Sequence[str] | None) -> list[list[Fold]]:
        """The folds of each repeat; labels [shape=(n,)], groups [n] or None.

        Raises
        ------
        ParameterError
            There are fewer rows, or fewer groups, than folds.
        DataError
            The labels of a fold's training rows are all equal.
        """
        plans = [
            make_folds(
                len(labels),
                folds=self.folds,
                seed=(self.seed + repeat) % 2**31,
                groups=groups,
                labels=labels,
                stratified=self.stratified,
            )
            for repeat in range(self.repeats)
        ]
        for plan in plans:
            check_plan(plan, labels)
        return plans
