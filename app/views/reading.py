"""How a data set is read: its layout, what each column is for, and the first rows as they are understood."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app.words import plain
from core.data.dataset import Dataset, transform_hint
from core.data.rows import Row

_SHOWN_ROWS = 5


def show_reading(dataset: Dataset) -> None:
    """The layout in the title of a box; inside the roles of the columns, and the first rows of both tables."""
    with st.expander(plain(f"Read as {dataset.recognised}"), icon=":material/table_view:"):
        roles = pd.DataFrame([(each.table, each.name, each.role) for each in dataset.columns], columns=["Table", "Column", "Role"])
        st.dataframe(roles, hide_index=True, key="dataset_roles", alt="Columns of the tables, and what each is for")
        st.caption("The first rows as they are understood. Other columns and tables can be chosen beside the path.")
        for name, rows in (("train", dataset.train), ("test", dataset.test)):
            if rows:
                shown = row_table(rows[:_SHOWN_ROWS], dataset)
                st.dataframe(shown, hide_index=True, key=f"dataset_first_{name}", alt=f"First rows of the {name} table")


def show_transform_hint(labels: np.ndarray) -> None:
    """The label transform that is likely to help, and why; nothing where there is none."""
    if (hint := transform_hint(labels)) is not None:
        reason, name = hint
        st.info(
            plain(f"{reason[:1].upper()}{reason[1:]}: on page Train, the label transform {name} may help."),
            icon=":material/lightbulb:",
        )


def row_table(rows: tuple[Row, ...], dataset: Dataset) -> pd.DataFrame:
    """Rows with their clip and label, and their further columns as the table names them."""
    paths = [row.recording or row.path for row in rows]
    files = [path.relative_to(dataset.root) if path.is_relative_to(dataset.root) else path for path in paths]
    known: dict[str, list[Any]] = {"Clip": [row.name for row in rows], "File": [file.as_posix() for file in files]}
    if all(row.span is not None for row in rows):
        known |= {name: [row.span[place] for row in rows if row.span] for place, name in enumerate(("Start, s", "End, s"))}
    if all(np.isfinite(row.label) for row in rows):
        known["Label"] = [row.label for row in rows]
    further = {name if name not in known else f"{name} (column)": [row.columns[name] for row in rows] for name in rows[0].columns}
    return pd.DataFrame(known | further)
