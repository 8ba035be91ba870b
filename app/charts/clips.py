"""Clips in, figures out: labels, lengths and levels of a data set, a map of it, waveform and spectrogram of a clip.

Time in seconds, frequency in Hz, levels in dBFS.
"""

from collections.abc import Sequence
from itertools import pairwise

import altair as alt
import numpy as np
import pandas as pd
import plotly.colors as pc
import plotly.graph_objects as go

from app.charts.marks import (
    ACCENT,
    HEIGHT,
    MANY_POINTS,
    MAX_BARS,
    QUIET,
    SECOND,
    Layers,
    around,
    bars,
    clips_axis,
    histogram,
    names_axis,
    value_range,
)
from core.data.audio import Clip

_WAVEFORM_BINS = 800
_SPECTROGRAM_FRAMES, _SPECTROGRAM_ROWS = 600, 160
_FLOOR_DB = -80.0
_MAP_HEIGHT = 440
_FURTHEST = 20.0  # what is further out is drawn here
_LABELS = ["#4a56c9", "#2f8fd0", "#0f9488", "#a3b03a", "#e8a33d", "#d9483b"]  # low to high; each can be seen on white and on black
_PITCH = "#4fe3d1"
_COLOURS = ["#05000f", *pc.sequential.Magma[1:]]  # Streamlit takes #000004, Magma's first, for a sign of its own


def duration_histogram(seconds: Sequence[float]) -> alt.Chart:
    """How long clips are."""
    return histogram(np.asarray(seconds, float), "Seconds")


def level_histogram(peak_dbfs: Sequence[float], rms_dbfs: Sequence[float]) -> alt.Chart:
    """How loud clips are: their loudest sample, and the root of their mean square. Digital silence, which is NaN, is left out."""
    values = {"Peak": np.asarray(peak_dbfs, float), "RMS": np.asarray(rms_dbfs, float)}
    values = {name: some[np.isfinite(some)] for name, some in values.items()}
    edges = np.histogram_bin_edges(np.concatenate(list(values.values())), bins=24)
    rows = [
        (name, low, high, number)
        for name, some in values.items()
        for low, high, number in zip(edges[:-1], edges[1:], np.histogram(some, edges)[0].tolist(), strict=True)
        if len(some)
    ]
    frame = pd.DataFrame(rows, columns=["level", "from", "to", "clips"]).astype({"from": float, "to": float})
    colour = alt.Color(
        "level:N", scale=alt.Scale(domain=["Peak", "RMS"], range=[SECOND, ACCENT]), title=None, legend=alt.Legend(orient="bottom")
    )
    tooltip = ["level:N", alt.Tooltip("from:Q", format=".1f"), alt.Tooltip("to:Q", format=".1f"), "clips:Q"]
    return (
        alt.Chart(frame, height=HEIGHT)
        .mark_bar(opacity=0.6, binSpacing=0)
        .encode(
            alt.X("from:Q", title="Level (dBFS)", scale=alt.Scale(domain=[float(edges[0]), float(edges[-1])], nice=False)),
            alt.X2("to"),
            alt.Y("clips:Q", title="Clips", stack=None, axis=alt.Axis(tickMinStep=1, format="d")),
            colour,
            y2=alt.datum(0),
            tooltip=tooltip,
        )
    )


def label_histogram(labels: Sequence[float], *, least: int = 0) -> alt.Chart:
    """How often each label, or each range of labels where there are more than 32, stands in the table.

    Parameters
    ----------
    labels : sequence of float
    least : int, bars of fewer clips stand out as rare
    """
    values = np.asarray(labels, float)
    if len(np.unique(values)) <= MAX_BARS:
        at, counts = np.unique(values, return_counts=True)
        frame = pd.DataFrame({"label": [f"{one:.10g}" for one in at], "clips": counts, "rare": counts < least})
        x = alt.X("label:N", sort=None, title="Label", axis=alt.Axis(labelAngle=0, labelOverlap=True))
        chart = alt.Chart(frame, height=HEIGHT).mark_bar().encode(x, clips_axis(), tooltip=["label:N", "clips:Q"])
    else:
        frame = bars(values)
        frame["rare"] = (frame["clips"] < least) & (frame["clips"] > 0)
        chart = histogram(values, "Label").properties(data=frame)
    return chart.encode(color=alt.Color("rare:N", scale=alt.Scale(domain=[False, True], range=[ACCENT, SECOND]), legend=None))


def rare_labels(labels: Sequence[float], *, least: int) -> int:
    """How many bars of the histogram hold fewer clips, but some."""
    values = np.asarray(labels, float)
    counts = bars(values)["clips"].to_numpy() if len(values) else np.zeros(0)
    return int(((counts > 0) & (counts < least)).sum())


