"""A fit in, what is chosen for it out: feature sets, parameters, the widths of a kernel. Nothing sees the rows that are scored.

Choices are made on an inner split of the fold's training rows. All sets together unless others are clearly better, and on them the
member's own parameters unless others are clearly better: a few hundred rows tell settings apart so badly that the best of many is
mostly the luckiest. What is better, says the metric that the user named.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from core.ensemble.fit_tasks import FitTask, Sets
from core.ensemble.kernels import GAIN, MOST_ROWS, KernelPart, choose_widths, distances, unit
from core.ensemble.label_transform import learn_transform, on_labels
from core.ensemble.models import CATALOGUE, KernelModel, make_model
from core.ensemble.regressor import Parameters
from core.ensemble.search import Budget, Space, Study, rmse_of, search
from core.scoring.losses import loss, row_losses

EVIDENCE = 2.0  # standard errors by which sets must be better than all sets together, and parameters of a search than others


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for a fit.

    Attributes
    ----------
    sets : tuple of str
    parameters : dict, over those of the member
    inner : np.ndarray [shape=(j,)], predictions of the fold's training rows by the inner split; empty without one
    """

    sets: Sets
    parameters: Parameters
    inner: np.ndarray


def candidates(sets: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Combinations of feature sets that a member without sets of its own tries: each alone, all but one, and all.

    Examples
    --------
    >>> candidates(["a", "b", "c"])
    [('a',), ('b',), ('c',), ('a', 'b'), ('a', 'c'), ('b', 'c'), ('a', 'b', 'c')]
    """
    sizes = {1, len(sets) - 1, len(sets)} - {0}
    return [some for size in sorted(sizes) for some in combinations(sets, size)]


def choose(task: FitTask) -> Choice:
    """Sets and parameters of a member on a fold. A member with a kernel weighs all its sets; others choose among them."""
    if not task.inner:
        return Choice(task.member.sets or candidates(list(task.data.sets))[-1], {}, np.empty(0))
    inner = _InnerSplit(task)
    choice = inner.weigh_sets() if _weighs_sets(task) else inner.choose_parameters(inner.choose_sets())
    return inner.search(choice) if task.trials else choice


def evidence(before: np.ndarray, after: np.ndarray, groups: Sequence[str] | None = None) -> float:
    """How many standard errors the mean of ``after`` is below that of ``before``; rows of one group count as one.

    Examples
    --------
    >>> round(evidence(np.array([2.0, 3.0, 2.0, 3.0]), np.ones(4)), 2)
    5.2
    """
    gain = before - after
    if groups is not None:
        gain = np.bincount(np.unique(np.asarray(groups, str), return_inverse=True)[1], gain)
    if len(gain) < 2 or np.ptp(gain) == 0:
        return 0.0
    return float(gain.mean() * np.sqrt(len(gain)) / gain.std(ddof=1))


def fit_preprocessor(task: FitTask, sets: Sets, parameters: Parameters, rows: np.ndarray, labels: np.ndarray) -> Any:
    """The preprocessor of a member's model, fitted.

    Parameters
    ----------
    task : FitTask
    sets : tuple of str
    parameters : dict, with ``widths`` where the model weighs the sets
    rows : np.ndarray [shape=(n, d)], columns of these sets
    labels : np.ndarray [shape=(n,)]

    Returns
    -------
    preprocessor : sklearn.pipeline.Pipeline
    """
    from core.ensemble.preprocess import make_preprocessor, screen_columns, weigh_sets

    preprocessor = make_preprocessor(task.scaling).fit(rows)
    if "widths" in parameters:
        return weigh_sets(preprocessor, rows, {name: len(task.data.sets[name]) for name in sets}, parameters["widths"])
    most = CATALOGUE[task.member.model].most_columns
    return preprocessor if most is None else screen_columns(preprocessor, rows, labels, most)


def _weighs_sets(task: FitTask) -> bool:
    """Whether the widths of a kernel are chosen, one a set: not where the member names one for all."""
    return issubclass(CATALOGUE[task.member.model], KernelModel) and "gamma" not in dict(task.member.parameters)


class _InnerSplit:
    """The parts of the inner split of a fit, on which members are fitted roughly; columns of the last sets are kept prepared."""

    def __init__(self, task: FitTask):
        self._task = task
        self._model = CATALOGUE[task.member.model]
        self._fixed = {name for name, _ in task.member.parameters}
        self._groups = None if task.data.groups is None else [task.data.groups[row] for row in task.fold.train_rows]
        self._labels = task.data.labels[task.fold.train_rows]
        self._prepared: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._prepared_for: tuple[Sets, str] | None = None

    def choose_sets(self) -> Choice:
        """All sets, or a combination that is better by ``EVIDENCE``."""
        task = self._task
        combined = [task.member.sets] if task.member.sets else candidates(list(task.data.sets))
        choices = [Choice(sets, {}, self._predict(sets, {})) for sets in combined]
        gains = [evidence(self._errors(choices[-1]), self._errors(choice), self._groups) for choice in choices]
        best = int(np.argmax(gains))
        return choices[best] if gains[best] >= EVIDENCE else choices[-1]

    def choose_parameters(self, choice: Choice) -> Choice:
        """Those among the model's own choices that lower the loss as much as ``GAIN`` lowers a squared error."""
        for parameters in self._model.choices:
            if parameters and not self._fixed & set(parameters):
                other = Choice(choice.sets, parameters, self._predict(choice.sets, parameters))
                if self._loss(other) < np.sqrt(1 - GAIN) * self._loss(choice):
                    choice = other
        return choice

    def weigh_sets(self) -> Choice:
        """The sets that have a part in a kernel, and the parameters of the model with their widths."""
        task = self._task
        sets = task.member.sets or tuple(task.data.sets)
        own = task.member.all_parameters(task.preset)

        def predict(K: np.ndarray, y: np.ndarray, K_new: np.ndarray, parameters: Parameters) -> np.ndarray:
            model = make_model(task.member.model, parameters=own | parameters, seed=task.fit_seed)
            assert isinstance(model, KernelModel)
            if (transform := learn_transform(task.label_transform, y)) is None:
                return model.predict_kernel(K, y, K_new)
            return transform.inverse(model.predict_kernel(K, transform.forward(y), K_new))

        penalties = [parameters for parameters in self._model.choices if not self._fixed & set(parameters)]
        found = choose_widths([self._kernel_part(sets, part) for part in range(len(task.inner))], predict, penalties)
        chosen = tuple(name for name in sets if name in found.widths)
        parameters = {**found.parameters, "widths": found.widths}
        return Choice(chosen, parameters, self._predict(chosen, parameters))

    def search(self, choice: Choice) -> Choice:
        """Parameters that a search found, where they are better by ``EVIDENCE``."""
        task, sets = self._task, choice.sets
        own = task.member.all_parameters(task.preset) | self._model.rough | choice.parameters
        fixed = self._fixed | ({"gamma"} if "widths" in choice.parameters else set())

        def errors(parameters: Parameters, part: int) -> np.ndarray:
            rows = task.inner[part].test_rows
            return self._predict_part(sets, choice.parameters | parameters, part) - task.data.labels[rows]

        def whole(parts: Sequence[np.ndarray]) -> float:
            labels = np.concatenate([task.data.labels[inner.test_rows] for inner in task.inner[: len(parts)]])
            return loss(task.metric, labels, labels + np.concatenate(parts))

        found = search(
            errors,
            Space(task.member.model, own, sorted(fixed)),
            Budget(task.trials, task.seconds),
            parts=len(task.inner),
            seed=task.fit_seed,
            study=Study(task.studies, task.study) if task.studies else None,
            loss=rmse_of if task.metric == "rmse" else whole,
        ).parameters
        if not found:
            return choice
        tuned = Choice(sets, choice.parameters | found, self._predict(sets, choice.parameters | found))
        is_better = evidence(self._errors(choice), self._errors(tuned), self._groups) >= EVIDENCE
        return tuned if is_better else choice

    def _errors(self, choice: Choice) -> np.ndarray:
        return row_losses(self._task.metric, self._labels, choice.inner)

    def _loss(self, choice: Choice) -> float:
        return loss(self._task.metric, self._labels, choice.inner)

    def _predict(self, sets: Sets, parameters: Parameters) -> np.ndarray:
        """Predictions of the training rows, each by a rough model of the others' parts."""
        predictions = np.full(len(self._task.data.labels), np.nan)
        for number, part in enumerate(self._task.inner):
            predictions[part.test_rows] = self._predict_part(sets, parameters, number)
        return predictions[self._task.fold.train_rows]

    def _predict_part(self, sets: Sets, parameters: Parameters, number: int) -> np.ndarray:
        task, y = self._task, self._task.data.labels[self._task.inner[number].train_rows]
        known, new = self._columns(sets, parameters, number)
        own = task.member.all_parameters(task.preset) | self._model.rough
        transform = task.learn_transform(task.inner[number].train_rows)
        model = on_labels(make_model(task.member.model, parameters=own | parameters, seed=task.fit_seed), transform)
        model.fit(known, y, np.zeros(len(known), bool))
        return np.clip(model.predict(new), y.min(), y.max())

    def _columns(self, sets: Sets, parameters: Parameters, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Prepared columns of the rows of a part that are fitted, and of those that are scored."""
        key = (sets, repr(parameters.get("widths")))
        if key != self._prepared_for:
            self._prepared, self._prepared_for = {}, key
        if number not in self._prepared:
            data, part = self._task.data, self._task.inner[number]
            X, columns = data.array("matrix"), data.columns(sets)
            known = X[part.train_rows][:, columns]
            transform, labels = self._task.learn_transform(part.train_rows), data.labels[part.train_rows]
            screened_by = labels if transform is None else transform.forward(labels)
            preprocessor = fit_preprocessor(self._task, sets, parameters, known, screened_by)
            self._prepared[number] = preprocessor.transform(known), preprocessor.transform(X[part.test_rows][:, columns])
        return self._prepared[number]

    def _kernel_part(self, sets: Sets, number: int) -> KernelPart:
        """Distances between rows of a part, by set; where there are many rows, of some that are drawn."""
        from core.ensemble.preprocess import make_preprocessor

        task, part = self._task, self._task.inner[number]
        X, y = task.data.array("matrix"), task.data.labels
        rng = np.random.default_rng(task.fit_seed)
        fitted, scored = (
            np.sort(rng.permutation(rows)[:MOST_ROWS]) if len(rows) > MOST_ROWS else rows
            for rows in (part.train_rows, part.test_rows)
        )
        within, across = {}, {}
        for name in sets:
            columns = task.data.columns((name,))
            preprocessor = make_preprocessor(task.scaling).fit(X[fitted][:, columns])
            known, new = (preprocessor.transform(X[rows][:, columns]) for rows in (fitted, scored))
            factor = unit(known)
            known, new = factor * known, factor * new
            within[name], across[name] = distances(known, known), distances(new, known)
        return KernelPart(within, across, y[fitted], y[scored])
