"""What a fine-tuning is to do: encoders and whether they are here, what is read beside the sound, how long, at what rates."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app import fields, forms, resources, session
from app.words import about, count, errors_in_words, plain
from core.cli.doctor import size_text
from core.data.dataset import Dataset
from core.encoders.encoder_sets import ENCODERS
from core.encoders.transcript_sets import split_language
from core.encoders.transcripts import require_language
from core.errors import ParameterError
from core.extraction.config import ExtractSettings
from core.multimodal.config import (
    COLUMN,
    DESCRIBE,
    NONE,
    RECOGNISED,
    TEXT_MODEL,
    FinetuneSettings,
    lora_targets,
)
from core.multimodal.frames import bytes_of
from core.multimodal.texts import features_for
from core.runtime import weights
from core.runtime.device import Device, choose
from core.runtime.weights import Checkpoint
from core.tasks.forecast import alike, finetuning_seconds
from core.workspace import Workspace

CLASSIC = ("batch_clips", "learning_rate", "epochs", "rank", "alpha", "dropout", "warmup", "weight_decay")  # of the preset
_TEXT_MODELS = (TEXT_MODEL, "sentence-transformers/all-MiniLM-L6-v2", "microsoft/deberta-v3-base", "FacebookAI/roberta-base")
_RECOGNISER = "openai/whisper-small"
_CHARACTERS = 300  # of a text that is shown
_WIDTH = 115  # of a number
_WEIGHTS = (".safetensors", ".bin")
_SOUND, _TEXT, _WORDS = "sound", "text", "words of the sound"


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the settings as this machine has it.

    Attributes
    ----------
    part : str, what it is for
    name : str
    found : Checkpoint or None
    problem : str, one sentence on what is missing or wrong; empty where all is well
    """

    part: str
    name: str
    found: Checkpoint | None
    problem: str

    @property
    def can_be_had(self) -> bool:
        """Whether work with it can begin: it is here, or the hub is asked for it."""
        return not self.problem if self.found is not None else weights.is_fetched(self.name)


