"""Predict: choose a run, bring clips, see where they stand among the labels that were trained on, and how far to trust that."""

from datetime import datetime
from typing import Any

import streamlit as st

from app import forms, resources, session
from app.views import live, scored
from app.words import SWITCHES, count, errors_in_words, plain
from core import jobs
from core.cli import as_command
from core.jobs import Job, read_job
from core.runs import Run, best_run

ws = session.workspace()


def score(run_id: str, asked: dict[str, Any]) -> None:
    """Start the job."""
    st.session_state["predict_earlier"] = None
    with errors_in_words():
        session.watch(jobs.submit("predict", {"run": run_id, **asked}, ws.jobs))


def copies_of(run: Run) -> int | None:
    """How many augmented copies of each clip are scored too; None takes as many as the run was trained with."""
    own = run.record.settings.ensemble.tta
    copies = st.number_input(
        SWITCHES["tta"],
        0,
        20,
        own,
        key=f"predict_tta_{own}",
        width=210,
        help=f"Augmented copies of each clip, whose predictions are averaged with its own. The run was judged with {own}.",
    )
    return None if copies == own else int(copies)


def open_earlier() -> None:
    """Look at the scoring that was chosen."""
    if (name := st.session_state["predict_earlier"]) is not None:
        session.watch(read_job(ws.jobs / name))


def earlier_label(job: Job) -> str:
    """A scoring by its time, its clips and its run."""
    clips, table = job.request.get("clips") or [], job.request.get("table")
    what = table.rsplit("/", 1)[-1] if table else clips[0].rsplit("/", 1)[-1] if len(clips) == 1 else count(len(clips), "clip")
    return f"{datetime.fromtimestamp(job.created):%d %b %H:%M} · {what} · run {job.request['run']}"


st.title("Predict")
runs = resources.runs(ws.jobs)
if not runs:
    st.caption("There is no trained ensemble yet.")
    if st.button("Train one", type="primary", icon=":material/arrow_forward:", key="next_step"):
        st.switch_page(session.PAGES["train"])
    st.stop()

here = session.runs_here()
with st.container(border=True):
    run = forms.choose_run(runs, best_run(here) if here else None)
    brought = scored.bring(run, ws.root / "uploads")
    cells = scored.ask_columns(run) if brought.table is None else {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        tta = copies_of(run) if run.kind.takes_copies else None
        st.button(
            f"Score {count(brought.number, 'clip')}" if brought.number else "Score",
            type="primary",
            icon=":material/play_arrow:",
            key="score",
            on_click=score,
            args=(run.id, brought.request | ({} if tta is None else {"tta": tta}) | ({"columns": cells} if cells else {})),
            disabled=not brought.number,
        )
        earlier = {one.id: one for one in session.scorings()}
        if earlier:
            st.selectbox(
                "Earlier scorings",
                list(earlier),
                index=None,
                format_func=lambda one: earlier_label(earlier[one]),
                placeholder="Open an earlier scoring",
                label_visibility="collapsed",
                key="predict_earlier",
                on_change=open_earlier,
                width=420,
            )
if brought.number:
    line = as_command.predict_command(
        run.id, brought.clips, ws.root, tta=tta, table=brought.table, layout=brought.layout, columns=cells
    )
    forms.command(line)

job = session.watched()
if job is not None:
    session.watch(job)
if job is not None and jobs.status(job) in jobs.ACTIVE:
    live.show_job(job)
elif job is not None and not live.show_end(job):
    done = resources.scored(job)
    of = next((one for one in runs if one.id == done["run_id"]), None)
    if of is None:
        st.warning(f"The run {plain(done['run_id'])} that scored these clips is gone.", icon=":material/folder_off:")
    else:
        scored.show(of, done, job.id)
elif job is None and not brought.number:
    st.caption("Upload or record a clip to see its predicted label.")
    if (example := session.example_clip(run)) is not None:
        st.button(
            f"Try it with {plain(example.name)}",
            type="primary",
            icon=":material/science:",
            key="try_example",
            on_click=score,
            args=(run.id, {"clips": [str(example)]} | ({"columns": cells} if cells else {})),
        )
