"""Runs: which is best, what differs, what to keep."""

import streamlit as st

from app import resources, session
from app.views import live, runs as runs_view
from app.words import errors_in_words, plain
from core import jobs
from core.runs import best_run
from core.scoring import figures
from core.tasks.kinds import known_jobs

ws = session.workspace()

st.title("Runs")
runs = resources.runs(ws.jobs)
done = {run.id for run in runs}
trainings = [job for job, kind in known_jobs(resources.jobs(ws.jobs)) if kind.trains and job.id not in done]
unfinished = [(job, state) for job in trainings if (state := jobs.status(job)) != jobs.DONE]
if not runs:
    runs_view.unfinished(unfinished, resources.unreadable(ws.jobs))
    st.caption("There is no finished run yet. Each training leaves one here: its error, its settings, its models.")
    if st.button("Train one", type="primary", icon=":material/arrow_forward:", key="next_step"):
        st.switch_page(session.PAGES["train"])
    st.stop()

here = session.runs_here()
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
listed = runs_view.matching([*elsewhere, *here], words)
session.open_awaited(done)
opened = session.opened_run(runs) or (best_run(here) if here else runs[-1])
if listed:
    runs_view.table(listed, runs)
else:
    st.caption("No run matches." if words else f"No run on {plain(session.choice().name)} yet; All shows those of other data sets.")
session.open_run(opened.id)
runs_view.unfinished(unfinished, resources.unreadable(ws.jobs))

st.subheader(plain(opened.name))
with errors_in_words():
    runs_view.show(opened, opened.id in ids)
st.subheader("Compare")
blending = next((job for job, kind in known_jobs(resources.jobs(ws.jobs)) if kind.page == "runs" and job.id not in done), None)
if blending is not None and jobs.status(blending) in jobs.ACTIVE:
    live.show_job(blending)
elif blending is not None and session.awaits(blending):
    live.show_end(blending)
fingerprint = opened.record.dataset.fingerprint
others = {run.id: run for run in reversed(runs) if run.id != opened.id and run.record.dataset.fingerprint == fingerprint}
if not others:
    st.caption("No other run on the same data yet. Train one with other settings; then see whether it is better, or only luck.")
else:
    session.remember_compared(list(others))
    called = runs_view.labels([*others.values()])
    chosen = st.multiselect(
        f"Instead of {plain(opened.name)}",
        list(others),
        format_func=lambda one: f"{called[one]} · RMSE {figures.text(others[one].scores.oof_rmse)}",
        key=session.COMPARED,
        on_change=session.keep_compared,
        persist_state="session",
        placeholder="Choose one or more runs on the same data",
    )
    if chosen:
        runs_view.compare(opened, [others[one] for one in chosen])
