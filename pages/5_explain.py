"""Explain: which columns moved a prediction, by how much, for all clips and for one."""

import streamlit as st

from app import forms, resources, session
from app.views import explain as explain_view, layers, live
from app.words import about, analysed, count, errors_in_words, plain
from core import jobs
from core.cli import as_command
from core.errors import RunError
from core.runs import best_run

ws = session.workspace()


def explain(run_id: str) -> None:
    """Start the job."""
    with errors_in_words():
        jobs.submit("explain", {"run": run_id, "clips": []}, ws.jobs)


st.title("Explain")
runs = resources.runs(ws.jobs)
if not runs:
    st.caption("There is no trained ensemble yet. Train one; then see what moves its predictions.")
    if st.button("Train one", type="primary", icon=":material/arrow_forward:", key="next_step"):
        st.switch_page(session.PAGES["train"])
    st.stop()

here = session.runs_here()
ensembles = [run for run in here if not run.kind.why_not_explained]
with st.container(border=True):
    first = best_run(ensembles) if ensembles else None
    run = forms.choose_run(runs, best_run(here) if here else None, first=first)
if run.kind.why_not_explained:
    way_on = "Choose an ensemble above" if not all(other.kind.why_not_explained for other in runs) else "Train an ensemble"
    message = f"This run is not explained by features: {run.kind.why_not_explained}. {way_on} to see which features matter."
    st.info(message, icon=":material/lightbulb:")
    if run.id in {one.id for one in here}:
        page = session.page_of(run)
        st.button("See its result", icon=":material/model_training:", key="see_result", on_click=session.go, args=(page,))
    if run.record.settings.finetune is not None:
        layers.show_layers(run)
    st.stop()
forms.command(as_command.explain_command(run.id, [], ws.root))

try:
    found = resources.explanation(run)
except RunError as error:
    found = None
    st.error(plain(str(error)), icon=":material/broken_image:")
job = session.newest_of_run("explain", run)
if job is not None and jobs.status(job) in jobs.ACTIVE:
    live.show_job(job)
elif found is None and (job is None or not live.show_end(job)):
    clips, members = run.record.dataset.train_clips, run.scores.models
    fits = len(members) * run.record.settings.ensemble.repeats
    st.markdown(
        f"See which features move the predictions of {count(clips, 'clip')}: each is explained by the models that did not "
        f"train on it. It takes {about(5 + fits * min(clips, 1000) / 100)} and continues when this page is closed."
    )
    st.button("Explain this run", type="primary", icon=":material/lightbulb:", key="explain", on_click=explain, args=(run.id,))
if found is not None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(
            "out-of-fold",
            icon=":material/check:",
            color="blue",
            help="Each clip is explained by the models that did not train on it.",
        )
        clips, trained = len(found.filenames), run.record.dataset.train_clips
        drawn = "" if clips == trained else f", drawn from {trained:,}"
        facts = [f"{count(clips, 'clip')}{drawn}", f"{len(found.members)} members", "in the unit of the label", *analysed(run)]
        st.caption(" · ".join(facts), width="content")
    explain_view.look(run, found)
layers.show_layers(run)
