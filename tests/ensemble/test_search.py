"""Searches on made-up errors, of which the best settings are known."""

import itertools
import sqlite3
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from core.ensemble.models import CATALOGUE, PRESETS, make_model
from core.ensemble.search import COMPARED_WITH, SPACES, Budget, Space, Study, ranges, search
from core.errors import DataError, ParameterError

OWN = {"C": 0.5, "epsilon": 0.1, "gamma": 0.25}
BEST_C = 20.0


class Valley:
    """Errors that grow with the distance of log C from the best; ``{}`` is the member as it is. Counts its calls."""

    def __init__(self, *, rows=10, fails=lambda call: None):
        self.rows, self.fails, self.calls = rows, fails, []

    def __call__(self, parameters, part):
        self.calls.append((dict(parameters), part))
        self.fails(len(self.calls))
        far = abs(np.log10((OWN | parameters)["C"] / BEST_C))
        return np.full(self.rows, 1 + far) * (-1) ** np.arange(self.rows)


def found(evaluate, *, trials=20, seconds=None, fixed=(), seed=3, parts=3, storage=None, name="search", **options):
    study = Study(storage, name) if storage else None
    return search(evaluate, Space("svr", OWN, fixed), Budget(trials, seconds), seed=seed, parts=parts, study=study, **options)


def stop_at(limit, error=KeyboardInterrupt):
    """Raises at a call: as if the process had ended there."""

    def fails(call):
        if call == limit:
            raise error

    return fails


@pytest.mark.parametrize("seed", range(3))
def test_the_bottom_of_a_valley_is_found(seed):
    result = found(Valley(), seed=seed, trials=40)
    assert BEST_C / 2 < result.parameters["C"] < BEST_C * 2  # the range is 0.1 to 100, and 0.5 is where it starts
    assert result.first_loss == pytest.approx(1 + np.log10(BEST_C / OWN["C"]))
    assert result.loss == pytest.approx(1 + abs(np.log10(result.parameters["C"] / BEST_C)))


def test_settings_that_nothing_beats_are_kept_as_they_are():
    result = found(lambda parameters, part: np.full(4, 2.0 if parameters else 1.0))
    assert (result.parameters, result.number, result.loss, result.first_loss) == ({}, 0, 1.0, 1.0)


def test_of_equal_trials_the_first_one_counts():
    result = found(lambda parameters, part: np.ones(4))
    assert (result.parameters, result.number) == ({}, 0)


def test_the_score_is_that_of_all_rows_and_not_the_mean_over_parts():
    errors = [np.full(30, 1.0), np.full(10, 3.0)]
    result = found(lambda parameters, part: errors[part], trials=1, parts=2)
    assert result.loss == pytest.approx(np.sqrt(3))  # (30 x 1 + 10 x 9) / 40


def test_another_loss_finds_other_settings():
    """Errors that one setting makes few and large, and the other many and small: by the median the first is better."""

    def errors(parameters, part):
        return np.where(np.arange(10) < 1, 20.0, 0.0) if (OWN | parameters)["C"] > OWN["C"] else np.full(10, 3.0)

    assert found(errors, trials=15).number == 0  # RMSE 3 against 6.3
    by_mean = found(errors, trials=15, loss=lambda parts: float(np.abs(np.concatenate(parts)).mean()))
    assert by_mean.parameters["C"] > OWN["C"]
    assert (by_mean.loss, by_mean.first_loss) == (2.0, 3.0)


def test_only_the_first_trial_is_the_member_as_it_is():
    valley = Valley()
    found(valley, trials=6, parts=1)
    assert [bool(parameters) for parameters, _ in valley.calls] == [False, True, True, True, True, True]


def test_what_is_worse_on_the_first_part_is_given_up_there():
    valley = Valley()
    result = found(valley, trials=30)
    parts = [len(list(calls)) for _, calls in itertools.groupby(valley.calls, key=lambda call: call[0].get("C"))]
    assert result.pruned > 5
    assert parts[:COMPARED_WITH] == [3] * COMPARED_WITH
    assert parts.count(1) == result.pruned  # parts of a valley are alike: the first one tells
    assert len(valley.calls) == 3 * (30 - result.pruned) + result.pruned


