"""The curve of a run in, its lines out: what more clips would bring, and the error at each size in the unit of the label."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.scoring.figures import interval_text, text

if TYPE_CHECKING:
    from core.insight.curve import RunCurve
    from core.runs import Run


def curve_lines(run: "Run", found: "RunCurve") -> Iterator[str]:
    """The answer, then the figures that it rests on."""
    curve, like = found.curve, run.scores.constant_rmse
    counts = "clips" if found.unit == "clip" else "groups"
    yield curve.sentence()
    yield ""
    counted = f"{curve.sizes[-1]:.0f} groups ({found.unit})" if counts == "groups" else "without groups"
    badge = f" [{found.badge}]" if found.badge else ""
    yield f"  run {run.id}: {curve.clips[-1]:.0f} clips, {counted}; {found.repeats} draws of each size{badge}"
    yield f"  {counts if counts == 'groups' else 'size':>8}{'clips':>8}{'RMSE':>12}  95 % interval beside today"
    rows = [
        (size, clips, error, "" if number < len(curve.sizes) - 1 else "  today")
        for number, (size, clips, error) in enumerate(zip(curve.sizes, curve.clips, curve.errors, strict=True))
    ]
    rows.append((2 * curve.sizes[-1], 2 * curve.clips[-1], curve.twice, "  twice the clips, by the law"))
    for size, clips, error, note in rows:
        ends = "" if note == "  today" else f"  {interval_text((error.low, error.high), like=like)}"
        yield f"  {size:8.0f}{clips:8.0f}{text(error.rmse, like=like):>12}{ends}{note}"
    yield f"  law         RMSE = {curve.a:.3g} + {curve.b:.3g} x n^-{curve.c:.2g} for n {counts}"
    if curve.ceiling is not None:
        yield f"  ceiling     RMSE {text(curve.ceiling, like=like)}: the raters' disagreement allows no better"
    elsewhere = interval_text((curve.twice_elsewhere.low, curve.twice_elsewhere.high), like=like)
    yield f"  elsewhere   on other clips like these, twice the clips bring {elsewhere}"
    if found.left_out:
        today, of_run = text(curve.today, like=like), text(run.scores.oof_rmse, like=like)
        yield f"  left out    {', '.join(found.left_out)}: today's RMSE is then {today} instead of {of_run}"
