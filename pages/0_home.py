"""Home: where you are, and the one next step."""

import streamlit as st

from app import resources, session
from app.views import live
from app.words import NOTHING, count, errors_in_words, flattered, plain
from core import jobs
from core.errors import DataError
from core.runs import Run, best_run
from core.scoring import figures
from core.tasks.kinds import job_kind, known_jobs

ws = session.workspace()


def grouping(run: Run) -> str:
    """What clips of the best run are new to the models that score them."""
    groups = run.record.settings.ensemble.group_by
    return f"on a {plain(groups)} that is new" if groups and groups != "auto" else "without groups" if not groups else "with groups"


chosen = session.choice()
try:
    dataset, trouble = resources.dataset(chosen.path, chosen.layout), None
except DataError as error:
    dataset, trouble = None, str(error)
extracted = session.newest_job("extract")
recent_work = [job for job, kind in known_jobs(resources.jobs(ws.jobs)) if not kind.in_passing][:20]
running = [job for job in recent_work if jobs.status(job) in jobs.ACTIVE]
runs = session.runs_here() if dataset is not None else []
best = best_run(runs) if runs else None

st.title("Earmark")
st.caption("Learns to grade sound from labelled clips, and reports the error to expect on new ones.")
if not recent_work and not session.recent():
    with st.container(border=True):
        st.markdown("**New here? A minute is enough**")
        st.markdown(
            "1. **Dataset**: the bundled piano notes are open; each says how hard its key was struck. Listen.\n"
            "2. **Train**: press the button. Each clip is scored by models that have not heard it; errors draw themselves.\n"
            "3. **Explain** and **Predict**: see what the models listen to, then bring a clip of your own."
        )

with st.grid(4, min_column_width=190):
    with st.container(border=True, height="stretch"):
        st.metric("Data set", plain(chosen.name), icon=":material/library_music:")
        if dataset is None:
            st.caption(":red[It cannot be read.]")
        else:
            st.caption(f"Its tables name {count(len(dataset.train), 'clip')} to train on, {len(dataset.test):,} to test")
    with st.container(border=True, height="stretch"):
        done, ready = dataset is not None and extracted is not None and jobs.status(extracted) == jobs.DONE, None
        with errors_in_words():
            ready = resources.result(extracted)["ready"] if done else None
        st.metric("Extracted", NOTHING if ready is None else f"{ready:,}", icon=":material/graphic_eq:")
        if ready is not None:
            st.caption(f"{'clip' if ready == 1 else 'clips'}, {plain(', '.join(extracted.request['extract']['features']))}")
        else:
            st.caption("With the training" if runs else "Not yet")
    with st.container(border=True, height="stretch"):
        st.metric("At work", job_kind(running[0].kind).noun if running else NOTHING, icon=":material/bolt:")
        st.caption(plain(session.request_name(running[0])) if running else "Nothing is running")
    with st.container(border=True, height="stretch"):
        st.metric(
            "Best run",
            figures.text(best.scores.oof_rmse, like=best.scores.constant_rmse, decimals=3) if best else NOTHING,
            icon=":material/trophy:",
        )
        if best is None:
            st.caption("No run on this data set yet")
        else:
            st.caption(f"Out-of-fold RMSE {grouping(best)}; baseline {figures.text(best.scores.constant_rmse, decimals=3)}")
            if (flatters := flattered(best.scores)) is not None:
                st.caption(f":orange[For a new {plain(flatters[0])} expect about {figures.text(flatters[1], decimals=3)}]")

if running:
    live.show_job(running[0])

st.subheader("Next step")
if running:
    page = job_kind(running[0].kind).page
    text, label = "Jobs continue when this page is closed. Watch them live.", "Watch"
elif trouble is not None:
    page, text, label = "dataset", trouble, "Choose a data set"
elif ready is None and not runs:
    page, label = "features", "Extract its features"
    text = f"The data set {chosen.name} is open. Listen to it on the Dataset page, or go straight on."
elif best is None:
    page, text, label = (
        "train",
        "The features are extracted. Train an ensemble and see its error on held-out clips.",
        "Train",
    )
elif best.scores.oof_rmse >= best.scores.constant_rmse:
    page, label = "train", "Train another"
    text = "The best run is no better than the mean of the training labels. Other features, more clips or other labels may help."
else:
    noun = best.kind.noun[0].upper() + best.kind.noun[1:]
    page, text, label = "predict", f"{noun} is ready. Score new clips with it.", "Score new clips"
st.markdown(plain(text))
with st.container(horizontal=True):
    if st.button(label, type="primary", icon=":material/arrow_forward:", key="next_step"):
        if running and (its_set := session.chosen_by(running[0])) is not None:
            session.choose(its_set)  # the page shows the work on its own data set
        if running and running[0].kind == "predict":
            session.watch(running[0])
        if running and running[0].kind == "explain":
            session.open_run(str(running[0].request["run"]))
        if running and running[0].kind == "curve":
            session.show_curve_of(str(running[0].request["run"]))
        st.switch_page(session.PAGES[page])
    if dataset is not None and not running and st.button("Find the best", icon=":material/trophy:", key="find_best_here"):
        session.ask_for_best()
        st.switch_page(session.PAGES["train"])
    if page != "dataset" and st.button("Look at the data", icon=":material/library_music:", key="look_at_data"):
        st.switch_page(session.PAGES["dataset"])
    if best is not None and st.button("See its result", icon=":material/model_training:", key="see_result"):
        session.open_run(best.id)
        st.switch_page(session.PAGES[session.page_of(best)])
    explainable = best is not None and not best.kind.why_not_explained
    if explainable and st.button("Explain it", icon=":material/lightbulb:", key="explain_best"):
        session.open_run(best.id)
        st.switch_page(session.PAGES["explain"])
    if runs and st.button("All runs", icon=":material/leaderboard:", key="all_runs"):
        st.switch_page(session.PAGES["runs"])
