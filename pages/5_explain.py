"""Explain: which columns moved a prediction, by how much, for all clips and for one."""

import streamlit as st

from app import ui_resources, ui_state

st.title("Explain")
runs = ui_resources.runs(ui_state.workspace().jobs)
if not runs:
    st.caption("There is no trained ensemble yet.")
    if st.button("Train one", type="primary", icon=":material/arrow_forward:", key="next_step"):
        st.switch_page(ui_state.PAGES["train"])
    st.stop()
