"""A clip in, its acoustics in words out, from columns of ``ultra``: a text where there is neither a transcript nor a recogniser."""

from collections.abc import Mapping

import numpy as np

from core import features
from core.data.audio import Clip


def describe(values: Mapping[str, float]) -> str:
    """A clip in words, from columns of ``ultra``; what is not defined is left out.

    Parameters
    ----------
    values : dict of column name to value: ``duration_s``, ``f0_mean_hz``, ``f0_range_st``, ``pause_count``, ``pause_mean_s``,
        ``silence_ratio``, ``voiced_ratio``, ``voiced_runs_per_s``, ``onset_rate``, ``rms_mean``, ``dynamic_range_db``

    Examples
    --------
    >>> describe({"duration_s": 43.2, "f0_mean_hz": 180.4, "pause_count": 12.0, "pause_mean_s": 0.41, "f0_range_st": float("nan")})
    '43 s, mean pitch 180 Hz, 12 pauses of 0.4 s on average'
    """
    known = {name: float(value) for name, value in values.items() if np.isfinite(value)}
    parts = []
    if "duration_s" in known:
        parts.append(f"{known['duration_s']:.0f} s" if known["duration_s"] >= 10 else f"{known['duration_s']:.1f} s")
    if "f0_mean_hz" in known:
        parts.append(f"mean pitch {known['f0_mean_hz']:.0f} Hz")
    elif "voiced_ratio" in known:
        parts.append("no voiced sound")
    if "f0_range_st" in known:
        parts.append(f"pitch range {known['f0_range_st']:.0f} semitones")
    if "pause_count" in known:
        count = round(known["pause_count"])
        mean = f" of {known['pause_mean_s']:.1f} s on average" if count and "pause_mean_s" in known else ""
        parts.append("no pause" if count == 0 else f"{count} pause{'s' if count > 1 else ''}{mean}")
    for name, words in (("silence_ratio", "silent"), ("voiced_ratio", "voiced")):
        if name in known:
            parts.append(f"{100 * known[name]:.0f} % {words}")
    if "voiced_runs_per_s" in known:
        parts.append(f"{known['voiced_runs_per_s']:.1f} voiced runs per second")
    if "onset_rate" in known:
        parts.append(f"{known['onset_rate']:.1f} onsets per second")
    if known.get("rms_mean", 0) > 0:
        parts.append(f"level {20 * np.log10(known['rms_mean']):.0f} dBFS")
    if "dynamic_range_db" in known:
        parts.append(f"dynamic range {known['dynamic_range_db']:.0f} dB")
    return ", ".join(parts)


def describe_clip(clip: Clip) -> str:
    """As ``describe``, of a clip; its first columns are computed for that."""
    vector = features.extract(clip, ("ultra",))["ultra"]
    return describe(dict(zip(features.names("ultra"), vector.tolist(), strict=True)))
