"""The chosen feature sets, one line each: what computes them, whether their weights are here, and how long a clip takes."""

import pandas as pd
import streamlit as st

from app import resources, session
from app.words import plain
from core.encoders.batches import SetState, state_of
from core.events import BatchComputed, Recorded
from core.extraction.config import ExtractSettings
from core.features import parse_set, width
from core.jobs import Job

_RECENT_JOBS = 12  # whose events tell how long a set takes


def show_sets(settings: ExtractSettings) -> None:
    """A table of the chosen sets; where something is missing, what to do about it."""
    states = {name: state_of(name) for name in settings.features}
    if settings.on_device:
        seconds = seconds_per_clip([resources.events(job.events) for job in _recent()])
        with st.expander("State of the sets", icon=":material/memory:", expanded=True):
            st.dataframe(
                set_table(settings, states, seconds),
                hide_index=True,
                key="set_states",
                alt="Chosen feature sets, what computes them and whether their weights are here",
                column_config={"Seconds per clip": st.column_config.NumberColumn(format="%.2g")},
            )
            if any(name not in seconds for name in settings.on_device):
                st.caption("The time per clip is known after the first clips: estimate the time, or extract.")
    for name, state in states.items():
        if not state.is_ready:
            st.info(plain(f"{name}: {state.words}."), icon=":material/download:")


def set_table(settings: ExtractSettings, states: dict[str, SetState], seconds: dict[str, float]) -> pd.DataFrame:
    """Sets of a setting with their state, one row each."""
    rows = []
    for name in settings.features:
        of = parse_set(name)
        if not of.of_audio:
            computed_by = "the table"
        elif of.on_device:
            device = settings.choose_device()
            computed_by = f"PyTorch on {device.kind} ({device.name}, {device.precision})"
        else:
            computed_by = "processes side by side"
        rows.append(
            {
                "Set": name,
                "State": "ready" if states[name].is_ready else "something is missing",
                "Seconds per clip": seconds.get(of.stored),
                "Features": width(name),
                "Computed by": computed_by,
                "Rests on": states[name].words if states[name].is_ready else "",
            }
        )
    return pd.DataFrame(rows)


def _recent() -> list[Job]:
    """The newest jobs of the workspace that may have extracted features."""
    kinds = ("probe", "extract", "train")
    return [job for job in resources.jobs(session.workspace().jobs) if job.kind in kinds][:_RECENT_JOBS]


def seconds_per_clip(jobs: list[list[Recorded]]) -> dict[str, float]:
    """Seconds per clip of each set that PyTorch computes, over the batches in the events."""
    clips: dict[str, int] = {}
    total: dict[str, float] = {}
    for recorded in jobs:
        for one in recorded:
            if isinstance(event := one.event, BatchComputed):
                clips[event.set_name] = clips.get(event.set_name, 0) + event.clips
                total[event.set_name] = total.get(event.set_name, 0.0) + event.seconds
    return {name: total[name] / clips[name] for name in clips}
