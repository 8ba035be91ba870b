"""A way to score settings in, the best ones found out: Optuna's tree-structured Parzen estimator (TPE) over the space of a model.

Scores are RMSE in the unit of the label, or another loss. Settings are tried on one part of an inner split after the other and
given up where they are worse than the median of those that were tried on all parts. The first trial is what the member has without
a search, so what is found is never worse than that on the inner split.

Finished trials stand in a SQLite file, which `optuna-dashboard` can read: a search that was killed goes on with those that are
missing, and as every trial has a seed of its own, it finds what it would have found.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from core.ensemble.regressor import Parameters
from core.errors import DataError, ParameterError
from core.workspace import make_folder

if TYPE_CHECKING:
    import optuna

# Errors (prediction - label) of the rows of one part of an inner split, by parameters and the number of the part.
Evaluate = Callable[[Parameters, int], np.ndarray]
# What is to be small, of the errors of the parts so far.
Loss = Callable[[Sequence[np.ndarray]], float]

RANDOM_TRIALS = 10  # before the estimator has enough to go by
COMPARED_WITH = 5  # trials on all parts that there must be before another is given up
_BUSY_S = 120.0  # other processes write their trials first


@dataclass(frozen=True, slots=True)
class Range:
    """Values of a parameter that are tried.

    Attributes
    ----------
    name : str, as in the model's ``settable``
    low, high : float, both included
    default : float, the library's own where a preset says nothing
    log : bool, as many trials from 1 to 10 as from 10 to 100
    whole : bool, whole numbers only
    """

    name: str
    low: float
    high: float
    default: float
    log: bool = True
    whole: bool = False

    def suggest(self, trial: "optuna.Trial") -> float | int:
        if self.whole:
            return trial.suggest_int(self.name, round(self.low), round(self.high), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def nearest(self, own: Parameters) -> float | int:
        """The value in the range next to the model's own."""
        value = own.get(self.name)
        inside = min(max(self.default if value is None else value, self.low), self.high)
        return round(inside) if self.whole else float(inside)


# For a few hundred to many thousand rows. Learning rates and numbers of rounds or trees are missing on purpose: early stopping
# finds the rounds, and more trees are better and slower.
SPACES: dict[str, tuple[Range, ...]] = {
    "xgboost": (
        Range("max_depth", 2, 8, 6, log=False, whole=True),
        Range("min_child_weight", 1, 32, 1),
        Range("reg_lambda", 0.1, 100, 1),
        Range("subsample", 0.5, 1, 1, log=False),
        Range("colsample_bytree", 0.03, 0.8, 1),
    ),
    "lightgbm": (
        Range("num_leaves", 4, 63, 31, whole=True),
        Range("min_data_in_leaf", 3, 100, 20, whole=True),
        Range("lambda_l2", 0.01, 100, 0),
        Range("bagging_fraction", 0.5, 1, 1, log=False),
        Range("feature_fraction", 0.03, 0.8, 1),
    ),
    "catboost": (
        Range("depth", 3, 8, 6, log=False, whole=True),
        Range("l2_leaf_reg", 1, 100, 3),
        Range("rsm", 0.03, 0.8, 1),
    ),
    "random_forest": (
        Range("max_features", 0.03, 1, 1),
        Range("min_samples_leaf", 1, 20, 1, whole=True),
    ),
    "extra_trees": (
        Range("max_features", 0.03, 1, 1),
        Range("min_samples_leaf", 1, 20, 1, whole=True),
    ),
    "svr": (
        Range("C", 0.1, 100, 1),
        Range("epsilon", 0.01, 0.5, 0.1),
        Range("gamma", 0.02, 4, 1),
    ),
    "kernel_ridge": (
        Range("alpha", 0.003, 3, 1),
        Range("gamma", 0.02, 4, 1),
    ),
    "ridge": (Range("alpha", 0.1, 1e5, 1),),
}