def test_a_fixed_parameter_is_not_tried():
    valley = Valley()
    result = found(valley, fixed=["C", "gamma"], trials=4)
    assert all(set(parameters) <= {"epsilon"} for parameters, _ in valley.calls)
    assert set(result.parameters) <= {"epsilon"}


def test_without_anything_to_try_the_member_is_scored_once():
    valley = Valley()
    assert found(valley, fixed=list(OWN), trials=9).trials == 1
    assert [call[0] for call in valley.calls] == [{}] * 3


def test_a_search_has_the_same_trials_every_time():
    one, two, other = Valley(), Valley(), Valley()
    assert found(one) == found(two)
    found(other, seed=4)
    assert one.calls == two.calls != other.calls


@pytest.mark.parametrize("after", [1, 17, 31])
def test_a_search_that_was_killed_does_what_is_missing_and_finds_the_same(tmp_path, after):
    undisturbed, killed, resumed = Valley(), Valley(fails=stop_at(after)), Valley()
    expected = found(undisturbed)
    storage = tmp_path / "odd {names}?" / "tune.sqlite"
    with pytest.raises(KeyboardInterrupt):
        found(killed, storage=storage)
    assert found(resumed, storage=storage) == expected
    begun = resumed.calls[0]
    assert begun[1] == 0  # from the first part of the trial that was cut off
    assert killed.calls[: undisturbed.calls.index(begun)] + resumed.calls == undisturbed.calls
    done = Valley()
    assert found(done, storage=storage) == expected
    assert done.calls == []


def test_more_trials_go_on_where_fewer_ended(tmp_path):
    storage = tmp_path / "tune.sqlite"
    few, more = Valley(), Valley()
    found(few, trials=8, storage=storage)
    assert found(more, trials=16, storage=storage) == found(Valley(), trials=16)
    assert found(Valley(), trials=8, storage=storage) == found(Valley(), trials=8)


def test_searches_of_other_names_do_not_meet(tmp_path):
    storage = tmp_path / "tune.sqlite"
    found(Valley(), trials=3, storage=storage, name="one")
    other = Valley()
    found(other, trials=3, storage=storage, name="other")
    assert len(other.calls) == 9


class Ticks:
    """A clock on which each trial takes the next of some seconds."""

    def __init__(self, *seconds):
        self._times = iter(np.repeat(np.cumsum([0, *seconds]), 2)[1:].tolist())

    def __call__(self):
        return next(self._times)


def test_no_trial_is_begun_that_could_end_too_late():
    def trials(seconds):
        return found(Valley(), seconds=seconds, clock=Ticks(10, 12, 5, 11)).trials

    # After three trials 27 s are gone, and the longest took 12.
    assert (trials(38.9), trials(39)) == (3, 4)


def test_without_time_the_member_is_scored_as_it_is():
    valley = Valley()
    result = found(valley, seconds=0)
    assert (result.trials, result.parameters) == (1, {})
    assert [call[0] for call in valley.calls] == [{}] * 3


def test_time_spent_before_a_kill_counts(tmp_path):
    storage = tmp_path / "tune.sqlite"
    found(Valley(), trials=2, storage=storage, clock=Ticks(10, 10))
    resumed = Valley()
    assert found(resumed, seconds=29, storage=storage).trials == 2
    assert resumed.calls == []


def test_a_trial_that_fails_is_passed_over():
    def sometimes(call):
        if call % 2 == 0:
            raise ValueError("odd parameters")

    result = found(Valley(fails=sometimes), parts=1, trials=10)
    assert (result.trials, result.failed) == (10, 5)
    assert result.loss < 3


def test_predictions_that_are_not_finite_are_a_failure():
    result = found(lambda parameters, part: np.full(3, np.nan if parameters else 1.0), trials=4)
    assert (result.failed, result.parameters) == (3, {})


