"""Names, contents and vectors of clips in; what ties rows together, and what gives a label away, out.

Rows that are tied (a speaker's clips, copies of one recording) must not stand on both sides of a fold: the score would be that of
recognising them. A group is a text; rows with the same text belong together.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from core.data.duplicates import copied_pairs, near_pairs
from core.data.kinds import SUFFIXES
from core.ensemble.models import make_model
from core.ensemble.regressor import Parameters
from core.errors import DataError, ParameterError
from core.scoring import metrics
from core.scoring.associations import with_label
from core.scoring.folds import make_folds

IDENTICAL_AUDIO, NAME_STEM, NEAR_IDENTICAL, VOICES = "identical audio", "name stem", "near-identical", "voices"

_STEM_PARTS = 4  # beginnings of a name that are tried
_STEMS_FOR_FOLDS = 10  # stems that make good folds: with fewer a longer beginning is better

_SAME = 0.999  # correlation that is equality, but for rounding
_FEWEST_GROUPS = 8
_MOST_ROWS = 0.9
# A column follows the groups' mean labels when it is this near to them, in standard errors of such a mean: an honest column can
# know a group's true mean, not what chance added to it.
_BEYOND_CHANCE = 0.1
_OFF, _ROUNDED = 0.03, 1e-3  # in standard deviations of the mean labels: never further off than the first, the second is rounding
_FITS = 5

# What ``leak_gap`` fits. Its own parameters, not those of a preset: the gap of a data set is to stay the same.
_CHEAP: dict[str, Parameters] = {
    "svr": {"C": 5.0, "epsilon": 0.1, "gamma": 0.3},
    "extra_trees": {"n_estimators": 100, "max_features": 0.3},
    "lightgbm": {
        "objective": "regression",
        "metric": "rmse",
        "learning_rate": 0.1,
        "feature_fraction": 0.3,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "max_bin": 31,
        "num_threads": 1,
        "force_col_wise": True,
        "deterministic": True,
        "verbosity": -1,
        "rounds": 100,
    },
}


@dataclass(frozen=True, slots=True)
class Proposal:
    """Groups that the data set does not name.

    Attributes
    ----------
    kind : "identical audio", "name stem", "near-identical" or "voices"
    groups : tuple of str [n]; a row that is tied to none has a name of its own
    tied : int, rows that share their group
    reason : str, one sentence
    """

    kind: str
    groups: tuple[str, ...]
    tied: int
    reason: str


@dataclass(frozen=True, slots=True)
class LeakingColumn:
    """A column that holds the label.

    Attributes
    ----------
    name : str
    reason : str, how it does
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class LeakGap:
    """RMSE of one cheap model under random folds, and with groups kept whole."""

    random_rmse: float
    grouped_rmse: float

    @property
    def gap(self) -> float:
        return self.grouped_rmse - self.random_rmse


def propose_groups(
    filenames: Sequence[str],
    contents: Sequence[str] | None = None,
    X: np.ndarray | None = None,
    fingerprints: np.ndarray | None = None,
    voices: Sequence[str] | None = None,
) -> list[Proposal]:
    """Look for rows that belong together.

    Parameters
    ----------
    filenames : sequence of str [n]
    contents : sequence of str [n], optional: hashes of the files
    X : np.ndarray [shape=(n, d)], optional: their features, NaN where one is not defined
    fingerprints : np.ndarray [shape=(n, k)], optional: of their sound, as ``core.data.fingerprints`` makes them
    voices : sequence of str [n], optional: who probably speaks, as ``core.grouping.speakers`` says

    Returns
    -------
    proposals : list of Proposal, the surest first; none of a kind where nothing is tied
    """
    n = len(filenames)
    received = [len(rows) for rows in (contents, X, fingerprints) if rows is not None]
    if any(count != n for count in received):
        raise DataError(f"expected contents, features and fingerprints of {n} clips, received {received}")
    proposals = []
    if contents is not None:
        first: dict[str, str] = {}
        groups = tuple(first.setdefault(content, name) for name, content in zip(filenames, contents, strict=True))
        proposals.append(_proposal(IDENTICAL_AUDIO, groups, "the same bytes as another clip's"))
    if X is not None or fingerprints is not None:
        pairs = [*(near_pairs(X) if X is not None else []), *(copied_pairs(fingerprints) if fingerprints is not None else [])]
        groups = _components(filenames, np.array(pairs, int).reshape(-1, 2))
        proposals.append(_proposal(NEAR_IDENTICAL, groups, "the sound of another clip, or all but its features"))
    if voices is not None:
        proposals.append(_proposal(VOICES, tuple(voices), "a voice that another clip has too"))
    stems = name_stems(filenames)
    if stems is not None:
        proposals.append(_proposal(NAME_STEM, stems, "names that begin like another's, as {example}"))
    return [proposal for proposal in proposals if proposal.tied]


