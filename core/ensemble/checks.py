"""What is trained beside an ensemble, to tell whether to believe it: on permuted labels, and without each switch that is on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.ensemble.config import EnsembleSettings
from core.ensemble.result import EnsembleResult
from core.events import Notify, StageStarted, ignore
from core.extraction.matrix import Matrix
from core.runtime.pool import cores
from core.scoring.compare import Verdict, paired_verdict

PERMUTATIONS = 3
# Of the baseline's error: below it, something was learned from labels that say nothing.
HONEST_ABOVE = 0.97
SWITCHES = ("augment", "tta", "pseudo_labels", "rater_bias", "label_transform")
JUDGED_BY_FITS = tuple(name for name in SWITCHES if name != "tta")  # all members are fitted once more without

# Trains on a matrix with settings; the name keeps what is fitted apart from what is fitted under other names.
Train = Callable[[Matrix, EnsembleSettings, str], EnsembleResult]


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What training on permuted labels gave.

    Attributes
    ----------
    ratios : tuple of float, out-of-fold RMSE by the baseline's, one a permutation
    """

    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return float(np.mean(self.ratios))

    @property
    def passed(self) -> bool:
        return self.ratio >= HONEST_ABOVE


def permute_labels(labels: np.ndarray, groups: Sequence[str] | None, *, seed: int) -> np.ndarray:
    """Labels that say nothing of their rows: shuffled, or dealt out to other groups where there are some.

    Groups are put in another order and their labels laid over the rows in the groups' old order. So labels that stood together
    stay together, in as many rows: what can be learned from belonging together stays learnable, what can be heard does not.

    Parameters
    ----------
    labels : np.ndarray [shape=(n,)]
    groups : sequence of str [n], optional
    seed : int

    Returns
    -------
    permuted : np.ndarray [shape=(n,)]

    Examples
    --------
    >>> permute_labels(np.array([1.0, 1.0, 5.0, 5.0]), ["a", "a", "b", "b"], seed=3).tolist()
    [5.0, 5.0, 1.0, 1.0]
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        return rng.permutation(labels)
    names, of = np.unique(np.asarray(groups, str), return_inverse=True)
    order = rng.permutation(len(names))
    permuted = np.empty_like(labels)
    permuted[np.argsort(of, kind="stable")] = np.concatenate([labels[of == group] for group in order])
    return permuted


def self_test(matrix: Matrix, settings: EnsembleSettings, train: Train, *, notify: Notify = ignore) -> SelfTest:
    """Train on permuted labels, in the same way as on the true ones.

    Parameters
    ----------
    matrix : Matrix
    settings : EnsembleSettings; one repeat is done
    train : Train
    notify : called with StageStarted

    Returns
    -------
    found : SelfTest
    """
    ratios = []
    for number in range(PERMUTATIONS):
        notify(StageStarted(f"self-test {number + 1} of {PERMUTATIONS}"))
        permuted = replace(matrix, y=permute_labels(matrix.y, matrix.groups, seed=settings.seed + number))
        oof = train(permuted, settings.replace(repeats=1), f"self-test-{number}").oof
        rmse, baseline = (float(np.mean(oof.rmse_by_repeat(row))) for row in (oof.predictions, oof.baseline))
        ratios.append(rmse / baseline)
    return SelfTest(tuple(ratios))


def judge_switches(
    matrix: Matrix,
    settings: EnsembleSettings,
    result: EnsembleResult,
    train: Train,
    *,
    notify: Notify = ignore,
) -> dict[str, Verdict]:
    """For each switch that is on, what it changed: the same training without it, on the same folds.

    Parameters
    ----------
    matrix : Matrix
    settings : EnsembleSettings
    result : EnsembleResult of these settings
    train : Train
    notify : called with StageStarted

    Returns
    -------
    verdicts : dict of the switch's name to Verdict; its minutes are what the fits took more than without the switch
    """
    verdicts = {}
    workers = max(1, cores() if settings.workers is None else settings.workers)
    for switch in SWITCHES:
        usual = EnsembleSettings.model_fields[switch].default
        if getattr(settings, switch) == usual:
            continue
        if switch == "tta":  # the same models, which predicted the clip alone too
            without, cost = result.plain, 0.0
        else:
            notify(StageStarted(f"without {switch.replace('_', '-')}, to compare"))
            off = settings.replace(**{switch: usual})
            plain = train(matrix, off, f"without-{switch}")
            without, cost = plain.oof.predictions, (result.seconds - plain.seconds) / workers
        verdicts[switch] = paired_verdict(matrix.y, without, result.oof.predictions, groups=matrix.groups).at_cost(cost / 60)
    return verdicts
