"""Runs: which is best, what differs, what to keep."""

import streamlit as st

from app import ui_live, ui_resources, ui_runs, ui_state
from app.ui_words import errors_in_words, plain
from core import jobs
from core.runs import best_run, unreadable_runs

ws = ui_state.workspace()

st.title("Runs")
runs = ui_resources.runs(ws.jobs)
for folder, reason in unreadable_runs(ws.jobs):
    st.warning(plain(f"The run in {folder} cannot be read: {reason}"), icon=":material/broken_image:")
unfinished = [job for job in ui_resources.jobs(ws.jobs) if job.kind == "train" and jobs.status(job) != jobs.DONE][:5]
for job in unfinished:
    with st.container(horizontal=True, vertical_alignment="center"):
        state = jobs.status(job)
        st.badge(state, color="blue" if state in jobs.ACTIVE else "orange")
        st.markdown(plain(f"Training on {ui_state.request_name(job)}, {job.id}"), width="content")
        if state in jobs.ACTIVE:
            st.button("Watch", icon=":material/visibility:", key=f"watch_{job.id}", on_click=ui_state.watch_training, args=(job,))
        else:
            ui_live.resume_button(job)
if not runs:
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
listed = ui_runs.matching(runs if everywhere == "All" else here, words)
opened = ui_state.opened_run(runs) or (best_run(here) if here else runs[-1])
if listed:
    ui_runs.table(listed, opened)
else:
    st.caption(
        "No run is like that." if words else f"No run on {plain(ui_state.choice().name)} yet; All shows those of other data sets."
    )
ui_state.open_run(opened.id)

st.subheader(plain(opened.name))
with errors_in_words():
    ui_runs.show(opened, opened.id in [run.id for run in here])
st.subheader("Compare")
others = {run.id: run for run in reversed(runs) if run.id != opened.id and ui_runs.kind_of(run)[0] == ui_runs.kind_of(opened)[0]}
if not others:
    st.caption("No other run on the same data yet. Train one with other settings; then see whether it is better, or only luck.")
else:
    ui_state.remember_compared(list(others))
    chosen = st.multiselect(
        f"Instead of {plain(opened.name)}",
        list(others),
        format_func=lambda one: f"{others[one].name} · RMSE {others[one].scores['oof_rmse']:.4f}",
        key=ui_state.COMPARED,
        on_change=ui_state.keep_compared,
        persist_state="session",
        placeholder="Choose one or more runs on the same data",
    )
    if chosen:
        ui_runs.compare(opened, [others[one] for one in chosen])
