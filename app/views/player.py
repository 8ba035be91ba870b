"""A clip to be listened to."""

from pathlib import Path

import streamlit as st

from app import resources
from app.words import plain
from core.errors import AudioError


def play(path: Path) -> None:
    """Draw the player of a clip, or say why there is none."""
    try:
        sound, mime = resources.playable(path)
    except AudioError as error:
        st.caption(f"Audio unavailable: {plain(error.reason)}.")
        return
    st.audio(str(sound) if isinstance(sound, Path) else sound, format=mime)