def name_stems(filenames: Sequence[str]) -> tuple[str, ...] | None:
    """Beginnings that names share: ``spk01`` of ``spk01_003`` and ``spk01-004``, ``anna`` of ``anna (2)``.

    A name is cut at blanks, dots, slashes and the characters ``_-()``, its suffix left out. Tried are its first part, its first
    two, and so on. A beginning will do where there are at most half as many different ones as names, where most names share
    theirs, and where none is that of more than half of the names; so running numbers (``audio_0144``: one beginning, or as many
    as names) never do. Of those that will do, the shortest with ten different ones or more is taken, else the one with the most:
    ``spk01`` rather than ``spk01_session2``, but ``male_spk01`` rather than ``male``.

    Parameters
    ----------
    filenames : sequence of str [n]

    Returns
    -------
    stems : tuple of str [n], or None where no beginning will do

    Examples
    --------
    >>> name_stems(["anna", "anna (2)", "bob.wav", "bob-2.wav"])
    ('anna', 'anna', 'bob', 'bob')
    >>> name_stems(["audio_0", "audio_1", "audio_2", "audio_3"]) is None
    True
    """
    parts = [_parts(name) for name in filenames]
    best: tuple[str, ...] | None = None
    for count in range(1, _STEM_PARTS + 1):
        stems = tuple("_".join(of[:count]) for of in parts)
        sizes = Counter(stems)
        shared = sum(size for size in sizes.values() if size > 1)
        half = len(stems) / 2
        if len(sizes) > half or shared <= half or max(sizes.values()) > half:
            continue
        if best is None or len(sizes) > len(set(best)):
            best = stems
        if len(sizes) >= _STEMS_FOR_FOLDS:
            break
    return best


def merge_groups(*groupings: Sequence[str]) -> tuple[str, ...]:
    """Tie rows that are tied in any of several groupings, and what hangs together through them.

    Parameters
    ----------
    groupings : sequences of str [n], one at least

    Returns
    -------
    groups : tuple of str [n], each named as in the first grouping, by its first row

    Examples
    --------
    >>> merge_groups(["anna", "bob", "carl"], ["x", "y", "y"])
    ('anna', 'bob', 'bob')
    """
    if not groupings or len({len(grouping) for grouping in groupings}) > 1:
        raise ParameterError(f"expected groupings of the same rows, received lengths {[len(grouping) for grouping in groupings]}")
    codes = [np.unique(np.asarray(grouping, str), return_inverse=True)[1] for grouping in groupings]
    rows = np.arange(len(groupings[0]))
    edges = []
    for code in codes:
        first = np.full(len(rows), -1)
        first[code[::-1]] = rows[::-1]  # the first row of each group
        edges.append(np.column_stack([rows, first[code]]))
    return _components(groupings[0], np.concatenate(edges))