def clip_map(points: pd.DataFrame, shares: tuple[float, float], chosen: tuple[str, str] | None = None) -> Layers:
    """Clips on two axes, coloured by label; a click picks the nearest point ``clip`` by its ``table`` and ``clip``.

    Parameters
    ----------
    points : pd.DataFrame with ``table``, ``clip``, ``label`` (NaN in the test table), ``x``, ``y``
    shares : of the variance, in [0, 1]
    chosen : table and name of the clip that has a ring
    """
    pick = alt.selection_point(name="clip", fields=["table", "clip"], empty=False, nearest=True)
    many = len(points) > MANY_POINTS
    x, y = (
        alt.X("x:Q", title=f"Component 1 ({shares[0]:.0%} of the variance)", scale=around(points["x"])),
        alt.Y("y:Q", title=f"Component 2 ({shares[1]:.0%} of the variance)", scale=around(points["y"])),
    )
    labels = points["label"].dropna()
    low, high = value_range(labels.to_numpy(float)) if len(labels) else (0.0, 1.0)
    colour = alt.Color(
        "label:Q",
        scale=alt.Scale(domain=np.linspace(low, high, len(_LABELS)).tolist(), range=_LABELS),
        title="Label",
        legend=alt.Legend(orient="right", gradientLength=200) if len(labels) else None,
    )
    dots = (
        alt.Chart(points)
        .mark_circle(cursor="pointer", clip=True, invalid="show")
        .encode(
            x,
            y,
            color=colour,
            size=alt.value(18 if many else 50),
            opacity=alt.condition(pick, alt.value(1), alt.value(0.6 if many else 0.8)),
            tooltip=[
                alt.Tooltip("clip:N", title="Clip"),
                alt.Tooltip("table:N", title="Table"),
                alt.Tooltip("label:Q", title="Label", format=".5~g"),
            ],
        )
        .add_params(pick)
    )
    ringed = points if chosen is None else points[(points["table"] == chosen[0]) & (points["clip"] == chosen[1])]
    ring = alt.Chart(ringed[:1] if chosen is not None else points[:0]).mark_point(
        size=220, strokeWidth=3, color=SECOND, shape="circle", filled=False
    )
    without_label = {"invalid": {"color": {"value": QUIET}}}
    return alt.layer(dots, ring.encode(x, y)).properties(height=_MAP_HEIGHT).configure(scale=without_label)


def unusual_columns(table: pd.DataFrame) -> Layers:
    """Where a clip stands in each column, against where most clips stand.

    Parameters
    ----------
    table : pd.DataFrame with ``column``, ``z``, ``p5``, ``p25``, ``p75``, ``p95`` (all as z), ``shown`` (the value in words),
        ``typical``, ``definition``
    """
    frame = table.assign(at=table["z"].clip(-_FURTHEST, _FURTHEST))
    y = names_axis("column", table["column"].tolist())
    most = alt.Chart(frame).encode(y)
    axis = "Distance from the median"
    tooltip = [
        alt.Tooltip("column:N", title="Column"),
        alt.Tooltip("shown:N", title="This clip"),
        alt.Tooltip("typical:N", title="Median"),
        alt.Tooltip("z:Q", title="Distance", format="+.1f"),
        alt.Tooltip("definition:N", title="Definition"),
    ]
    return alt.layer(
        most.mark_bar(height=4, color=QUIET, opacity=0.35).encode(alt.X("p5:Q", title=axis), alt.X2("p95"), tooltip=tooltip),
        most.mark_bar(height=10, color=QUIET, opacity=0.6).encode(alt.X("p25:Q", title=axis), alt.X2("p75"), tooltip=tooltip),
        most.mark_circle(size=110, color=SECOND, opacity=1).encode(alt.X("at:Q", title=axis), tooltip=tooltip),
    ).properties(height=26 * len(table) + 45)


