"""Home: where you are, and the one next step."""

import streamlit as st

from app import ui_live, ui_resources, ui_state
from app.ui_words import NOTHING, count, errors_in_words, plain
from core import jobs
from core.errors import DataError
from core.runs import best_run

ws = ui_state.workspace()
chosen = ui_state.choice()
try:
    dataset, trouble = ui_resources.dataset(chosen.path, chosen.layout), None
except DataError as error:
    dataset, trouble = None, str(error)
extracted = ui_state.newest_job("extract")
recent_work = [job for job in ui_resources.jobs(ws.jobs) if job.kind not in ("check", "probe")][:20]
running = [job for job in recent_work if jobs.status(job) in jobs.ACTIVE]
runs = ui_state.runs_here() if dataset is not None else []
best = best_run(runs) if runs else None

st.title("Earmark")
st.caption("Learns to grade sound from labelled clips, and says how far off it will be on clips that it has not heard.")

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
            ready = ui_resources.result(extracted)["ready"] if done else None
        st.metric("Extracted", NOTHING if ready is None else f"{ready:,}", icon=":material/graphic_eq:")
        if ready is not None:
            st.caption(f"{'clip' if ready == 1 else 'clips'}, {plain(', '.join(extracted.request['extract']['features']))}")
        else:
            st.caption("With the training" if runs else "Not yet")
    with st.container(border=True, height="stretch"):
        names = {"extract": "Extraction", "train": "Training", "predict": "Scoring"}
        st.metric("At work", names.get(running[0].kind, running[0].kind) if running else NOTHING, icon=":material/bolt:")
        st.caption(plain(ui_state.request_name(running[0])) if running else "Nothing is running")
    with st.container(border=True, height="stretch"):
        st.metric("Best run", f"{best.scores['oof_rmse']:.3f}" if best else NOTHING, icon=":material/trophy:")
        st.caption(f"RMSE out of fold; constant {best.scores['constant_rmse']:.3f}" if best else "No run on this data set yet")

if running:
    ui_live.show_job(running[0])

st.subheader("Next step")
if running:
    page = {"extract": "features", "train": "train"}.get(running[0].kind, "predict")
    text, label = "Work goes on when this page is closed. Watch it as it happens.", "Watch"
elif trouble is not None:
    page, text, label = "dataset", trouble, "Choose a data set"
elif ready is None and not runs:
    page, label = "features", "Extract its features"
    text = f"The data set {chosen.name} is open. Listen to it on the Dataset page, or go straight on."
elif best is None:
    page, text, label = (
        "train",
        "The features are there. Train an ensemble and see how well it does on clips it has not heard.",
        "Train",
    )
elif best.scores["oof_rmse"] >= best.scores["constant_rmse"]:
    page, label = "train", "Train another"
    text = "The best run is no better than always saying the mean label. Other features, more clips or other labels may help."
else:
    page, text, label = "predict", "A trained ensemble is ready. Score clips that it has never heard.", "Score new clips"
st.markdown(plain(text))
with st.container(horizontal=True):
    if st.button(label, type="primary", icon=":material/arrow_forward:", key="next_step"):
        if running and (its_set := ui_state.chosen_by(running[0])) is not None:
            ui_state.choose(its_set)  # the page shows the work on its own data set
        if running and running[0].kind == "predict":
            ui_state.watch(running[0])
        st.switch_page(ui_state.PAGES[page])
    if page != "dataset" and st.button("Look at the data", icon=":material/library_music:", key="look_at_data"):
        st.switch_page(ui_state.PAGES["dataset"])