def label_leaks(columns: Mapping[str, np.ndarray], y: np.ndarray, groupings: Mapping[str, Sequence[str]]) -> list[LeakingColumn]:
    """Find columns that hold the label: as it is, or as the mean label of a group (a target encoding).

    An encoding is found where nine tenths of the groups of two or more rows follow it, and there are eight such groups: the mean
    label of the row's group, the mean of the group's other rows, or the mean drawn towards that of all rows, by a number of rows
    or as scikit-learn's ``TargetEncoder`` does when it is fitted on all rows; each also scaled and shifted. The rows that hold the
    same value of the column are a grouping too. An encoding from another part of the folds for each row is not found.

    Parameters
    ----------
    columns : mapping of name to np.ndarray [shape=(n,)], NaN where there is no value
    y : np.ndarray [shape=(n,)], labels; NaN where there is none
    groupings : mapping of name to sequence of str [n]

    Returns
    -------
    found : list of LeakingColumn
    """
    labelled = np.isfinite(y)
    y = np.asarray(y, np.float64)[labelled]
    codes = {name: np.unique(np.asarray(of, str)[labelled], return_inverse=True)[1] for name, of in groupings.items()}
    found = []
    for name, column in columns.items():
        values = np.asarray(column, np.float64)[labelled]
        there = np.isfinite(values)
        if there.sum() < _FEWEST_GROUPS or np.ptp(values[there]) == 0:
            continue
        reason = _equals(values[there], y[there])
        for grouping, code in codes.items():
            how = None if reason else _encodes(values, y, code)
            reason = reason if how is None else f"holds the mean label of each group of {grouping!r}{how}"
        own = np.unique(values[there], return_inverse=True)[1]
        if not reason and _encodes(values[there], y[there], own) is not None:
            reason = "holds the mean label of the rows that share a value"
        if reason:
            found.append(LeakingColumn(name, reason))
    return found


def leak_gap(X: np.ndarray, y: np.ndarray, groups: Sequence[str], *, folds: int = 5, seed: int = 42) -> LeakGap:
    """How much random folds flatter: a cheap model under them, and under folds that keep groups whole.

    The model is the mean of support vector regression with a radial kernel, 100 extremely randomised trees and 100 rounds of
    LightGBM: some four seconds for 409 clips with 289 columns, and groups are recognised as well as by larger ensembles. All runs
    in the calling thread.

    Parameters
    ----------
    X : np.ndarray [shape=(n, d)], NaN where a feature is not defined
    y : np.ndarray [shape=(n,)]
    groups : sequence of str [n]
    folds : int >= 2
    seed : int

    Returns
    -------
    found : LeakGap

    Raises
    ------
    ParameterError
        There are fewer groups than folds.
    """
    random, grouped = (_cheap_rmse(X, y, of, folds=folds, seed=seed) for of in (None, groups))
    return LeakGap(random, grouped)


def _cheap_rmse(X: np.ndarray, y: np.ndarray, groups: Sequence[str] | None, *, folds: int, seed: int) -> float:
    from core.ensemble.preprocess import make_preprocessor

    predictions = np.zeros(len(y))
    for fold in make_folds(len(y), folds=folds, seed=seed, groups=groups):
        preprocessor = make_preprocessor().fit(X[fold.train_rows])
        train, test = (np.asarray(preprocessor.transform(X[rows]), np.float64) for rows in (fold.train_rows, fold.test_rows))
        for name, parameters in _CHEAP.items():
            model = make_model(name, parameters=parameters, seed=seed)
            model.fit(train, y[fold.train_rows], np.zeros(len(train), bool))
            predictions[fold.test_rows] += model.predict(test) / len(_CHEAP)
    return metrics.rmse(y, predictions)


def _proposal(kind: str, groups: tuple[str, ...], what: str) -> Proposal:
    sizes = Counter(groups)
    tied = sum(size for size in sizes.values() if size > 1)
    example = next((name for name, size in sizes.items() if size > 1), "")
    shared = sum(size > 1 for size in sizes.values())
    reason = f"{tied} of {len(groups)} clips have {what.format(example=repr(example))}; groups of two or more: {shared}"
    return Proposal(kind, groups, tied, reason)


def _parts(filename: str) -> list[str]:
    suffix = PurePosixPath(filename).suffix
    bare = filename.removesuffix(suffix) if suffix.lower() in SUFFIXES else filename
    return [part for part in re.split(r"[\s_.()/\\-]+", bare) if part] or [filename]


