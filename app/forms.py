"""Widgets that return a settings object of the library. What is chosen stays chosen while one looks at other pages."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app import fields, session
from app.words import SWITCHES, about, count, plain, run_label
from core.cli.arguments import split_names
from core.data.dataset import Dataset
from core.data.layouts.layout import Layout
from core.data.treatment import CHANNELS
from core.ensemble import EnsembleSettings
from core.ensemble.checks import JUDGED_BY_FITS, PERMUTATIONS
from core.ensemble.members import parse_member, parse_members
from core.ensemble.models import CATALOGUE
from core.errors import DataError, ParameterError
from core.extraction.config import ExtractSettings, resolve_features
from core.extraction.matrix import check_table
from core.extraction.speed import Speed
from core.features import named_sets, parse_set, width
from core.grouping import ties
from core.grouping.ties import group_labels, recordings_of
from core.runs import Run
from core.runtime.pool import cores
from core.scoring.folds import FoldSettings
from core.tasks.forecast import Forecast, forecast

_ENCODER_COLUMNS = 2304  # of a base model: mean, standard deviation and mean step of 768 units
_SCALES = ("ultra@5s", "mfcc@5s", "ultra@2s")
_AUTO = "auto"
_MEMBERS = "train_members"
_QUICK_COST = 1.0  # of a fit, beside others: what is no dearer is quick


def set_label(name: str) -> str:
    """A feature set with its number of columns."""
    return f"{name} · {width(name) or _ENCODER_COLUMNS}"


def extract_settings(dataset: Dataset, usual: ExtractSettings) -> ExtractSettings | None:
    """Feature sets and length of analysis, ``usual`` at first, or None where they make no sense: then the page has said why."""
    choices = named_sets()
    sets = st.pills(
        "Feature sets",
        list(choices),
        selection_mode="multi",
        default=[name for name in usual.features if name in choices],
        format_func=set_label,
        key="extract_features",
        persist_state="session",
        help="  \n".join(f"**{name}**: {title}" for name, title in choices.items()),
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        further = [name for name in usual.features if name not in choices]
        more = st.multiselect(
            "Further sets",
            list(dict.fromkeys([*_SCALES, *table_columns(dataset), *text_columns(dataset), *further])),
            default=further,
            accept_new_options=True,
            select_all=False,
            placeholder="ultra@5s, encoder:FOLDER, wavlm@L5-6, transcript:describe, table:NAME",
            key="extract_more",
            persist_state="session",
            width=420,
            help="**ultra@5s**: the set over windows of 5 s, their mean and standard deviation; any length from 1 s will do.  \n"
            "**encoder:MODEL**: a pretrained encoder by its folder or its id of the Hugging Face hub; **wavlm@L5-6**: the mean of "
            "its layers 5 and 6; **wavlm@L5+6**: both side by side. All layers are kept, so others cost nothing.  \n"
            "**transcript:column=NAME**: words, rate, fillers and repetitions of a text of the tables; "
            "**transcript:whisper=MODEL**: of what a Whisper hears, **MODEL@en**: in a language that it is told; "
            "**transcript:describe**: of a description of the sound.  \n"
            "**reading:MODEL**: how likely a Whisper finds the text of the tables in the clip, **reading:MODEL:column=NAME** "
            "that of a column.  \n"
            "**recognition:MODEL**: what a Whisper recognises, against that text: word errors, certainty, pauses between words; "
            "**recognition:MODEL@en**: in a language that it is told.  \n"
            "**pronunciation:MODEL**: how well each letter of that text fits its stretch of the clip, by a model with a CTC head "
            "such as facebook/wav2vec2-base-960h, with pauses between words.  \n"
            "**table:NAME**: the column NAME of the tables, of numbers or of up to 20 different words, a feature each. A clip "
            "without its table then has no value there.",
        )
        shown = {"max_seconds": fields.number("extract", usual, "max_seconds", step=5.0, width=180)}
        with st.container(horizontal=True, vertical_alignment="bottom"):
            shown["channel"] = channel("extract", usual)
            shown["slow_down"] = fields.number("extract", usual, "slow_down", step=1.0, width=180)
        shown["encoder_window"] = fields.choice("extract", usual, "encoder_window")
        shown["device"] = fields.device("extract", usual)
    names = tuple(dict.fromkeys([*(name for name in choices if name in (sets or ())), *more]))
    if not names:
        refuse("Choose at least one feature set.")
        return None
    try:
        names = resolve_features(names, _columns(dataset))
        _check_sets(dataset, names)
        return usual.replace(features=names, **shown)  # what is not shown stays as it was
    except (ParameterError, DataError) as error:
        refuse(str(error))
        return None


def channel(form: str, usual: ExtractSettings) -> str:
    """Which channel of a clip is analysed; a number can be typed.

    Parameters
    ----------
    form : str, that the key begins with
    usual : settings that the form begins with
    """
    setting = usual.describe()["channel"]
    names = list(dict.fromkeys([*CHANNELS, usual.channel]))
    chosen = st.selectbox(
        setting.label,
        names,
        names.index(usual.channel),
        accept_new_options=True,
        key=f"{form}_channel",
        persist_state="session",
        width=180,
        help=setting.help,
    )
    return chosen or usual.channel


def ensemble_settings(dataset: Dataset, usual: EnsembleSettings) -> EnsembleSettings | None:
    """Members, folds, groups and switches, ``usual`` at first, or None where they make no sense: then the page has said why."""
    members = _members(dataset, usual.members)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown: dict[str, Any] = {"preset": fields.choice("train", usual, "preset")}
        shown |= {name: fields.number("train", usual, name) for name in ("folds", "repeats")}
        groups = choose_groups(dataset, usual.group_by, key="train_groups")
    shown |= _more_settings(usual) | _switches(dataset, usual)
    if members is None:
        return None
    try:
        settings = usual.replace(members=members, group_by=groups, **shown)  # what is not shown stays as it was
    except ParameterError as error:
        refuse(str(error))
        return None
    return settings if folds_fit(dataset, settings.folds, groups) else None


def time_ahead(
    settings: EnsembleSettings, extraction: ExtractSettings, clips: int, known: Mapping[tuple[str, str], float]
) -> Forecast:
    """About how long a training takes once the features are there.

    Parameters
    ----------
    settings, extraction : what the training would do
    clips : number of labelled clips
    known : seconds of earlier fits, as ``core.tasks.forecast.known_fits``
    """
    columns = sum(width(name) or _ENCODER_COLUMNS for name in extraction.features)
    workers = cores() if settings.workers is None else max(1, settings.workers)
    return forecast(settings, clips, columns, known, workers, sets=len(extraction.features))


def work_ahead(settings: EnsembleSettings, ahead: Forecast, to_extract: int, speed: Speed | None) -> str:
    """How many models these settings fit, and about how long that and what comes before it takes, in words.

    Parameters
    ----------
    settings : of the training
    ahead : Forecast of it
    to_extract : int, clips whose features are not there yet
    speed : how fast clips were extracted before, or None
    """
    one = len(settings.members) * settings.folds
    parts = [count(one * settings.repeats, "fit")]
    parts += [
        f"as many without {SWITCHES[name].lower()}"
        for name in JUDGED_BY_FITS
        if getattr(settings, name) != EnsembleSettings.model_fields[name].default
    ]
    if settings.self_test:
        parts.append(f"{PERMUTATIONS} x {one:,} on permuted labels")
    if ahead.measured == 1:
        rests = "from earlier fits on this machine"
    else:
        rests = (
            "partly from earlier fits on this machine"
            if ahead.measured
            else "as for a typical machine; known better after the first fit"
        )
    said = f"{', then '.join(parts)} · {about(ahead.seconds)}, {rests}"
    if to_extract:
        how_long = about(speed.seconds(to_extract)) if speed is not None and speed.clips else "the Features page can estimate it"
        said += f" · before that {count(to_extract, 'clip')} to extract: {how_long}"
    return said


def repeating_columns(dataset: Dataset) -> list[str]:
    """Columns of the training table that can be chosen as groups and whose values several clips share: speakers, rooms, notes."""
    return ties.repeating_columns(dataset.train)


def table_columns(dataset: Dataset) -> list[str]:
    """Columns that hold numbers or a few words, and not one value alone, as names of feature sets."""
    named = [f"table:{name}" for name in _columns(dataset) if _different(dataset, name) > 1]
    return [name for name in named if _why_no_feature(dataset, name) is None]


def text_columns(dataset: Dataset) -> list[str]:
    """Sets of words: of each column that holds running text, and of a description of the sound."""
    named = [f"transcript:column={name}" for name in _columns(dataset) if _is_text(dataset, name)]
    return [*named, "transcript:describe"]


def _is_text(dataset: Dataset, name: str) -> bool:
    cells = [row.columns.get(name, "") for row in dataset.train]
    return sum(len(cell.split()) > 1 for cell in cells) > len(cells) / 2


def choose_groups(dataset: Dataset, usual: str | None, *, key: str) -> str | None:
    """What is kept in one fold: a column of the table, auto, or None."""
    setting = FoldSettings.describe()["group_by"]
    there, recordings = _columns(dataset), recordings_of(dataset.train)
    options = [None, *([] if _AUTO in there else [_AUTO]), *there]

    def label(name: str | None) -> str:
        if name is None:
            return "No groups" if recordings is None else f"recording · {count(len(set(recordings)), 'group')}"
        return "auto · what audio, names and features tie together" if name not in there else _group_label(dataset, name)

    groups: str | None = st.selectbox(
        setting.label,
        options,
        index=options.index(usual) if usual in options else 0,
        format_func=label,
        key=key,
        persist_state="session",
        width=330,
        help=setting.help,
    )
    if groups is None and recordings is None and (repeating := repeating_columns(dataset)):
        what = plain(" or ".join(repeating[:3]))
        st.caption(f"Does one {what} have several clips? Then choose it under Groups, or the score will be too good.")
    return groups


def folds_fit(dataset: Dataset, folds: int, groups: str | None) -> bool:
    """Whether there are as many groups, or clips, as folds; where not, the page has said so."""
    if groups == _AUTO and _AUTO not in _columns(dataset):  # known when the clips have been heard
        return True
    try:
        units, what = (
            (len(set(group_labels(dataset.train, groups))), "groups") if groups else (len(dataset.train), "labelled clips")
        )
        if not groups and (recordings := recordings_of(dataset.train)) is not None:
            units, what = len(set(recordings)), "recordings"
    except DataError as error:
        refuse(str(error))
        return False
    if units < folds:
        refuse(f"{folds} folds need at least as many {what}; there are {units}.")
    return units >= folds


def refuse(why: str) -> None:
    """Say beside what was chosen why it makes no sense."""
    st.caption(f":orange[{plain(why)}]")


def choose_labels(dataset: Dataset) -> tuple[str, ...]:
    """The labels to train on, at first all; a data set with one label has nothing to choose. Empty where none is chosen."""
    if len(dataset.labels) < 2 or dataset.layout.rating_columns:
        return dataset.labels[:1]
    chosen = st.pills(
        "Labels",
        dataset.labels,
        selection_mode="multi",
        default=list(dataset.labels),
        key="train_labels",
        persist_state="session",
        help="Each is trained in turn, on the same folds; none of them is a feature or a group of another.",
    )
    if not chosen:
        refuse("Choose at least one label.")
    return tuple(name for name in dataset.labels if name in chosen)


def choose_run(runs: Sequence[Run], best: Run | None, *, first: Run | None = None) -> Run:
    """One of the runs, at first the one that the address names or that was looked at last, else ``first``, else the best one."""
    by_id = {run.id: run for run in [*([best] if best else []), *reversed(runs)]}
    opened = session.opened_run(runs) or first or best or runs[-1]
    st.session_state["run_box"] = opened.id
    st.selectbox(
        "Run",
        list(by_id),
        format_func=lambda one: run_label(by_id[one], best),
        key="run_box",
        on_change=lambda: session.open_run(st.session_state["run_box"]),
    )
    session.open_run(opened.id)
    if best is None:
        st.caption(f":orange[No run on {plain(session.choice().name)} yet: these are of other data sets.]")
    return opened


def choose_result(here: Sequence[Run]) -> Run:
    """One of the runs on a data set, at first the newest; the address names it."""
    run = session.result_run(here)
    if len(here) > 1:
        by_id = {one.id: one for one in reversed(here)}
        st.session_state["result_box"] = run.id
        st.selectbox(
            "Result of",
            list(by_id),
            format_func=lambda one: run_label(by_id[one]),
            key="result_box",
            on_change=lambda: session.open_run(st.session_state["result_box"]),
        )
    return run


def layout_fields(columns: Sequence[str]) -> None:
    """Boxes for how a data set is laid out, each under the key ``dataset_SETTING``.

    Parameters
    ----------
    columns : of the training table, among which those of names, labels, times and ratings can be chosen
    """
    for name, setting in Layout.describe().items():
        key = f"dataset_{name}"
        shared: dict[str, Any] = {"key": key, "persist_state": "session", "help": setting.help}
        if setting.kind is bool:
            st.toggle(setting.label, **shared)
        elif setting.choices is not None:
            st.selectbox(setting.label, setting.choices.names, format_func=setting.choices.label, **shared)
        elif setting.kind is tuple:
            names = list(dict.fromkeys([*st.session_state[key], *columns]))
            st.multiselect(setting.label, names, accept_new_options=True, placeholder="none", **shared)
        elif name.endswith("_column"):
            names = list(dict.fromkeys([st.session_state[key], *([""] if setting.optional else []), *columns]))
            st.selectbox(
                setting.label, names, format_func=lambda column: column or "found by itself", accept_new_options=True, **shared
            )
        elif setting.kind is str:
            st.text_input(setting.label, placeholder="the usual one", **shared)


def layout_values(layout: Layout) -> dict[str, Any]:
    """The settings as the boxes of ``layout_fields`` hold them, by name."""
    values = {name: getattr(layout, name) for name in Layout.model_fields}
    return {name: list(value) if isinstance(value, tuple) else "" if value is None else value for name, value in values.items()}


def typed_layout(usual: Layout, columns: Sequence[str]) -> Layout:
    """What the boxes of ``layout_fields`` hold, and what has no box as it was; several labels between commas are other labels too.

    Parameters
    ----------
    usual : Layout
    columns : of the training table; the name of one may hold a comma

    Raises
    ------
    ParameterError
        The settings do not go together.
    """
    typed: dict[str, Any] = {name: st.session_state.get(f"dataset_{name}", value) for name, value in layout_values(usual).items()}
    typed = {name: value.strip() if isinstance(value, str) else value for name, value in typed.items()}
    typed = {name: tuple(value) if isinstance(value, list) else value for name, value in typed.items() if value not in ("", None)}
    label, *others = split_names(typed["label_column"]) if typed.get("label_column", "") not in ("", *columns) else [""]
    if others:
        typed |= {"label_column": label, "other_labels": tuple(dict.fromkeys([*others, *typed.get("other_labels", ())]))}
    return Layout(**typed)


def command(line: str) -> None:
    """The line that does the same, to be copied."""
    with st.expander("Copy as command", icon=":material/terminal:"):
        st.code(line, language="bash", wrap_lines=True)


def _members(dataset: Dataset, usual: Sequence[str]) -> tuple[str, ...] | None:
    chosen = st.multiselect(
        "Members",
        list(dict.fromkeys([*CATALOGUE, *usual])),
        default=None if _MEMBERS in st.session_state else list(usual),  # a button may have chosen
        accept_new_options=True,
        select_all=False,
        placeholder="svr, lightgbm:ultra,mfcc:seed=7",
        key=_MEMBERS,
        persist_state="session",
        help="Models in the blend. Choose one, or type one with feature sets and settings of its own and press Enter:  \n"
        "`svr:mfcc` on one set  \n`lightgbm:ultra,mfcc:seed=7` on two, with another seed  \n`catboost::depth=4` with a setting"
        "  \n" + "  \n".join(f"**{name}** takes {', '.join(model.settable)}" for name, model in CATALOGUE.items()),
    )
    with st.container(horizontal=True):
        for label, names_of, key in (("All models", list(CATALOGUE), "members_all"), ("Quick ones", _quick(), "members_quick")):
            st.button(
                label,
                type="tertiary",
                key=key,
                on_click=_choose_members,
                args=(names_of,),
                disabled=list(chosen) == names_of,
                help=f"Takes {', '.join(names_of)}.",
            )
    if not chosen:
        refuse("Choose at least one member.")
        return None
    try:
        names = tuple(member.name for member in parse_members(chosen))
        for name in names:
            _check_sets(dataset, parse_member(name).sets)
    except (ParameterError, DataError) as error:
        refuse(str(error))
        return None
    fixed = sum(bool(parse_member(name).sets) for name in names)
    if fixed < len(names):
        which = "Each member without sets of its own" if fixed else "Each member"
        st.caption(f"{which} chooses its feature sets inside each fold; svr:mfcc would name them.")
    return names


def _quick() -> list[str]:
    return [name for name, model in CATALOGUE.items() if model.cost <= _QUICK_COST]


def _choose_members(names: list[str]) -> None:
    st.session_state[_MEMBERS] = list(names)


def _more_settings(usual: EnsembleSettings) -> dict[str, Any]:
    with st.expander("Folds, scaling and blend", icon=":material/tune:"):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            shown: dict[str, Any] = {name: fields.toggle("train", usual, name) for name in ("stratified", "round_labels")}
            shown |= {name: fields.choice("train", usual, name) for name in ("scaling", "label_transform", "blend", "metric")}
            shown |= {"level": fields.percent("train", usual, "level"), "seed": fields.number("train", usual, "seed", width=120)}
        with st.container(horizontal=True, vertical_alignment="bottom"):
            shown["trials"] = fields.number("train", usual, "trials")
            shown["minutes"] = fields.number("train", usual, "minutes", step=5.0, placeholder="no limit")
    return shown


def _switches(dataset: Dataset, usual: EnsembleSettings) -> dict[str, Any]:
    here = bool(dataset.test)
    with st.expander("Switches", icon=":material/toggle_on:", key="train_switches"):
        st.caption("All are off by default. Each is judged against the same training without it: helps, hurts or cannot tell.")
        with st.grid(2, min_column_width=300):
            with st.container():
                augment = fields.number("train", usual, "augment", width=180, help=None)
                st.caption(
                    "Copies of each training clip: stretched, shifted by up to 2 semitones, with faint noise. "
                    "Each is analysed like a clip, once; fits take longer, and all is fitted once more without."
                )
            with st.container():
                tta = fields.number("train", usual, "tta", width=180, help=None)
                st.caption(
                    "Copies of each scored clip, whose predictions are averaged with its own; try 3. "
                    "Each is analysed like a clip, once. No further fit."
                )
            with st.container():
                begins = usual.pseudo_labels and here
                pseudo = fields.toggle("train", usual, "pseudo_labels", value=begins, disabled=not here, help=None)
                st.caption(
                    "Each model is fitted, labels the clips of the test table, and is fitted again with them: "
                    "twice the time, and all is fitted once more without."
                    if here
                    else "Needs a test table: its clips are what would be labelled. This data set has none."
                )
            with st.container():
                named = dataset.has_raters
                bias = fields.toggle("train", usual, "rater_bias", value=usual.rater_bias and named, disabled=not named, help=None)
                st.caption(
                    "Takes the habits of strict and lenient raters out of the labels that are fitted, as the training rows show "
                    "them; all is fitted once more without."
                    if named
                    else "Needs several ratings a clip and the names of the raters. This data set has none."
                )
            with st.container():
                tested = fields.toggle("train", usual, "self_test", help=None)
                st.caption(
                    f"Trains {PERMUTATIONS} times on permuted labels, one repeat each, where there must be nothing to learn: "
                    "it fails if a label leaks."
                )
    return {"augment": augment, "tta": tta, "pseudo_labels": pseudo and here, "rater_bias": bias and named, "self_test": tested}


def _check_sets(dataset: Dataset, names: Sequence[str]) -> None:
    """Refuse a set that there is not, or a column of the table that holds no numbers.

    Raises
    ------
    ParameterError, DataError
        Why, in words.
    """
    for name in names:
        of = parse_set(name)
        if (of.of_text or of.reads_text) and of.column not in _columns(dataset):
            raise ParameterError(f"{name}: the tables have no column {of.column!r}")
        if not of.of_audio and (error := _why_no_feature(dataset, name)) is not None:
            raise error


def _why_no_feature(dataset: Dataset, name: str) -> ParameterError | DataError | None:
    try:
        check_table(dataset, (name,))
    except (ParameterError, DataError) as error:
        return error
    return None


def _columns(dataset: Dataset) -> list[str]:
    return list(dataset.train[0].columns) if dataset.train else []


def _different(dataset: Dataset, name: str) -> int:
    return len({row.columns.get(name, "").strip() for row in dataset.train} - {""})


def _group_label(dataset: Dataset, name: str) -> str:
    return f"{name} · {count(_different(dataset, name), 'group')}"
