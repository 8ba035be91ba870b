"""Clips in, figures out: labels and lengths of a data set, waveform and spectrogram of a clip. Time in seconds, frequency in Hz."""

from collections.abc import Sequence
from itertools import pairwise

import altair as alt
import numpy as np
import pandas as pd
import plotly.colors as pc
import plotly.graph_objects as go

from app.ui_marks import ACCENT, HEIGHT, MAX_BARS, clips_axis, histogram
from core.audio import Clip

_WAVEFORM_BINS = 800
_SPECTROGRAM_FRAMES, _SPECTROGRAM_ROWS = 600, 160
_FLOOR_DB = -80.0
_COLOURS = ["#05000f", *pc.sequential.Magma[1:]]  # Streamlit takes #000004, Magma's first, for a sign of its own


def duration_histogram(seconds: Sequence[float]) -> alt.Chart:
    """How long clips are."""
    return histogram(np.asarray(seconds, float), "Seconds")


def label_histogram(labels: Sequence[float]) -> alt.Chart:
    """How often each label, or each of up to 20 ranges of labels, stands in the table."""
    values = np.asarray(labels, float)
    if len(np.unique(values)) <= MAX_BARS:
        at, counts = np.unique(values, return_counts=True)
        frame = pd.DataFrame({"label": [f"{one:.10g}" for one in at], "clips": counts})
        x = alt.X("label:N", sort=None, title="Label", axis=alt.Axis(labelAngle=0, labelOverlap=True))
        return alt.Chart(frame, height=HEIGHT).mark_bar(color=ACCENT).encode(x, clips_axis(), tooltip=["label:N", "clips:Q"])
    return histogram(values, "Label")


def waveform(clip: Clip) -> alt.Chart:
    """Lowest and highest sample of each of up to 800 stretches of a clip."""
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
    return (
        alt.Chart(frame, height=120)
        .mark_area(color=ACCENT, interpolate="step-after", line={"color": ACCENT, "strokeWidth": 0.5})
        .encode(
            alt.X("seconds:Q", title=None, scale=alt.Scale(domain=[0, clip.seconds], nice=False)),
            alt.Y("low:Q", title="Amplitude", scale=alt.Scale(domain=[-peak, peak])),
            alt.Y2("high"),
        )
    )


def spectrogram(clip: Clip) -> go.Figure:
    """Level by time and frequency, in dB below the loudest spot, down to -80 dB; frequency on a logarithmic axis from 50 Hz."""
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
    figure.update_yaxes(type="log", title="Hz", tickvals=[50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000])
    figure.update_xaxes(title="Seconds", range=[0, clip.seconds])
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
