"""Runs: which is best, what differs, what to keep."""

import streamlit as st

from app import ui_live, ui_resources, ui_runs, ui_state
from app.ui_words import errors_in_words, plain
from core import jobs
from core.runs import best_run

ws = ui_state.workspace()

st.title("Runs")
runs = ui_resources.runs(ws.jobs)
done = {run.id for run in runs}
trainings = [job for job in ui_resources.jobs(ws.jobs) if job.kind in ("train", "finetune") and job.id not in done]
unfinished = [(job, state) for job in trainings if (state := jobs.status(job)) != jobs.DONE]
if not runs:
    ui_runs.unfinished(unfinished, ui_resources.unreadable(ws.jobs))
    st.caption("There is no finished run yet. Each training leaves one here: its error, its settings, its models.")
    if st.button("Train one", type="primary", icon=":material/arrow_forward:", key="next_step"):
        st.switch_page(ui_state.PAGES["train"])
    st.stop()

here = ui_state.runs_here()
with st.container(horizontal=True, vertical_alignment="bottom"):
    everywhere = st.segmented_control(
        "Show",
        ["This data set", "All"],
        default="This data set" if here else "All",
        required=True,
        key="runs_show",
        persist_state="session",
        bind="query-params",
        width="content",
    )
    words = st.text_input("Search", key="runs_search", placeholder="name, note, member, group", persist_state="session", width=300)
ids = [run.id for run in here]
elsewhere = [run for run in runs if run.id not in ids] if everywhere == "All" else []
listed = ui_runs.matching([*elsewhere, *here], words)
ui_state.open_awaited(done)
opened = ui_state.opened_run(runs) or (best_run(here) if here else runs[-1])
if listed:
    ui_runs.table(listed, runs)
else:
    st.caption(
        "No run is like that." if words else f"No run on {plain(ui_state.choice().name)} yet; All shows those of other data sets."
    )
ui_state.open_run(opened.id)
ui_runs.unfinished(unfinished, ui_resources.unreadable(ws.jobs))

st.subheader(plain(opened.name))
with errors_in_words():
    ui_runs.show(opened, opened.id in ids)
st.subheader("Compare")
blending = next((job for job in ui_resources.jobs(ws.jobs) if job.kind == "blend" and job.id not in done), None)
if blending is not None and jobs.status(blending) in jobs.ACTIVE:
    ui_live.show_job(blending)
elif blending is not None and ui_state.awaits(blending):
    ui_live.show_end(blending)
fingerprint = opened.record["dataset"]["fingerprint"]
others = {run.id: run for run in reversed(runs) if run.id != opened.id and run.record["dataset"]["fingerprint"] == fingerprint}
if not others:
    st.caption("No other run on the same data yet. Train one with other settings; then see whether it is better, or only luck.")
else:
    ui_state.remember_compared(list(others))
    called = ui_runs.labels([*others.values()])
    chosen = st.multiselect(
        f"Instead of {plain(opened.name)}",
        list(others),
        format_func=lambda one: f"{called[one]} · RMSE {others[one].scores['oof_rmse']:.4f}",
        key=ui_state.COMPARED,
        on_change=ui_state.keep_compared,
        persist_state="session",
        placeholder="Choose one or more runs on the same data",
    )
    if chosen:
        ui_runs.compare(opened, [others[one] for one in chosen])