@dataclass(frozen=True, slots=True)
class Space:
    """What is tried of a model.

    Attributes
    ----------
    model : str, of the catalogue
    own : dict, parameters that the member has without a search: where the estimator is to see the first trial
    fixed : sequence of str, parameters that are not tried
    """

    model: str
    own: Parameters = field(default_factory=dict)
    fixed: Sequence[str] = ()

    @property
    def ranges(self) -> tuple[Range, ...]:
        """Raises as the function ``ranges`` does."""
        return ranges(self.model, fixed=self.fixed)

    def suggest(self, trial: "optuna.Trial") -> Parameters:
        return {parameter.name: parameter.suggest(trial) for parameter in self.ranges}

    def nearest(self) -> Parameters:
        """The member's own parameters, brought into the ranges."""
        return {parameter.name: parameter.nearest(self.own) for parameter in self.ranges}


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a search may take.

    Attributes
    ----------
    trials : int >= 1
    seconds : float or None, the next trial is not begun when it could end later than that; the first one always is. Those of
        earlier attempts at the same search count
    """

    trials: int
    seconds: float | None = None

    def is_spent(self, done: Sequence["optuna.trial.FrozenTrial"]) -> bool:
        """Whether no further trial is begun after those that are done."""
        spent = [trial.user_attrs["seconds"] for trial in done]
        too_late = self.seconds is not None and len(done) > 0 and sum(spent) + max(spent) > self.seconds
        return len(done) >= self.trials or too_late


@dataclass(frozen=True, slots=True)
class Study:
    """Where the trials of a search are kept.

    Attributes
    ----------
    path : Path, SQLite file; several processes may write theirs at once
    name : str, of the search in the file: whatever decides a trial must be in it (data, rows, model, member, sets, seed, ranges)
    """

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    parameters : dict, over those that the member has anyway; empty where these were the best
    number : int, of the best trial, from 0
    loss : float, of the best trial on the inner split
    first_loss : float or None, of the member as it is; None where that failed
    trials : int, finished ones, earlier attempts at the same search included
    pruned, failed : int, how many of them were given up early or raised an error
    """

    parameters: Parameters
    number: int
    loss: float
    first_loss: float | None
    trials: int
    pruned: int
    failed: int


def ranges(model: str, *, fixed: Sequence[str] = ()) -> tuple[Range, ...]:
    """What is tried of a model, but for parameters that are fixed.

    Raises
    ------
    ParameterError
        The model has no search space.

    Examples
    --------
    >>> [parameter.name for parameter in ranges("svr", fixed=["C"])]
    ['epsilon', 'gamma']
    """
    if model not in SPACES:
        raise ParameterError(f"{model} has no search space; those that have: {', '.join(SPACES)}")
    return tuple(parameter for parameter in SPACES[model] if parameter.name not in fixed)


def describe_space(model: str) -> list[list[Any]]:
    """The ranges of a model as plain values, for hashes."""
    return [[part.name, part.low, part.high, part.log, part.whole] for part in SPACES.get(model, ())]


def rmse_of(parts: Sequence[np.ndarray]) -> float:
    """RMSE of errors that come in parts."""
    squares = 0.0
    for errors in parts:
        squares += float(errors @ errors)
    return float(np.sqrt(squares / sum(map(len, parts))))


def search(
    evaluate: Evaluate,
    space: Space,
    budget: Budget,
    *,
    parts: int,
    seed: int,
    study: Study | None = None,
    loss: Loss = rmse_of,
    clock: Callable[[], float] = time.monotonic,
) -> SearchResult:
    """Try parameters on an inner split.

    The first trial is the member as it is, ``evaluate({}, ...)``. The same search with more trials begins with the same ones.

    Parameters
    ----------
    evaluate : (parameters, part) to the errors of the rows of that part [shape=(k,)]; ``parameters`` are over the member's own.
        What it raises makes a failed trial, but for OSError: a full disk says nothing of parameters
    space : Space; where it is empty, the member is scored once
    budget : Budget
    parts : int >= 1, of the inner split
    seed : int >= 0
    study : Study; None keeps the trials in memory
    loss : Loss, which the search makes small
    clock : seconds

    Returns
    -------
    result : SearchResult

    Raises
    ------
    ParameterError
        The model has no search space.
    DataError
        All trials failed, or the file cannot be used.
    """
    import optuna
    from optuna.trial import TrialState

    if not space.ranges:
        budget = replace(budget, trials=1)
    with _quiet(), _Trials(study) as stored:
        pruner = optuna.pruners.MedianPruner(n_startup_trials=COMPARED_WITH)
        trials = optuna.create_study(direction="minimize", pruner=pruner)
        trials.add_trials(stored.read()[: budget.trials])
        while not budget.is_spent(done := trials.get_trials(deepcopy=False)):
            begun = clock()
            trial, parameters = _ask(trials, space, seed=seed, number=len(done))
            state, value = _run(trial, partial(evaluate, parameters), loss, parts)
            trial.set_user_attr("seconds", clock() - begun)
            trials.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
            stored.add(trials.get_trials(deepcopy=False)[-1])
    return _best(done, space)


