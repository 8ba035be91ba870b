import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from app.charts.marks import figure_tooltip
from core.cli.console import print_prediction
from core.data.dataset import transform_hint
from core.scoring.compare import paired_verdict
from core.scoring.figures import interval_text, number_format, text
from core.tasks.score import Prediction

FACTORS = pytest.mark.parametrize("factor", [1e6, 1.0, 1e-6])


def significant(figure):
    """Digits of a figure, from the first that is not 0 on."""
    return len(re.sub(r"e.*|[^0-9]", "", figure).lstrip("0"))


@FACTORS
@pytest.mark.parametrize("decimals", [3, 4])
def test_figures_of_labels_of_any_size_have_three_digits_and_one_width(factor, decimals):
    values = [factor * value for value in (0.812, 4.123456, 1.5, 2.71828)]
    shown = [text(value, like=factor, decimals=decimals) for value in values]
    assert min(map(significant, shown)) >= 3
    assert len({len(one) for one in shown}) == 1
    assert [float(one) for one in shown] == pytest.approx(values, rel=1e-3)


def test_figures_of_ratings_have_fixed_decimals():
    assert number_format(0.8) == number_format(6.0) == ".4f"
    assert text(-0.25, like=0.8, decimals=3, sign="+") == "-0.250"
    assert interval_text((1.0, 5.5), decimals=3) == "1.000 to 5.500"


@FACTORS
def test_a_verdict_is_legible_in_any_unit(rng, factor):
    labels = factor * rng.normal(size=60)
    verdict = paired_verdict(labels, labels + factor * rng.normal(size=60), labels + 0.5 * factor * rng.normal(size=60))
    figures = re.findall(r"[+-][\d.]+(?:e[+-]\d+)?", verdict.sentence())
    assert [float(one) for one in figures] == pytest.approx([verdict.difference, verdict.low, verdict.high], rel=0.05)
    assert len({len(one) for one in figures}) == 1
    assert replace(verdict, rmse=0.8).sentence().startswith(verdict.verdict)


@FACTORS
def test_predictions_stand_below_each_other(capsys, factor):
    for value in (0.9, 3.25, 5.125):
        one = Prediction(f"{value}.wav", factor * value, (), factor * 0.5 * value, factor * 6)
        print_prediction(one, like=factor)
    lines = capsys.readouterr().out.splitlines()
    assert len({line.index(".wav") - len(line.split()[-1]) for line in lines}) == 1
    assert all(significant(word) >= 3 for line in lines for word in (line.split()[0], line.split()[1], line.split()[3]))


@FACTORS
def test_the_tooltip_of_a_chart_shows_digits(factor):
    form = figure_tooltip("rmse", pd.DataFrame({"rmse": [0.8 * factor, 0.9 * factor]})).to_dict()["format"]
    assert significant(format(0.8123 * factor, form)) >= 4


def test_a_transform_is_proposed_where_decades_or_skewness_ask_for_it(rng):
    assert transform_hint(10 ** rng.uniform(-2, 2, 200))[1] == "log"
    assert transform_hint(rng.standard_exponential(2000) ** 2 - 1)[1] == "yeo-johnson"
    assert transform_hint(rng.uniform(0.001, 5, 200)) is None
    assert transform_hint(rng.integers(1, 7, 200).astype(float)) is None
    assert transform_hint(np.full(20, 3.0)) is None