def _components(names: Sequence[str], edges: np.ndarray) -> tuple[str, ...]:
    """Name rows [n] that edges [shape=(e, 2)] connect, directly or through others, as the first of them."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(names)
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(n, n))
    of = connected_components(graph, directed=False)[1]
    first: dict[int, str] = {}
    return tuple(first.setdefault(int(component), name) for component, name in zip(of, names, strict=True))


def _equals(values: np.ndarray, y: np.ndarray) -> str | None:
    found = with_label(values[:, None], y)
    by_value, by_rank = abs(found.pearson[0]), abs(found.spearman[0])
    if by_value > _SAME:
        return f"is the label, at most scaled and shifted (correlation {by_value:.4f} over {len(y)} rows)"
    if by_rank > _SAME:
        return f"puts the clips in the order of their labels (rank correlation {by_rank:.4f} over {len(y)} rows)"
    return None


def _encodes(values: np.ndarray, y: np.ndarray, code: np.ndarray) -> str | None:
    """How a column encodes the mean label of groups, as the end of a sentence; None where it does not.

    Where it has no value, the row counts in its group's mean all the same.
    """
    sizes = np.bincount(code).astype(float)
    shared = sizes > 1
    if shared.sum() < _FEWEST_GROUPS:
        return None
    sums = np.bincount(code, y)
    means = sums / sizes
    within = np.bincount(code, (y - means[code]) ** 2)  # sum of squares
    # What chance adds to a mean label, in the mean over groups.
    chance = np.sqrt(within.sum() / (sizes - 1)[shared].sum() * np.mean(1 / sizes[shared]))
    rows = np.flatnonzero(shared[code] & np.isfinite(values))
    if len(np.unique(values[rows])) < _FEWEST_GROUPS:
        return None
    of, own = code[rows], values[rows]
    drawn = sizes * y.var()
    weight = drawn / np.maximum(drawn + within / sizes, np.finfo(float).tiny)
    ways = {
        "": means[of],
        ", the row's own left out": (sums[of] - y[rows]) / (sizes[of] - 1),
        ", drawn to the mean of all": _smoothed(own, sums[of], sizes[of]),
        ", drawn to the mean of all by its variance": (weight * means + (1 - weight) * y.mean())[of],
    }
    for how, expected in ways.items():
        if np.ptp(expected) == 0:
            continue
        off = min(_OFF * expected.std(), max(_BEYOND_CHANCE * chance, _ROUNDED * expected.std()))
        if any(_follow(own, line, off * abs(slope), of) for slope, line in _lines(expected, own)):
            return how
    return None


def _follow(values: np.ndarray, expected: np.ndarray, off: float, of: np.ndarray) -> bool:
    """Whether nine tenths of the rows, and of the groups, are at most ``off`` from what is expected, and that of many values."""
    near = np.abs(values - expected) <= off
    groups = np.bincount(of, near)[np.unique(of)] / np.bincount(of)[np.unique(of)]
    if min(near.mean(), groups.mean()) < _MOST_ROWS or len(np.unique(values[near])) < _FEWEST_GROUPS:
        return False
    return bool(np.corrcoef(values[near], expected[near])[0, 1] > _SAME)


def _smoothed(values: np.ndarray, sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Mean labels as if k rows of the label p stood with each group, for the k and p that come nearest to a column's values.

    v = (sum + k p) / (size + k) is a line in v: v size - sum = k p - k v.
    """
    left, kept = values * sizes - sums, np.ones(len(values), bool)
    slope, k_p = 0.0, 0.0
    for _ in range(_FITS):
        if np.ptp(values[kept]) == 0:
            break
        slope, k_p = _line(values[kept], left[kept])
        errors = np.abs(left - slope * values - k_p)
        kept = errors <= np.quantile(errors, _MOST_ROWS)
    return (sums + k_p) / (sizes - slope) if slope < 0 else np.zeros(len(values))


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and shift of the line of least squares; x varies."""
    away = x - x.mean()
    slope = float(away @ y / (away @ away))
    return slope, float(y.mean() - slope * x.mean())


def _lines(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """Slopes and heights [shape=(n,)] of lines that y may follow: y = x, and ever better ones through the nine tenths nearest."""
    yield 1.0, x
    kept = np.ones(len(x), bool)
    for _ in range(_FITS):
        if np.ptp(x[kept]) == 0:
            return
        slope, shift = _line(x[kept], y[kept])
        line = slope * x + shift
        yield slope, line
        errors = np.abs(y - line)
        kept = errors <= np.quantile(errors, _MOST_ROWS)
