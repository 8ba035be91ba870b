"""Scores in, their text out: legible and aligned for labels around 4e-6 and around 4e6 alike."""

import math
from typing import Literal

_DECIMALS, _DIGITS = 4, 3
_MOST = 1e5  # from which on decimals are a long tail


def number_format(scale: float | None, *, decimals: int = _DECIMALS) -> str:
    """The format of numbers that are about so large: fixed decimals, or three digits and a power of ten.

    Parameters
    ----------
    scale : float or None, such as the error that the numbers are compared with; None, 0 and what is not finite take decimals
    decimals : int >= 2; a scale of which they show less than two digits takes a power of ten

    Examples
    --------
    >>> format(0.8123, number_format(0.8123)), format(4123456.7, number_format(4e6)), format(4.1e-06, number_format(4e-6))
    ('0.8123', '4.123e+06', '4.100e-06')
    """
    if scale is None or scale == 0 or not math.isfinite(scale) or 10 ** (2 - decimals) <= abs(scale) < _MOST:
        return f".{decimals}f"
    return f".{_DIGITS}e"


def text(
    value: float | None,
    *,
    like: float | None = None,
    decimals: int = _DECIMALS,
    sign: Literal["", "+"] = "",
    undefined: str = "undefined",
) -> str:
    """A number as text, in the format of ``like`` or of itself; with a "+" as ``sign``, positive ones have theirs.

    Examples
    --------
    >>> text(0.5), text(None), text(0.0, like=4e6), text(0.25, like=0.2, decimals=3, sign="+")
    ('0.5000', 'undefined', '0.000e+00', '+0.250')
    """
    if value is None or math.isnan(value):
        return undefined
    return format(value, sign + number_format(value if like is None else like, decimals=decimals))


def interval_text(ends: tuple[float, float] | None, *, like: float | None = None, decimals: int = _DECIMALS) -> str:
    """Both ends of an interval; empty where there is none.

    Examples
    --------
    >>> interval_text((0.76, 0.87)), interval_text(None)
    ('0.7600 to 0.8700', '')
    """
    if ends is None:
        return ""
    scale = max(map(abs, ends)) if like is None else like
    return " to ".join(text(end, like=scale, decimals=decimals) for end in ends)
