"""A figure in a box of its own."""

import streamlit as st


def card(label: str, value: str, told: str) -> None:
    """A figure with its name above it and what it says below it."""
    st.metric(label, value, delta=told or None, delta_color="off", delta_arrow="off", border=True, height="stretch")
