"""How the error falls with more clips: planted laws come back, and intervals hold what they say."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import curve_fit

from core.errors import ParameterError
from core.scoring.learning_curve import Estimate, LearningCurve, SizeErrors, fit_power_laws, learning_curve

SIZES = np.array([16.0, 32.0, 48.0, 64.0, 80.0])


@pytest.mark.parametrize(("a", "b", "c"), [(0.4, 2.0, 0.5), (0.0, 3.0, 0.3), (1e3, 4e4, 1.0), (4e-6, 3e-6, 0.25), (0.2, 30.0, 2.0)])
def test_a_planted_law_comes_back_from_errors_without_noise(a, b, c):
    laws = fit_power_laws(SIZES, (a + b * SIZES**-c)[None])
    scale = a + b * SIZES[-1] ** -c
    assert laws.a[0] == pytest.approx(a, abs=1e-3 * scale)  # a and c trade for each other: both to three digits
    assert laws.b[0] == pytest.approx(b, rel=5e-3)
    assert laws.c[0] == pytest.approx(c, rel=2e-3)
    assert laws.at(np.array([160.0]))[0, 0] == pytest.approx(a + b * 160**-c, rel=1e-5)


def test_laws_come_as_near_to_noisy_errors_as_those_of_scipy(rng):
    errors = 0.4 + 2 / np.sqrt(SIZES) + 0.02 * rng.normal(size=(20, 5))
    laws = fit_power_laws(SIZES, errors)
    ours = ((laws.at(SIZES) - errors) ** 2).sum(axis=1)
    for row, distance in zip(errors, ours, strict=True):
        bounds = ([0, 0, 0.05], [np.inf, np.inf, 3])
        (a, b, c), _ = curve_fit(lambda n, a, b, c: a + b * (n / 80) ** -c, SIZES, row, p0=(0.3, 0.3, 0.5), bounds=bounds)
        assert distance <= ((a + b * (SIZES / 80) ** -c - row) ** 2).sum() * (1 + 1e-6) + 1e-12


def test_a_law_stays_above_its_floor_and_never_rises(rng):
    falling, rising = 2 / np.sqrt(SIZES), 0.5 + 0.001 * SIZES
    laws = fit_power_laws(SIZES, np.array([falling, rising]), floor=0.15)
    assert (laws.a >= 0.15).all()
    assert laws.b[1] == 0
    assert laws.a[1] == pytest.approx(rising.mean())  # the nearest constant


def test_two_sizes_are_too_few_for_a_law():
    with pytest.raises(ParameterError, match="three sizes or more, received 2"):
        fit_power_laws(np.array([1.0, 2.0, 2.0]), np.ones((1, 3)))


def simulated(rng, *, groups=60, clips=5, luck=0.0, draws=3):
    """Errors of groups of which some are hard, at sizes that follow a law; each draw of a share strays as its luck says."""
    hard = rng.gamma(8, 1 / 8, groups)
    noise = rng.normal(size=(groups, clips)) * np.sqrt(hard)[:, None]
    measured = []
    for share in (0.2, 0.4, 0.6, 0.8, 1.0):
        count = 1 if share == 1 else draws
        rmse = planted(share) + luck * np.sqrt((1 - share) / share) * rng.normal(size=count)
        own = np.sqrt(0.9) * noise + np.sqrt(0.1) * rng.normal(size=(count, groups, clips)) * np.sqrt(hard)[:, None]
        measured.append(SizeErrors(share * groups, share * groups * clips, (own**2).sum(axis=2) * (rmse**2)[:, None]))
    return measured, np.full(groups, clips)


def planted(share):
    return 0.5 + 0.2 * share**-0.6


def test_intervals_hold_the_planted_error_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    beside, elsewhere, times = 0, 0, 80
    for _ in range(times):
        found = learning_curve(*simulated(rng, luck=0.02), draws=300)
        change = planted(2) / planted(1)
        future = found.today * change + 0.02 * np.sqrt(1 / 2) * rng.normal()
        beside += found.twice.low <= future <= found.twice.high
        elsewhere += found.twice_elsewhere.low <= planted(2) <= found.twice_elsewhere.high
    # 95 % asked for: of 80 intervals, 70 to 80 in all but one of a thousand series
    assert beside >= 70
    assert elsewhere >= 70


def test_the_luck_of_the_groups_is_seen_in_the_draws():
    rng = np.random.default_rng(2)
    measured, rows = simulated(rng, groups=400, luck=0.05, draws=200)
    assert learning_curve(measured, rows, draws=100).luck == pytest.approx(0.05, rel=0.15)  # 800 draws; errors of clips add some


def test_todays_error_and_the_sizes_are_those_that_were_measured(rng):
    measured, rows = simulated(rng)
    found = learning_curve(measured, rows, draws=100)
    assert found.today == pytest.approx(np.sqrt(measured[-1].squares.sum() / rows.sum()))
    assert found.errors[-1] == Estimate(found.today, found.today, found.today)
    assert found.sizes == tuple(one.size for one in measured)
    assert found.at[0] == found.sizes[0]
    assert found.at[-1] == 2 * found.sizes[-1]
    assert found.law[-1].rmse == found.twice.rmse
    assert found.twice.low < found.twice.rmse < found.twice.high


def test_the_ceiling_is_the_least_that_more_clips_can_bring(rng):
    measured, rows = simulated(rng)
    found = learning_curve(measured, rows, ceiling=0.67, draws=100)
    assert found.a >= 0.67
    assert min(one.low for one in found.law) >= 0.67
    above = learning_curve(measured, rows, ceiling=5.0, draws=100)
    assert above.helps is False
    assert "More clips would not help" in above.sentence()
    assert "the raters' disagreement allows no better than 5" in above.sentence()


@pytest.mark.parametrize(
    ("low", "rmse", "high", "ceiling", "sentence"),
    [
        (0.51, 0.53, 0.55, None, "Twice the clips would bring RMSE from 0.56 to about 0.53 (0.51 to 0.55)."),
        (0.51, 0.53, 0.55, 0.4, "Twice the clips would bring RMSE from 0.56 to about 0.53 (0.51 to 0.55)."),
        (
            0.51,
            0.55,
            0.57,
            None,
            "Cannot tell whether more clips would help: with twice as many RMSE would be about 0.55 (0.51 to 0.57), and it is 0.56 "
            "today.",
        ),
        (
            0.555,
            0.559,
            0.565,
            None,
            "More clips would hardly help: twice as many would bring RMSE from 0.56 to 0.555 at best.",
        ),
        (
            0.56,
            0.56,
            0.57,
            0.559,
            "More clips would not help: RMSE is 0.56, and the raters' disagreement allows no better than 0.559.",
        ),
    ],
)
def test_one_sentence_says_what_twice_the_clips_would_bring(low, rmse, high, ceiling, sentence):
    today, twice = Estimate(0.56, 0.56, 0.56), Estimate(rmse, low, high)
    curve = LearningCurve(
        (80.0,), (400.0,), (today,), ((0.56,),), 0.01, 0.56, 0.3, 1.0, 0.5, ceiling, (80.0,), (today,), twice, twice
    )
    assert curve.sentence() == sentence
    assert replace(curve, ceiling=None).helps is {"Twice": True, "Canno": None}.get(sentence[:5], False)
