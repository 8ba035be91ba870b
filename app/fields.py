"""Widgets for single settings: label, help, range, choices and the value to begin with come from the settings themselves.

The key of a widget is ``FORM_SETTING``, and what is chosen stays chosen while one looks at other pages.
"""

from typing import Any

import streamlit as st

from app.words import plain
from core.runtime.device import probe
from core.section import Section


def number(form: str, usual: Section, name: str, *, width: int = 130, by_session: bool = False, **options: Any) -> Any:
    """A number of the settings; None where it may be left out and is.

    Parameters
    ----------
    form : str, that the key begins with
    usual : settings that the form begins with
    name : of the setting
    width : int, pixels
    by_session : bool, begin through the session, because a button may set the widget too
    options : further options of ``st.number_input``; they override what the setting says
    """
    setting, key = usual.describe()[name], f"{form}_{name}"
    begins: dict[str, Any] = {"value": getattr(usual, name)}
    if by_session or setting.optional:
        begins = {"value": None} if setting.optional else {}  # a box that begins empty can be emptied again
        _begin(key, getattr(usual, name))
    least = setting.limits.get("ge", setting.limits.get("gt"))
    most = setting.limits["lt"] - 1 if setting.kind is int and "lt" in setting.limits else None
    shape = {"step": 1} if setting.kind is int else {"format": "%.3g"}
    texts = {"key": key, "persist_state": "session", "width": width, "help": setting.help}
    limits = {"min_value": None if least is None else setting.kind(least), "max_value": most}
    value = st.number_input(setting.label, **limits | begins | shape | texts | options)
    return value if value is None or setting.kind is int else float(f"{value:.9g}")  # a sum of steps leaves figures behind


def _begin(key: str, value: Any) -> None:
    """Give a widget its value, once for each value that the form begins with: another data set has another last job."""
    mark = f"{key}_began_with"
    if key not in st.session_state or st.session_state.get(mark) != value:
        st.session_state[key] = st.session_state[mark] = value


def percent(form: str, usual: Section, name: str, *, width: int = 130) -> float:
    """A share of the settings, shown in per cent."""
    setting = usual.describe()[name]
    value = st.number_input(
        f"{setting.label}, %",
        0.1,
        99.9,
        float(f"{100 * getattr(usual, name):.9g}"),
        step=1.0,
        format="%.3g",
        key=f"{form}_{name}",
        persist_state="session",
        width=width,
        help=setting.help,
    )
    return float(f"{value / 100:.9g}")


def choice(form: str, usual: Section, name: str, **options: Any) -> str:
    """One of the choices of a setting, side by side."""
    setting = usual.describe()[name]
    assert setting.choices is not None
    chosen = st.segmented_control(
        setting.label,
        setting.choices.names,
        default=getattr(usual, name),
        required=True,
        format_func=setting.choices.label,
        key=f"{form}_{name}",
        persist_state="session",
        **{"help": setting.help, **options},
    )
    return str(chosen)


def toggle(form: str, usual: Section, name: str, **options: Any) -> bool:
    """A setting that is on or off."""
    setting = usual.describe()[name]
    begins = {"value": getattr(usual, name), "help": setting.help}
    return bool(st.toggle(setting.label, **begins | options, key=f"{form}_{name}", persist_state="session"))


def device(form: str, usual: Section) -> str:
    """Where PyTorch computes; shown only where there is something to choose."""
    if probe().kind == "cpu":  # where the last job may have been on a GPU
        return "auto" if usual.device == "cuda" else str(usual.device)  # type: ignore[attr-defined]
    return choice(form, usual, "device", help=f"Where PyTorch computes. Auto takes the GPU ({plain(probe().name)}).")
