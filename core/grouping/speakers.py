"""Voices of clips in, who probably speaks out: groups for a data set that does not name its speakers.

Vectors are those of ``voice256``, of length 1: what two clips have in common is their cosine.
"""

from dataclasses import dataclass

import numpy as np

from core.errors import ParameterError
from core.scoring.folds import make_folds

DISTANCE = 0.25  # between clusters, 1 - cosine, where no test clips say otherwise
MOST_ROWS = 6000  # all pairs are compared
_TRIED = np.round(np.arange(0.05, 0.5001, 0.0125), 4)
_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Speakers:
    """Who probably speaks.

    Attributes
    ----------
    groups : tuple of str [n], ``voice 1`` and so on, by first appearance
    distance : float, where clusters were kept apart
    validation_similarity : float, mean cosine of a clip of a grouped fold to the nearest clip that the fold is trained on; NaN
        where there are no folds of that many groups
    test_similarity : float, the same from test clips to training clips; NaN where there are none
    """

    groups: tuple[str, ...]
    distance: float
    validation_similarity: float
    test_similarity: float


def propose_speakers(voices: np.ndarray, test_voices: np.ndarray | None = None, *, seed: int = 42) -> Speakers:
    """Cluster clips by voice (average linkage), as far apart as the test clips are from the training clips.

    Clusters that are too small leave a speaker on both sides of a fold: a clip that is validated then has a nearer relative among
    the clips that the fold is trained on than a test clip has. So of the distances that are tried, the one is taken whose folds
    are as far apart as the test table is.

    Parameters
    ----------
    voices : np.ndarray [shape=(n, d)], of length 1, 2 <= n <= 6000
    test_voices : np.ndarray [shape=(m, d)], of length 1, or None where there are no test clips: the usual distance is taken
    seed : int, of the folds

    Returns
    -------
    speakers : Speakers

    Raises
    ------
    ParameterError
        There are too few or too many clips.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    n = len(voices)
    if not 2 <= n <= MOST_ROWS:
        raise ParameterError(f"voices of {n} clips: expected 2 to {MOST_ROWS}; name the speakers in a column instead")
    similarity = voices.astype(np.float64) @ voices.T.astype(np.float64)
    apart = np.clip(1 - similarity, 0, None)
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), method="average")

    def cut(distance: float) -> np.ndarray:
        return np.asarray(fcluster(tree, distance, criterion="distance"))

    if test_voices is None or not len(test_voices):
        groups = cut(DISTANCE)
        return Speakers(_named(groups), DISTANCE, _validation_similarity(similarity, groups, seed), float("nan"))
    wanted = float((test_voices.astype(np.float64) @ voices.T.astype(np.float64)).max(axis=1).mean())
    tried = [(float(distance), _validation_similarity(similarity, cut(distance), seed)) for distance in _TRIED]
    known = [(distance, found) for distance, found in tried if np.isfinite(found)]
    if not known:
        return Speakers(_named(cut(DISTANCE)), DISTANCE, float("nan"), wanted)
    distance, found = min(known, key=lambda one: (abs(one[1] - wanted), one[0]))
    return Speakers(_named(cut(distance)), distance, found, wanted)


def _validation_similarity(similarity: np.ndarray, groups: np.ndarray, seed: int) -> float:
    if len(set(groups.tolist())) < _FOLDS:
        return float("nan")
    plan = make_folds(len(groups), folds=_FOLDS, seed=seed, groups=tuple(map(str, groups)))
    nearest = [similarity[np.ix_(fold.test_rows, fold.train_rows)].max(axis=1) for fold in plan]
    return float(np.concatenate(nearest).mean())


def _named(groups: np.ndarray) -> tuple[str, ...]:
    first: dict[int, str] = {}
    return tuple(first.setdefault(int(group), f"voice {len(first) + 1}") for group in groups)
