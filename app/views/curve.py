"""Would more clips help: the error of a run with fewer of its clips and, by the law through it, with twice as many."""

import streamlit as st

from app import forms, resources, session
from app.charts.curve import learning_curve
from app.views import live
from app.words import BADGES, about, count, errors_in_words, plain
from core import jobs
from core.cli import as_command
from core.errors import EarmarkError, RunError
from core.insight.curve import REPEATS, RunCurve, check_curve
from core.runs import Run
from core.runtime.pool import cores
from core.scoring.figures import interval_text, text
from core.tasks.forecast import forecast_curve, known_fits

KIND = "curve"


def show_curve(run: Run) -> None:
    """The curve of a run, the job that measures it, or the button that starts it."""
    if run.kind.why_no_curve:
        st.info(plain(f"Not available for this run: {run.kind.why_no_curve}."), icon=":material/trending_down:")
        return
    found = None
    try:
        found = resources.curve(run)
    except RunError as error:
        st.error(plain(str(error)), icon=":material/broken_image:")
    job = session.newest_of_run(KIND, run)
    if job is not None and jobs.status(job) in jobs.ACTIVE:
        live.show_job(job)
    elif found is None and (job is None or not live.show_end(job)):
        _offer(run)
    if found is not None:
        _draw(run, found)


def _offer(run: Run) -> None:
    """What is measured, how long it takes, and the button; or why it cannot be."""
    try:
        check_curve(run)
        known = known_fits([(run, resources.events(run.folder / "events.jsonl"))])
        ahead = forecast_curve(run, known, max(1, cores()), repeats=REPEATS)
    except EarmarkError as error:
        st.info(plain(str(error)), icon=":material/trending_down:")
        return
    st.markdown(
        "Would more clips help? Every member is fitted again on 20, 40, 60 and 80% of the training "
        f"{'groups' if run.record.grouped_by else 'clips'} of each fold. A curve through the errors says what twice the "
        "clips would bring."
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Measure the curve", icon=":material/trending_down:", key="measure_curve", on_click=_start, args=(run.id,))
        st.caption(f"{count(ahead.fits, 'fit')} · {about(ahead.seconds)}; it continues when this page is closed", width="content")
    forms.command(as_command.curve_command(run.id, session.workspace().root))


def _start(run_id: str) -> None:
    with errors_in_words():
        jobs.submit(KIND, {"run": run_id, "repeats": REPEATS}, session.workspace().jobs)


def _draw(run: Run, found: RunCurve) -> None:
    curve, like = found.curve, run.scores.constant_rmse
    show = {True: st.success, False: st.info, None: st.warning}[curve.helps]
    show(plain(curve.sentence()), icon=":material/lightbulb:")
    grouped = found.unit != "clip"
    counted = f"Groups ({found.unit})" if grouped else "Clips"
    with st.container(horizontal=True, vertical_alignment="center"):
        if found.badge is not None:
            colour, icon, definition = BADGES[found.badge]
            st.badge(found.badge, icon=icon, color=colour, help=definition)  # type: ignore[arg-type]
        sizes = [count(round(curve.clips[-1]), "clip"), *([count(round(curve.sizes[-1]), "group")] if grouped else [])]
        st.caption(" · ".join([*sizes, f"{found.repeats} draws of each size"]), width="content")
    st.altair_chart(
        learning_curve(curve, counted),
        key="learning_curve",
        alt="Out-of-fold RMSE by the size of the data set, with the fitted law to twice the clips",
    )
    ceiling = "" if curve.ceiling is None else f" Dashed: the raters' disagreement allows no better than {curve.ceiling:.3g}."
    st.caption(
        f"Points: mean error on all clips, with its 95% interval beside today's error. Band: 95% interval for a data set of that "
        f"size, whichever {'groups' if grouped else 'clips'} it has.{plain(ceiling)}"
    )
    elsewhere = interval_text((curve.twice_elsewhere.low, curve.twice_elsewhere.high), like=like)
    st.caption(
        plain(
            f"Curve: RMSE = {curve.a:.3g} + {curve.b:.3g} n^-{curve.c:.2g}, n {'groups' if grouped else 'clips'}. On other clips "
            f"like these, models trained on twice the clips would have an RMSE of {elsewhere}."
        )
    )
    if found.left_out:
        st.caption(
            plain(
                f"Fitted without {', '.join(found.left_out)}: today's RMSE is then {text(curve.today, like=like)} instead of "
                f"{text(run.scores.oof_rmse, like=like)}."
            )
        )