def _ask(trials: "optuna.Study", space: Space, *, seed: int, number: int) -> tuple["optuna.Trial", Parameters]:
    """The next trial and its parameters, with a seed of its own; the first one is the member as it is."""
    import optuna

    trials.sampler = optuna.samplers.TPESampler(
        seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]),
        n_startup_trials=RANDOM_TRIALS,
        multivariate=True,
    )
    if number == 0:
        trials.enqueue_trial(space.nearest())
    trial = trials.ask()
    parameters = space.suggest(trial)
    return trial, parameters if number else {}


def _best(done: Sequence["optuna.trial.FrozenTrial"], space: Space) -> SearchResult:
    from optuna.trial import TrialState

    complete = [trial for trial in done if trial.state == TrialState.COMPLETE]
    if not complete:
        raise DataError(f"{space.model}: each of {len(done)} trials failed; the first one: {done[0].user_attrs.get('error')}")
    best = min(complete, key=lambda trial: trial.values[0])  # the earliest of equal ones
    return SearchResult(
        parameters={parameter.name: best.params[parameter.name] for parameter in space.ranges} if best.number else {},
        number=best.number,
        loss=best.values[0],
        first_loss=done[0].values[0] if done[0].state == TrialState.COMPLETE else None,
        trials=len(done),
        pruned=sum(trial.state == TrialState.PRUNED for trial in done),
        failed=sum(trial.state == TrialState.FAIL for trial in done),
    )


def _run(
    trial: "optuna.Trial", evaluate: Callable[[int], np.ndarray], loss: Loss, parts: int
) -> tuple["optuna.trial.TrialState", float]:
    """How a trial ends, and its loss over the parts that it was tried on."""
    from optuna.trial import TrialState

    errors: list[np.ndarray] = []
    value = np.inf
    for part in range(parts):
        try:
            errors.append(evaluate(part))
        except OSError:
            raise
        except Exception as error:
            trial.set_user_attr("error", f"{type(error).__name__}: {error}")
            return TrialState.FAIL, value
        if not np.isfinite(errors[-1]).all():
            trial.set_user_attr("error", "predictions that are not finite")
            return TrialState.FAIL, value
        value = loss(errors)
        trial.report(value, part)
        if part + 1 < parts and trial.should_prune():
            return TrialState.PRUNED, value
    return TrialState.COMPLETE, value


class _Trials:
    """Finished trials of a search, in the SQLite file or nowhere.

    A trial is written when it is finished, in one transaction: a killed search leaves whole ones only, and processes that search
    side by side are in each other's way for milliseconds.
    """

    def __init__(self, study: Study | None):
        self._path = study.path if study else None
        self._name = study.name if study else None
        self._storage: optuna.storages.RDBStorage | None = None

    def __enter__(self) -> "_Trials":
        if self._path is None:
            return self
        import optuna
        from sqlalchemy.pool import StaticPool

        path = self._path
        engine = {"creator": lambda: _connect(path), "poolclass": StaticPool}
        make_folder(path.parent)
        try:
            with self._in_words(), FileLock(f"{path}.lock", timeout=_BUSY_S):  # tables are made once
                self._storage = optuna.storages.RDBStorage("sqlite://", engine)
                self._study = optuna.create_study(
                    study_name=self._name, storage=self._storage, direction="minimize", load_if_exists=True
                )
        except DataError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._storage is not None:
            self._storage.remove_session()
            self._storage.engine.dispose()

    def read(self) -> list["optuna.trial.FrozenTrial"]:
        """Those that are there, from the first one to the first gap."""
        if self._storage is None:
            return []
        with self._in_words():
            found = {trial.user_attrs["number"]: trial for trial in reversed(self._study.get_trials())}
        gap = next(number for number in range(len(found) + 1) if number not in found)
        return [found[number] for number in range(gap)]

    def add(self, trial: "optuna.trial.FrozenTrial") -> None:
        if self._storage is not None:
            trial.set_user_attr("number", trial.number)  # another process with the same search may write the same trial
            with self._in_words():
                self._study.add_trial(trial)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (StorageInternalError, SQLAlchemyError, sqlite3.Error, TimeoutError, KeyError, RuntimeError) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise DataError(
                f"{self._path}: trials cannot be read or written ({reason}); it holds nothing but finished trials of searches, so"
                " delete it when no training is at work"
            ) from None


def _connect(path: Path) -> sqlite3.Connection:
    """A connection of our own making: an address of SQLAlchemy's or Optuna's would stumble over ? and {} in a path."""
    connection = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's line for each study and trial."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
