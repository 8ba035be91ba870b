"""The encoder layers of a run: how well each predicts the labels, as a heat map, and the proposed band."""

from typing import Any

import streamlit as st

from app import forms, resources, session
from app.charts import layers
from app.views import live
from app.words import count, errors_in_words, plain
from core import jobs
from core.cli import as_command
from core.data.audio import MAX_SECONDS
from core.data.layouts.layout import Layout
from core.encoders.source import WHOLE_WINDOW
from core.features import parse_set
from core.features.sets import ENCODER
from core.insight.layers import Band, LayerScores
from core.runs import Run
from core.scoring.figures import text
from core.settings import build

_KEYS = ("max_seconds", "channel", "slow_down", "encoder_window", "device")
_DATA = ("dataset", "layout", "encoder", "groups")


def show_layers(run: Run) -> None:
    """For each encoder of a run: its layers scored one by one, or the button that starts it."""
    settings = run.record.settings
    encoders = [of.stored for of in map(parse_set, settings.extract.features) if of.has_layers]
    if settings.finetune is not None and settings.finetune["audio_encoder"] != "none":
        encoders.append(f"{ENCODER}:{settings.finetune['audio_model']}")
    for encoder in dict.fromkeys(encoders):
        with st.expander(plain(f"Layers of {encoder}"), icon=":material/layers:", expanded=True):
            _one(run, encoder)


def layers_request(run: Run, encoder: str) -> dict[str, Any]:
    """The request of a job that scores each layer, on the data, groups and folds of the run."""
    settings, ensemble = run.record.as_json()["settings"], run.record.settings.ensemble
    extract = settings["extract"] | {"encoder_window": run.record.settings.extract.encoder_window}
    return {
        "dataset": run.record.dataset.path,
        "layout": settings["layout"],
        "encoder": encoder,
        "extract": {name: extract[name] for name in _KEYS if name in extract},
        "heads": None,
        "groups": ensemble.group_by,
        "folds": ensemble.folds,
        "repeats": None,
        "seed": ensemble.seed,
    }


def _one(run: Run, encoder: str) -> None:
    request = layers_request(run, encoder)
    jobs_folder = session.workspace().jobs
    job = next((job for job in resources.jobs(jobs_folder) if job.kind == "layers" and _is_alike(job.request, request)), None)
    state = None if job is None else jobs.status(job)
    if job is not None and state in jobs.ACTIVE:
        live.show_job(job)
        return
    if job is not None and state == jobs.DONE:
        with errors_in_words():
            _found(resources.result(job))
        return
    if job is not None:
        live.show_end(job)
        return
    st.markdown("Which encoder layers predict the label best? Each is scored alone, with three heads, on grouped folds.")
    st.button("Score the layers", icon=":material/layers:", key=f"layers_{encoder}", on_click=_start, args=(request,))
    layout = build(Layout, request["layout"])
    forms.command(
        as_command.layers_command(request["dataset"], layout, encoder, request["groups"], session.workspace().root),
    )


def _is_alike(request: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a job looks at the same encoder on the same clips and groups; folds and heads may be others."""
    read = [
        (extract.get("max_seconds", MAX_SECONDS), extract.get("encoder_window", WHOLE_WINDOW))
        for extract in (request["extract"], wanted["extract"])
    ]
    return read[0] == read[1] and all(request.get(name) == wanted[name] for name in _DATA)


def _start(request: dict[str, Any]) -> None:
    with errors_in_words():
        jobs.submit("layers", request, session.workspace().jobs)


def _found(done: dict[str, Any]) -> None:
    scores, band = LayerScores.from_record(done["scores"]), Band(**done["band"])
    st.badge(
        "out-of-fold",
        icon=":material/check:",
        color="blue",
        help="Each layer and head is scored on folds it was not fitted on. A band chosen by these scores is not nested.",
    )
    grouped = f", grouped by {scores.groups}" if scores.groups else ", not grouped"
    st.caption(
        plain(f"{count(scores.rows, 'clip')}{grouped} · baseline RMSE {text(scores.constant_rmse)} (mean of the training labels)")
    )
    st.altair_chart(
        layers.layer_heatmap(scores, band),
        key=f"layers_map_{scores.encoder}",
        alt="Out-of-fold RMSE by layer of the encoder and head; the proposed band is framed",
    )
    if done["set"]:
        st.success(plain(f"Proposed: {band.reason}."), icon=":material/lightbulb:")
        st.code(done["set"], language=None)
        st.caption("Add it under Further sets: all layers are stored, so nothing is extracted again. Or fine-tune on one of them.")
    else:
        st.info(plain(f"No band to propose: {band.reason}."), icon=":material/layers_clear:")