def waveform(clip: Clip, pauses_s: np.ndarray | None = None) -> alt.Chart | Layers:
    """Lowest and highest sample of each of up to 800 stretches of a clip.

    Parameters
    ----------
    clip : Clip
    pauses_s : np.ndarray [shape=(k, 2)], optional: stretches that are shaded
    """
    y = clip.mono
    edges = np.linspace(0, len(y), min(_WAVEFORM_BINS, len(y)) + 1).astype(int)[:-1]
    frame = pd.DataFrame(
        {
            "seconds": edges / clip.sample_rate_hz,
            "low": np.minimum.reduceat(y, edges).astype(float),
            "high": np.maximum.reduceat(y, edges).astype(float),
        }
    ).round(4)
    peak = max(1e-4, float(np.abs(y).max()))
    x = alt.Scale(domain=[0, clip.seconds], nice=False)
    wave = (
        alt.Chart(frame, height=150)
        .mark_area(color=ACCENT, interpolate="step-after", line={"color": ACCENT, "strokeWidth": 0.5})
        .encode(
            alt.X("seconds:Q", title=None, scale=x),
            alt.Y("low:Q", title="Amplitude", scale=alt.Scale(domain=[-peak, peak])),
            alt.Y2("high"),
        )
    )
    if pauses_s is None or len(pauses_s) == 0:
        return wave
    pauses = pd.DataFrame(np.asarray(pauses_s, float).round(3), columns=["from", "to"])
    pauses["pause"] = [f"{end - start:.2f} s" for start, end in pauses_s]
    shade = (
        alt.Chart(pauses)
        .mark_rect(color=SECOND, opacity=0.22)
        .encode(alt.X("from:Q", title=None, scale=x), alt.X2("to"), tooltip=[alt.Tooltip("pause:N", title="Pause")])
    )
    return alt.layer(wave, shade).properties(height=150)


def _seconds(clip: Clip) -> str:
    """Title of an axis of time, and of what stands above it."""
    return ", ".join(part for part in ("Seconds", clip.treatment.speed) if part)


def spectrogram(clip: Clip, pitch: tuple[np.ndarray, np.ndarray] | None = None) -> go.Figure:
    """Level by time and frequency, in dB below the loudest spot, down to -80 dB; frequency on a logarithmic axis from 50 Hz.

    Of a clip that is slowed down, times and frequencies are those of the slowed sound, and the axis of time says so.

    Parameters
    ----------
    clip : Clip
    pitch : times in seconds and F0 in Hz [shape=(t,)], optional: a line over it, with gaps where F0 is NaN
    """
    seconds, frequencies_hz, level_db = spectrogram_levels(clip)
    figure = go.Figure(
        go.Heatmap(
            x=seconds,
            y=frequencies_hz,
            z=level_db,
            zmin=_FLOOR_DB,
            zmax=0,
            colorscale=_COLOURS,
            colorbar={"title": {"text": "dB"}, "thickness": 10, "outlinewidth": 0},
            hovertemplate="%{x:.2f} s · %{y:.0f} Hz · %{z:.0f} dB<extra></extra>",
        )
    )
    if pitch is not None and np.isfinite(pitch[1]).any():
        figure.add_scatter(
            x=np.round(pitch[0], 3),
            y=np.round(pitch[1], 1),
            mode="lines+markers",
            line={"color": _PITCH, "width": 2},
            marker={"color": _PITCH, "size": 3},
            connectgaps=False,
            hovertemplate="%{x:.2f} s · F0 %{y:.0f} Hz<extra></extra>",
            showlegend=False,
        )
    low, high = np.log10(50), np.log10(clip.sample_rate_hz / 2)
    figure.update_yaxes(type="log", title="Hz", tickvals=[50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000], range=[low, high])
    figure.update_xaxes(title=_seconds(clip), range=[0, clip.seconds])
    figure.update_layout(height=300, margin={"l": 10, "r": 10, "t": 10, "b": 10})
    return figure


def spectrogram_levels(clip: Clip) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times (t,), frequencies (f,) from 50 Hz on evenly spaced octaves, and levels [shape=(f, t)] in dB below the loudest spot.

    Frames of about 46 ms under a Hann window; a row holds the loudest bin of its band.
    """
    y, sr = clip.mono, clip.sample_rate_hz
    n_fft = 1 << round(np.log2(0.046 * sr))
    y = np.pad(y, (0, max(0, n_fft - len(y))))
    frames = np.lib.stride_tricks.sliding_window_view(y, n_fft)
    starts = np.linspace(0, len(frames) - 1, min(_SPECTROGRAM_FRAMES, len(frames))).astype(int)
    power = np.abs(np.fft.rfft(frames[starts] * np.hanning(n_fft + 1)[:-1].astype(np.float32), axis=1).T) ** 2  # (bins, t)
    edges_hz = np.geomspace(50, sr / 2, _SPECTROGRAM_ROWS + 1)
    bins = np.clip(np.round(edges_hz * n_fft / sr).astype(int), 0, len(power) - 1)
    rows = np.array([power[low : max(low + 1, high)].max(axis=0) for low, high in pairwise(bins)])
    loudest = float(rows.max())
    level_db = 10 * np.log10(np.maximum(rows, 1e-12) / loudest) if loudest > 1e-12 else np.full(rows.shape, _FLOOR_DB)
    centre_s = (starts + n_fft / 2) / sr
    return centre_s, np.sqrt(edges_hz[:-1] * edges_hz[1:]), np.maximum(level_db, _FLOOR_DB).round(1).astype(np.float32)
