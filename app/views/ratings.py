"""What several ratings a clip say: how many raters there are, how far they agree, and what that allows a model."""

import numpy as np
import pandas as pd
import streamlit as st

from app import resources
from app.views.cards import card
from app.words import count, plain
from core.data.dataset import Dataset
from core.scoring.agreement import Ratings, rater_offsets
from core.scoring.figures import interval_text, text


def show(dataset: Dataset) -> None:
    """Figures of the raters in cards, and each rater in a table; nothing where clips have one label each."""
    ratings = dataset.ratings
    if ratings is None:
        return
    found = resources.agreement(dataset)
    st.markdown("**Ratings**")
    with st.grid(3, min_column_width=240):
        by = f"by {count(found.raters, 'rater')}" if found.raters else "by raters without names"
        card("Ratings", f"{found.ratings:,}", f"{by}, {found.ratings / found.clips:.1f} a clip; the label is their mean")
        card("Spread within a clip", f"{found.spread:.3g}", "standard deviation of its ratings, on average")
        if found.ceiling is not None:
            ceiling = found.ceiling
            ends = (ceiling.rmse_low, ceiling.rmse_high)
            told = f"95 %: {interval_text(ends, like=ceiling.scale, decimals=3)}; Pearson at most {ceiling.pearson:.3f}"
            card("Lowest RMSE the raters allow", text(ceiling.rmse, like=ceiling.scale, decimals=3), told)
    if found.ceiling is not None:
        who = (
            "One panel rated nearly all clips, so that its habits are part of the label."
            if found.ceiling.is_panel
            else "Each clip has other raters, or nobody says who they are, so that strict and lenient ones are noise too."
        )
        st.caption(
            plain(f"{who} A model that knew the true mark of every clip would still have this error. Agreement: {found.words()}.")
        )
    if ratings.raters is not None:
        with st.expander("Raters", icon=":material/groups:"):
            st.dataframe(_raters(ratings), hide_index=True, key="raters", alt="Each rater with number of ratings, mean and offset")


def _raters(ratings: Ratings) -> pd.DataFrame:
    assert ratings.raters is not None
    counts = np.bincount(ratings.raters, minlength=len(ratings.names))
    return pd.DataFrame(
        {
            "Rater": ratings.names,
            "Ratings": counts,
            "Mean": (np.bincount(ratings.raters, ratings.values, len(ratings.names)) / counts).round(3),
            "Offset": rater_offsets(ratings).round(3),
        }
    ).sort_values("Offset", ascending=False)
