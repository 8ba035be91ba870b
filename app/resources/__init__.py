"""What pages share and keep: the only folder with Streamlit's caches. Every page gets the same objects: read, never change them.

A cache key says what a value was made of: versions of files, the stamp of a data set, the id of a job or run; never ``id()``.
"""

from app.resources.datasets import (
    CheckedDataset as CheckedDataset,
    Key as Key,
    agreement as agreement,
    batch as batch,
    can_trace as can_trace,
    checked_dataset as checked_dataset,
    clip as clip,
    columns as columns,
    dataset as dataset,
    kept as kept,
    mean_seconds as mean_seconds,
    planned_steps as planned_steps,
    playable as playable,
    texts as texts,
    trace as trace,
    unused as unused,
    without_features as without_features,
)
from app.resources.matrices import (
    Features as Features,
    Kind as Kind,
    Map as Map,
    Split as Split,
    clip_map as clip_map,
    column_correlations as column_correlations,
    export_bytes as export_bytes,
    features as features,
    label_table as label_table,
    near_twins as near_twins,
    typical as typical,
)
from app.resources.queue import events as events, jobs as jobs, result as result, scored as scored
from app.resources.records import (
    curve as curve,
    explanation as explanation,
    in_practice as in_practice,
    judged as judged,
    known_fits as known_fits,
    known_paces as known_paces,
    oof as oof,
    rmse_interval as rmse_interval,
    runs as runs,
    training_labels as training_labels,
    unreadable as unreadable,
)