def finetune_settings(
    dataset: Dataset, usual: FinetuneSettings, heard: ExtractSettings
) -> tuple[ExtractSettings, FinetuneSettings | None]:
    """What of a clip is heard; encoders, text, folds and rates, or None where they make no sense: then the page has said why.

    Parameters
    ----------
    dataset : Dataset
    usual, heard : what the form begins with
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = _sound(usual)
        extracted = {"max_seconds": fields.number("finetune", heard, "max_seconds", step=5.0, width=150)}
        extracted["channel"] = forms.channel("finetune", heard)
        extracted["slow_down"] = fields.number("finetune", heard, "slow_down", step=1.0, width=150)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen |= _text(dataset, usual) | {"device": fields.device("finetune", usual)}
    chosen |= _plan(dataset, usual)
    chosen |= _rates(usual)
    try:
        extraction = heard.replace(**extracted)  # what is not shown stays as it was
    except ParameterError as error:  # a channel can be typed
        forms.refuse(str(error))
        return heard, None
    try:
        settings = usual.replace(**chosen)
    except ParameterError as error:
        forms.refuse(str(error))
        return extraction, None
    return extraction, settings if forms.folds_fit(dataset, settings.folds, settings.group_by) else None


def models_of(settings: FinetuneSettings) -> list[Model]:
    """The models that settings name, as they are on this machine; the network is not asked, and PyTorch is not imported."""
    wanted = [(_SOUND, settings.audio_model)] if settings.uses_audio else []
    wanted += [(_TEXT, settings.text_model)] if settings.uses_text else []
    wanted += [(_WORDS, settings.recogniser)] if settings.recogniser else []
    return [_look(part, name, settings) for part, name in wanted]


def _look(part: str, name: str, settings: FinetuneSettings) -> Model:
    try:
        found = weights.find(name)
    except ParameterError as error:
        return Model(part, name, None, str(error))
    try:
        if part == _SOUND:
            layers, _ = weights.encoder_shape(found)
            if settings.layer is not None and settings.layer >= layers:
                raise ParameterError(f"layer={settings.layer}: {name} has layers 0 to {layers - 1}")
        if part == _TEXT:
            weights.text_shape(found)
        if part == _TEXT or (part == _SOUND and settings.audio_encoder == "lora"):
            lora_targets(found)
        if part == _WORDS:
            weights.require_recogniser(found)
            if language := split_language(settings.text)[1]:
                require_language(found, language)
    except ParameterError as error:
        return Model(part, name, found, str(error))
    return Model(part, name, found, "")


def show_models(models: Sequence[Model], settings: FinetuneSettings, *, unfolded: bool) -> None:
    """A table of the models, where PyTorch computes, and for each that is missing one sentence on what to bring."""
    with st.expander("State of the models", icon=":material/memory:", expanded=unfolded):
        st.dataframe(
            model_table(models),
            hide_index=True,
            placeholder="",
            key="finetune_models",
            alt="Models, whether their weights are here, and how large they are",
        )
        device = device_of(settings)
        if device is not None:
            slow = "; an encoder of usual size takes minutes for an epoch there" if device.kind == "cpu" else ""
            st.caption(plain(f"PyTorch computes on {device.kind} ({device.name}, {device.precision}){slow}."))
    for model in models:
        if model.problem and model.can_be_had:
            st.info(plain(f"{model.problem}."), icon=":material/download:")
        elif model.problem:
            st.error(plain(f"{model.problem}."), icon=":material/error:")


def model_table(models: Sequence[Model]) -> pd.DataFrame:
    """A row a model: what it is for, its name, state, and where it is known layers, width, size and folder."""
    rows = []
    for model in models:
        shape = None if model.found is None else _shape(model.found) or _heard_shape(model.found)
        layers, width = shape or (None, None)
        size = None if model.found is None else size_text(_weight_bytes(model.found.folder))
        where = None if model.found is None else f"weights in {model.found.folder}"
        state = "ready" if not model.problem else "to be fetched" if model.can_be_had else "something is missing"
        rows.append((model.part, model.name, state, layers, width, size, where))
    frame = pd.DataFrame(rows, columns=["For", "Model", "State", "Layers", "Width", "Size", "Rests on"])
    return frame.astype({"Layers": "Int64", "Width": "Int64"}).dropna(axis=1, how="all")


def device_of(settings: FinetuneSettings) -> Device | None:
    """Where PyTorch computes; None where it cannot as it should, which the page then has said."""
    try:
        return choose(settings.device)
    except ParameterError as error:
        forms.refuse(str(error))
        return None


def show_texts(
    dataset: Dataset, settings: FinetuneSettings, extract: ExtractSettings, workspace: Workspace, *, unfolded: bool
) -> None:
    """A few clips with what is read of them."""
    if not settings.uses_text:
        return
    with (
        st.expander("What is read of a few clips", icon=":material/notes:", expanded=unfolded),
        errors_in_words(),  # the cache may be damaged
    ):
        found = resources.texts(dataset, settings, extract, workspace)
        if found:
            frame = pd.DataFrame([(plain(name), plain(_start(text))) for name, text in found], columns=["Clip", "Text"])
            st.table(frame, border="horizontal", hide_index=True, alt="Clips with the text that is read")
        else:
            st.caption("Texts are made when the clips are extracted, which the fine-tuning does first.")
        if settings.column is not None:
            empty = sum(not row.columns.get(settings.column, "").strip() for row in dataset.train)
            alone = "only their audio is used" if settings.uses_audio else "the model gets no input for them"
            told = f"{count(empty, 'clip')} to train on without a text: {alone}." if empty else ""
            st.caption(told or "Every clip to train on has one.")


def work_ahead(settings: FinetuneSettings, extract: ExtractSettings, dataset: Dataset, models: Sequence[Model]) -> str:
    """How much work these settings are, about how long it takes, and what it puts on the disk, in words."""
    ws = session.workspace()
    said = [f"{count(settings.folds, 'fold')} of up to {count(settings.epochs, 'epoch')}"]
    paces = resources.known_paces(list(session.jobs_here("finetune")), len(dataset.train))
    pace = paces.get(alike(settings, extract))
    if pace is None:
        said.append("how long it takes is known after the first epoch")
    else:
        at_most = about(finetuning_seconds(settings, len(dataset.train), pace))
        said.append(f"at most {at_most}, and about {pace.memory_gb:.1f} GB of memory, from earlier epochs on this machine")
    missing = resources.without_features(dataset, features_for(settings, extract), ws.cache)
    if to_do := max(0, missing - session.unreadable()):
        said.append(f"before that {count(to_do, 'clip')} to extract")
    heard = next((model.found for model in models if model.part == _SOUND and not model.problem), None)
    if heard is not None:
        clips = len({row.path for row in (*dataset.train, *dataset.test)})
        seconds = resources.mean_seconds(dataset, extract.max_seconds, extract.treatment)
        what = "frames" if settings.audio_encoder == "frozen" else "waveforms"
        taken = bytes_of(clips * seconds, heard, encode=settings.audio_encoder == "frozen")
        said.append(f"{what} of all clips take about {size_text(taken)} on the disk")
    return " · ".join(said)


def without_torch() -> None:
    """Say what is missing where PyTorch is not installed, with the one thing that can be done without it."""
    st.info(
        "Fine-tuning needs PyTorch, which is not installed. Stop the server, run the line below, and start it again.",
        icon=":material/download:",
    )
    st.code("pip install 'earmark[deep]'", language="bash")
    if st.button("Train an ensemble instead", type="primary", icon=":material/arrow_forward:", key="train_instead"):
        st.switch_page(session.PAGES["train"])


def _start(text: str) -> str:
    """The beginning of a long text."""
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS].rstrip()} ..."


def text_label(source: str) -> str:
    """A source of text for people.

    Examples
    --------
    >>> text_label("column=said"), text_label("describe")
    ('Column said', 'Described: its acoustics in words')
    """
    if source.startswith(COLUMN):
        return f"Column {source.removeprefix(COLUMN)}"
    return {
        DESCRIBE: "Described: its acoustics in words",
        RECOGNISED: "Recognised: what a Whisper hears",
        NONE: "None: only the sound",
    }.get(source, source)


def _sound(usual: FinetuneSettings) -> dict[str, Any]:
    """What is done with which audio encoder; the caller may add to the row."""
    audio = fields.choice("finetune", usual, "audio_encoder", width="content")
    audio_model = _model(usual, "audio_model", [*ENCODERS.values()])
    layer = fields.number("finetune", usual, "layer", width=110, placeholder="the last", disabled=audio == NONE)
    return {"audio_encoder": audio, "audio_model": audio_model, "layer": layer}


def _model(usual: FinetuneSettings, name: str, known: Sequence[str]) -> str:
    setting, chosen = usual.describe()[name], str(getattr(usual, name))
    names = list(dict.fromkeys([*known, chosen]))
    model = st.selectbox(
        setting.label,
        names,
        index=names.index(chosen),
        accept_new_options=True,
        key=f"finetune_{name}",
        persist_state="session",
        width=330,
        help=f"{setting.help} Type it and press Enter.",
    )
    return session.model_folder(model or chosen)


def _text(dataset: Dataset, usual: FinetuneSettings) -> dict[str, str]:
    """What is read with which text encoder: a column that both tables have, or where else the text comes from."""
    options = [*(COLUMN + name for name in _columns(dataset)), DESCRIBE, RECOGNISED, NONE]
    first = RECOGNISED if usual.recogniser else usual.text if usual.text in options else DESCRIBE
    source = st.selectbox(
        "Text",
        options,
        index=options.index(first),
        format_func=text_label,
        key="finetune_text",
        persist_state="session",
        width=270,
        help="Text input beside the audio. A column that states the label, or was written by the person who gave it, leaks it.",
    )
    recogniser = usual.text.removeprefix(RECOGNISED) if usual.recogniser else _RECOGNISER
    if source == RECOGNISED:
        recogniser = st.text_input(
            "Recogniser",
            recogniser,
            key="finetune_recogniser",
            persist_state="session",
            width=270,
            help="A Whisper: an id of the Hugging Face hub, or a folder. Append @en to set the language.",
        )
    text_model = _model(usual, "text_model", _TEXT_MODELS)
    model, language = split_language(recogniser.strip())
    heard = RECOGNISED + session.model_folder(model) + (f"@{language}" if language else "")
    return {"text": heard if source == RECOGNISED else source, "text_model": text_model}


def _columns(dataset: Dataset) -> list[str]:
    """Columns of both tables, those with running text first."""
    tables = [rows[0].columns for rows in (dataset.train, dataset.test) if rows]
    there = [name for name in tables[0] if all(name in table for table in tables)] if tables else []
    running = [name.removeprefix(f"transcript:{COLUMN}") for name in forms.text_columns(dataset)]
    return sorted(there, key=lambda name: name not in running)


def _plan(dataset: Dataset, usual: FinetuneSettings) -> dict[str, Any]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown = {name: _number(usual, name) for name in ("folds", "epochs", "batch_clips")}
        return shown | {"group_by": forms.choose_groups(dataset, usual.group_by, key="finetune_groups")}


def _rates(usual: FinetuneSettings) -> dict[str, Any]:
    with st.expander("Rates, adapters and loss", icon=":material/tune:", key="finetune_more"):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            steps = {"learning_rate": 1e-5, "head_learning_rate": 1e-4, "warmup": 0.05, "weight_decay": 0.05}
            shown = {name: _number(usual, name, step=step) for name, step in steps.items()}
            shown |= {name: _number(usual, name) for name in ("rank", "alpha")} | {"dropout": _number(usual, "dropout", step=0.05)}
        with st.container(horizontal=True, vertical_alignment="bottom"):
            shown |= {name: fields.choice("finetune", usual, name) for name in ("fusion", "loss")}
            shown |= {name: _number(usual, name, step=0.05) for name in ("concordance", "clip_norm")}
        with st.container(horizontal=True, vertical_alignment="bottom"):
            shown |= {name: _number(usual, name) for name in ("patience", "accumulation")}
            shown |= {"level": fields.percent("finetune", usual, "level", width=_WIDTH), "seed": _number(usual, "seed")}
            shown["stratified"] = fields.toggle("finetune", usual, "stratified")
    return shown


def _number(usual: FinetuneSettings, name: str, **options: Any) -> Any:
    return fields.number("finetune", usual, name, width=_WIDTH, by_session=True, **options)


def classic_button(settings: FinetuneSettings | None) -> None:
    """A button that brings the usual settings back."""
    usual = FinetuneSettings()
    here = settings is not None and all(getattr(settings, name) == getattr(usual, name) for name in CLASSIC)
    st.button(
        "Classic preset",
        icon=":material/restart_alt:",
        type="tertiary",
        key="finetune_classic",
        on_click=_classic,
        disabled=here,
        help=", ".join(f"{name.replace('_', ' ')} {getattr(usual, name):g}" for name in CLASSIC) + ".",
    )


def _classic() -> None:
    usual = FinetuneSettings()
    for name in CLASSIC:
        st.session_state[f"finetune_{name}"] = getattr(usual, name)


def _shape(found: Checkpoint) -> tuple[int, int] | None:
    """Layers and width of a text encoder; None where it is none."""
    try:
        return weights.text_shape(found)
    except ParameterError:
        return None


def _heard_shape(found: Checkpoint) -> tuple[int, int] | None:
    try:
        layers, width = weights.encoder_shape(found)
    except ParameterError:
        return None
    return layers - 1, width


def _weight_bytes(folder: Path) -> int:
    """Of the weights in a folder, of one kind where there are two."""
    sizes = [sum(path.stat().st_size for path in folder.glob(f"*{ending}")) for ending in _WEIGHTS]
    return next((size for size in sizes if size), 0)
