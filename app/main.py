"""The router: which pages there are, in the order of the flow. Runs on every interaction, so it imports little."""

import sys
from pathlib import Path

import streamlit as st

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # `streamlit run app/main.py` knows this folder only
    sys.path.insert(0, str(ROOT))

from app import session  # noqa: E402
from app.words import errors_in_words, plain  # noqa: E402

st.set_page_config(page_title="Earmark", page_icon=str(ROOT / "app" / "icon.svg"), layout="wide")
st.logo(ROOT / "app" / "logo.svg", size="large")
page = st.navigation(
    [
        st.Page(ROOT / "pages" / "0_home.py", title="Home", icon=":material/home:", default=True),
        st.Page(ROOT / "pages" / "1_dataset.py", title="Dataset", icon=":material/library_music:", url_path="dataset"),
        st.Page(ROOT / "pages" / "2_features.py", title="Features", icon=":material/graphic_eq:", url_path="features"),
        st.Page(ROOT / "pages" / "3_train.py", title="Train", icon=":material/model_training:", url_path="train"),
        st.Page(ROOT / "pages" / "4_finetune.py", title="Fine-tune", icon=":material/neurology:", url_path="finetune"),
        st.Page(ROOT / "pages" / "5_explain.py", title="Explain", icon=":material/lightbulb:", url_path="explain"),
        st.Page(ROOT / "pages" / "6_predict.py", title="Predict", icon=":material/target:", url_path="predict"),
        st.Page(ROOT / "pages" / "7_runs.py", title="Runs", icon=":material/leaderboard:", url_path="runs"),
    ]
)
if (asked := session.gone_to()) is not None:
    st.switch_page(session.PAGES[asked])
with st.sidebar, errors_in_words():
    session.keep_in_address()
    st.caption(f"Data set  \n{plain(session.choice().name)}")
    st.caption(f"Workspace  \n{plain(str(session.workspace().root))}")
with errors_in_words():
    page.run()
