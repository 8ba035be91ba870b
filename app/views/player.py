"""A clip to be listened to."""

from pathlib import Path

import streamlit as st

from app import resources
from app.words import plain
from core.data.treatment import AS_RECORDED, Treatment
from core.errors import AudioError


def play(path: Path, treatment: Treatment = AS_RECORDED) -> None:
    """Draw the player of a clip as it is analysed, or say why there is none."""
    try:
        sound, mime = resources.playable(path, treatment)
    except AudioError as error:
        st.caption(f"Audio unavailable: {plain(error.reason)}.")
        return
    st.audio(str(sound) if isinstance(sound, Path) else sound, format=mime)
    if treatment.words:
        st.caption(f"Played as it is analysed: {treatment.words}.")
