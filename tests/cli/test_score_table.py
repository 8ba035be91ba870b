"""The table of scores for runs whose labels are large, small, grouped or of an earlier version."""

import pytest

from core.cli.score_table import score_lines
from core.runs.schema import Scores
from core.scoring.folds import make_folds
from core.scoring.oof import measure
from core.workspace import to_json
from tests.conftest import write_run
from tests.scoring.test_oof import GROUPS


def scores_of(labels, predictions, groups=None):
    oof = measure([make_folds(len(labels), folds=4, groups=groups)], predictions[None], labels, groups=groups, level=0.9)
    return Scores.model_validate(to_json(oof.scores() | {"models": {}}))


@pytest.mark.parametrize("scale", [1.0, 4e6, 4e-6])
@pytest.mark.parametrize("groups", [None, GROUPS])
def test_columns_end_at_the_same_place_and_no_error_is_a_row_of_zeros(scale, groups, rng):
    labels = scale * rng.normal(size=40)
    lines = list(score_lines(scores_of(labels, labels + 0.5 * scale * rng.normal(size=40), groups)))
    assert len(lines) == 8
    assert len({len(line) for line in lines}) == 1
    assert max(map(len, lines)) < 120
    errors = [line for line in lines if line.split()[0] in ("RMSE", "MAE")]
    assert all("0.0000" not in line and "00000" not in line for line in errors)
    assert ("group means" in lines[0]) == (groups is not None)


def test_a_run_of_an_earlier_version_has_no_intervals_and_says_what_is_missing(tmp_path):
    lines = list(score_lines(write_run(tmp_path / "old").scores))
    assert lines[1].split() == ["RMSE", "0.5000"]
    assert [line.split()[1] for line in lines if line.split()[0] in ("Spearman", "Kendall", "CCC")] == ["undefined"] * 3
