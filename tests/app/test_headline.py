"""The first sentence of a result names the clips that its error is for."""

from types import SimpleNamespace

import pytest

from app.words import headline


def scores(*, leak=None, ends=(0.75, 0.87), ceiling=None):
    allowed = None if ceiling is None else SimpleNamespace(rmse=ceiling)
    return SimpleNamespace(oof_rmse=0.81, constant_rmse=1.42, leak=leak, ceiling=allowed, ends=lambda metric: ends)


def leak(*, chosen):
    return SimpleNamespace(groups="speaker, which was not chosen", chosen=chosen, gap=0.2, random_rmse=0.6, grouped_rmse=0.8)


@pytest.mark.parametrize(("group_by", "clips"), [(None, "new clips"), ("auto", "new clips"), ("speaker", "clips of a new speaker")])
def test_the_clips_are_those_that_the_folds_kept_apart(group_by, clips):
    assert headline(scores(), group_by) == (
        f"On {clips}, expect an RMSE of 0.810 (95 % interval: 0.750 to 0.870); the mean label gives 1.420."
    )


def test_random_folds_over_groups_promise_nothing_for_a_new_group():
    assert headline(scores(leak=leak(chosen=False)), None).startswith("On new clips of a known speaker, expect")
    assert headline(scores(leak=leak(chosen=True)), "speaker").startswith("On clips of a new speaker, expect")


def test_what_is_not_known_is_left_out_and_the_ceiling_named():
    assert headline(scores(ends=None, ceiling=0.41), None) == (
        "On new clips, expect an RMSE of 0.810; the mean label gives 1.420, and the raters' own disagreement allows 0.410."
    )