def test_where_all_fail_the_first_reason_is_told():
    def broken(parameters, part):
        raise ValueError("no such kernel" if not parameters else "another one")

    with pytest.raises(DataError, match=r"svr: each of 4 trials failed; the first one: ValueError: no such kernel"):
        found(broken, trials=4)


def test_a_full_disk_is_no_failure_of_parameters(tmp_path):
    storage = tmp_path / "tune.sqlite"
    with pytest.raises(OSError, match="disk"):
        found(Valley(fails=stop_at(4, OSError("disk is full"))), storage=storage)
    assert found(Valley(), storage=storage).failed == 0


def test_a_damaged_file_is_told_in_words(tmp_path):
    storage = tmp_path / "tune.sqlite"
    storage.write_bytes(b"not a database " * 100)
    with pytest.raises(DataError, match=r"tune\.sqlite: trials cannot be read or written .* delete it"):
        found(Valley(), storage=storage)


def test_a_file_of_something_else_is_told_in_words(tmp_path):
    storage = tmp_path / "tune.sqlite"
    with sqlite3.connect(storage) as database:
        database.execute("CREATE TABLE version_info (x)")
    database.close()
    with pytest.raises(DataError, match="trials cannot be read or written"):
        found(Valley(), storage=storage)


def test_two_processes_write_to_one_file(tmp_path):
    code = """
        import sys, time
        from pathlib import Path
        import numpy as np
        from core.ensemble.search import Budget, Space, Study, search
        folder, me, other = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
        (folder / me).touch()
        while not (folder / other).exists():  # both begin at the same time
            time.sleep(0.001)
        for number in range(2):
            search(lambda parameters, part: np.ones(3), Space("ridge"), Budget(20), parts=1, seed=1,
                   study=Study(folder / "tune.sqlite", f"{me}{number}"))
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(tmp_path)]
    both = [subprocess.Popen([*command, *names], stderr=subprocess.PIPE, text=True) for names in (("one", "two"), ("two", "one"))]
    told = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert told == ["", ""]  # neither a warning nor Optuna's lines
    with sqlite3.connect(tmp_path / "tune.sqlite") as database:
        rows = database.execute(
            "SELECT study_name, count(*) FROM studies JOIN trials USING (study_id) GROUP BY study_name"
        ).fetchall()
    database.close()
    assert dict(rows) == {f"{me}{number}": 20 for me in ("one", "two") for number in range(2)}


@pytest.mark.parametrize("model", CATALOGUE)
def test_every_model_has_a_space_of_what_can_be_set(model):
    names = [one.name for one in ranges(model)]
    assert names
    assert set(names) <= set(CATALOGUE[model].settable)


@pytest.mark.parametrize("model", CATALOGUE)
def test_presets_lie_in_the_space(model):
    for preset in PRESETS:
        parameters = CATALOGUE[model].presets[preset]
        assert all(
            one.nearest(parameters) == pytest.approx(parameters[one.name]) for one in SPACES[model] if one.name in parameters
        )


@pytest.mark.parametrize("end", ["low", "high"])
@pytest.mark.parametrize("model", CATALOGUE)
def test_the_ends_of_a_space_can_be_fitted(model, end, rng):
    X, y = rng.normal(size=(40, 6)), rng.normal(size=40)
    own = CATALOGUE[model].presets["fast"] | CATALOGUE[model].rough
    parameters = {one.name: (round if one.whole else float)(getattr(one, end)) for one in ranges(model)}
    quick = {"rounds": 5} if "rounds" in own else {}
    fitted = make_model(model, parameters=own | quick | parameters, seed=0).fit(X, y, np.zeros(40, bool))
    assert np.isfinite(fitted.predict(X)).all()


def test_a_model_without_a_space_is_refused():
    with pytest.raises(ParameterError, match="lasso has no search space; those that have: xgboost"):
        ranges("lasso")
    with pytest.raises(ParameterError, match="lasso has no search space"):
        search(Valley(), Space("lasso"), Budget(1), parts=1, seed=0)
