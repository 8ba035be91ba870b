"""Data in, figure out: no Streamlit here, so that a chart can be tested like a function. Time in seconds, frequency in Hz.

What ticks is drawn with Altair, which keeps its place in the page while the data changes; the spectrogram, which stands still, with
Plotly.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import plotly.colors as pc
import plotly.graph_objects as go

from core.audio import Clip
from core.events import FitFinished, RoundsScored

Layers = alt.LayerChart | alt.FacetChart  # what alt.layer gives

_HEIGHT, _TALL = 260, 380
_MAX_BARS = 32
_MANY_POINTS = 1500
_WAVEFORM_BINS = 800
_SPECTROGRAM_FRAMES, _SPECTROGRAM_ROWS = 600, 160
_FLOOR_DB = -80.0
_COLOURS_OF_THEME = 7
_ACCENT = "#0f9488"
_COLOURS = ["#05000f", *pc.sequential.Magma[1:]]  # Streamlit takes #000004, Magma's first, for a sign of its own
_QUIET = "#8d9a98"
_SECOND = "#e0733d"
_TABLES = alt.Scale(domain=["train", "test"], range=[_ACCENT, _SECOND])


def label_histogram(labels: Sequence[float]) -> alt.Chart:
    """How often each label, or each of up to 20 ranges of labels, stands in the table."""
    values = np.asarray(labels, float)
    if len(np.unique(values)) <= _MAX_BARS:
        at, counts = np.unique(values, return_counts=True)
        frame = pd.DataFrame({"label": [f"{one:.10g}" for one in at], "clips": counts})
        x = alt.X("label:N", sort=None, title="Label", axis=alt.Axis(labelAngle=0, labelOverlap=True))
        return alt.Chart(frame, height=_HEIGHT).mark_bar(color=_ACCENT).encode(x, _clips(), tooltip=["label:N", "clips:Q"])
    return _histogram(values, "Label")


def duration_histogram(seconds: Sequence[float]) -> alt.Chart:
    """How long clips are."""
    return _histogram(np.asarray(seconds, float), "Seconds")


def fold_scores(fits: Sequence[FitFinished], members: Sequence[str], folds: int, repeats: int = 1) -> alt.Chart:
    """RMSE of each member on each fold, as far as they are fitted, repeat after repeat; the axes stand still while it fills."""
    rows = [(place(fit.repeat, fit.fold, repeats), fit.repeat + 1, fit.rmse, fit.model) for fit in fits]
    places = [place(repeat, fold, repeats) for repeat in range(repeats) for fold in range(folds)]
    title = "Fold" if repeats == 1 else "Repeat and fold"
    return (
        alt.Chart(pd.DataFrame(rows, columns=["fold", "repeat", "rmse", "member"]), height=_TALL)
        .mark_line(point=alt.OverlayMarkDef(size=70 if len(places) <= 10 else 35, filled=True), strokeWidth=1.5)
        .encode(
            alt.X("fold:O", scale=alt.Scale(domain=places), title=title, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            alt.Y("rmse:Q", scale=alt.Scale(zero=False, nice=True), title="RMSE on the fold"),
            alt.Color("member:N", scale=alt.Scale(domain=list(members)), title=None, legend=_legend(members)),
            alt.Detail("repeat:O"),
            tooltip=["member:N", "fold:O", _figure("rmse")],
        )
    )


def running_error(fits: Sequence[FitFinished], total: int, best: float | None = None) -> Layers:
    """Out-of-fold RMSE of all that is fitted so far, beside that of the constant predictor on the same rows.

    Parameters
    ----------
    fits : sequence of FitFinished
    total : int, fits in the end
    best : float, RMSE of the best run so far, drawn as a rule
    """
    names = {"oof_rmse": "members so far", "constant_rmse": "constant (mean label)"}
    rows = [(number + 1, name, getattr(fit, key)) for number, fit in enumerate(fits) for key, name in names.items()]
    marks, last = list(names.values()), max(2, total)
    if best is not None:
        marks.append("best run before")
        rows += [(at, marks[-1], best) for at in (1, last)]
    colours = alt.Scale(domain=marks, range=[_ACCENT, _QUIET, _SECOND][: len(marks)])
    base = alt.Chart(pd.DataFrame(rows, columns=["fits", "what", "rmse"])).encode(
        alt.X("fits:Q", scale=alt.Scale(domain=[1, last]), title="Fits finished", axis=alt.Axis(tickMinStep=1, format="d")),
        alt.Y("rmse:Q", scale=alt.Scale(zero=False, nice=True), title="RMSE out of fold"),
        alt.Color("what:N", scale=colours, title=None, legend=_legend(marks)),
        tooltip=["what:N", "fits:Q", _figure("rmse")],
    )
    points = base.transform_filter(alt.datum.what != "best run before").mark_point(size=25, filled=True)
    return alt.layer(base.mark_line(strokeWidth=2), points, height=_TALL)


def round_curves(rounds: Sequence[RoundsScored], folds: int) -> alt.Chart:
    """RMSE of a boosted member by round on the rows that early stopping looks at, a line for each fold of each repeat."""
    rows = {(one.repeat + 1, one.fold + 1, one.rounds): one.rmse for one in rounds}  # a fit that was begun anew tells them again
    frame = pd.DataFrame([(*key, rmse) for key, rmse in rows.items()], columns=["repeat", "fold", "rounds", "rmse"])
    numbers = list(range(1, folds + 1))
    scale = alt.Scale(domain=numbers)
    if folds > _COLOURS_OF_THEME:
        scale = alt.Scale(domain=numbers, scheme=alt.SchemeParams(name="viridis", extent=[0.3, 0.85]))
    return (
        alt.Chart(frame, height=300)
        .mark_line(strokeWidth=1.5, opacity=0.85)
        .encode(
            alt.X("rounds:Q", title="Round", axis=alt.Axis(tickMinStep=1, tickCount=5, format="d")),
            alt.Y("rmse:Q", scale=alt.Scale(zero=False, nice=True), title="RMSE, early-stopping rows"),
            alt.Color("fold:N", scale=scale, title="Fold", legend=_legend(numbers)),
            alt.Detail("repeat:O"),
            tooltip=["repeat:O", "fold:O", "rounds:Q", _figure("rmse")],
        )
    )


def member_weights(table: pd.DataFrame) -> alt.Chart:
    """Share of each member in the blend.

    Parameters
    ----------
    table : pd.DataFrame with ``member``, ``weight``, ``oof_rmse``
    """
    highest = max(0.01, float(table["weight"].max()))
    return (
        alt.Chart(table, height=28 * len(table) + 80)
        .mark_bar(color=_ACCENT, height={"band": 0.72})
        .encode(
            alt.X(
                "weight:Q",
                title="Weight, mean over all folds",
                scale=alt.Scale(domain=[0, highest]),
                axis=alt.Axis(format=".2f", tickCount=5),
            ),
            _names("member"),
            tooltip=[alt.Tooltip("member:N", title="Member"), alt.Tooltip("weight:Q", format=".3f"), _figure("oof_rmse")],
        )
    )


def verdicts(table: pd.DataFrame) -> Layers:
    """What each switch did to the RMSE, with the interval in which that is known; left of the line it helps.

    Parameters
    ----------
    table : pd.DataFrame with ``switch``, ``difference``, ``low``, ``high``, ``verdict``
    """
    reach = 1.1 * float(np.abs(table[["low", "high", "difference"]].to_numpy(float)).max()) or 0.01
    x = alt.Scale(domain=[-reach, reach], nice=False)
    colours = alt.Scale(domain=["helps", "cannot tell", "hurts"], range=[_ACCENT, _QUIET, _SECOND])
    tooltip: list[Any] = [
        "switch:N",
        "verdict:N",
        *(alt.Tooltip(f"{name}:Q", format="+.4f") for name in ("difference", "low", "high")),
    ]
    base = alt.Chart(table).encode(
        _names("switch"),
        color=alt.Color("verdict:N", scale=colours, legend=None),
        tooltip=tooltip,
    )
    ends = base.mark_rule(strokeWidth=3).encode(
        alt.X("low:Q", scale=x, title="Change of the RMSE out of fold", axis=alt.Axis(format="+~g", tickCount=5)), alt.X2("high")
    )
    points = base.mark_point(size=110, filled=True, opacity=1).encode(alt.X("difference:Q", scale=x))
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(color=_QUIET, strokeDash=[4, 4]).encode(alt.X("zero:Q", scale=x))
    return alt.layer(zero, ends, points, height=32 * len(table) + 90)


def oof_scatter(oof: pd.DataFrame) -> Layers:
    """Out-of-fold prediction by label; on the diagonal the two are equal."""
    low, high = _range(np.concatenate([oof["label"], oof["oof_prediction"]]))
    scale = alt.Scale(domain=[low, high], nice=False)
    x = alt.X("label:Q", scale=scale, title="Label", axis=alt.Axis(tickCount=6))
    y = alt.Y("oof_prediction:Q", scale=scale, title="Prediction out of fold", axis=alt.Axis(tickCount=6))
    ends = pd.DataFrame({"label": [low, high], "oof_prediction": [low, high]})
    diagonal = alt.Chart(ends).mark_line(color=_QUIET, strokeDash=[4, 4]).encode(x, y)
    shown = [name for name in ("filename", "label", "oof_prediction", "low", "high", "fold") if name in oof]
    interval = [_figure(name) for name in ("low", "high") if name in oof]
    points = (
        alt.Chart(oof[shown])
        .mark_circle(size=40, opacity=0.55, color=_ACCENT)
        .encode(x, y, tooltip=["filename:N", "label:Q", _figure("oof_prediction"), *interval, "fold:O"])
    )
    return alt.layer(diagonal, points, height=360)


def predictions_on_labels(labels: Sequence[float], predictions: pd.DataFrame) -> Layers:
    """Where predictions stand among the labels that were trained on: each a point with its interval, the lowest at the bottom.

    Parameters
    ----------
    labels : of the training clips
    predictions : pd.DataFrame with ``file``, ``prediction``, ``low``, ``high``; the ends may be NaN
    """
    values = np.asarray(labels, float)
    bars = _bars(values)
    ends = predictions[["prediction", "low", "high"]].to_numpy(float)
    low, high = _range(np.concatenate([bars["from"], bars["to"], ends[np.isfinite(ends)]]))
    x = alt.Scale(domain=[low, high], nice=False)
    histogram = (
        alt.Chart(bars)
        .mark_bar(color=_QUIET, opacity=0.3)
        .encode(
            alt.X("from:Q", scale=x, title="Label", axis=alt.Axis(tickCount=10)),
            alt.X2("to"),
            _clips("Training clips"),
            y2=alt.datum(0),
            tooltip=["from:Q", "to:Q", "clips:Q"],
        )
    )
    ordered = predictions.sort_values("prediction").assign(row=np.arange(len(predictions)) + 0.5)
    rows = alt.Y("row:Q", scale=alt.Scale(domain=[0, len(ordered)], nice=False), axis=None)
    tooltip: list[Any] = ["file:N", _figure("prediction"), _figure("low"), _figure("high")]
    base = alt.Chart(ordered).encode(rows, tooltip=tooltip)
    intervals = (
        base.transform_filter("isValid(datum.low)")
        .mark_rule(color=_ACCENT, strokeWidth=2.5, opacity=1)
        .encode(alt.X("low:Q", scale=x), alt.X2("high"))
    )
    points = base.mark_point(color=_ACCENT, filled=True, size=110, opacity=1).encode(alt.X("prediction:Q", scale=x))
    height = max(_HEIGHT, min(4 * _HEIGHT, 14 * len(ordered)))
    return alt.layer(histogram, alt.layer(intervals, points), height=height).resolve_scale(y="independent")


def strongest_columns(table: pd.DataFrame, chosen: str) -> alt.Chart:
    """Correlation of columns with the label, in the order of the table; a click picks the point ``column`` by its ``column``.

    Parameters
    ----------
    table : pd.DataFrame with ``column``, ``pearson``, ``spearman``, ``clips``, ``unit``, ``definition``
    chosen : name of the column that stands out
    """
    frame = table.assign(chosen=table["column"] == chosen)
    pick = alt.selection_point(name="column", fields=["column"], empty=False)
    colour = alt.Color("chosen:N", scale=alt.Scale(domain=[True, False], range=[_ACCENT, _QUIET]), legend=None)
    return (
        alt.Chart(frame, height=24 * len(frame) + 45)
        .mark_bar(cursor="pointer", height={"band": 0.72})
        .encode(
            alt.X(
                "spearman:Q",
                title="Spearman correlation with the label",
                scale=alt.Scale(domain=[-1, 1]),
                axis=alt.Axis(values=[-1, -0.5, 0, 0.5, 1], format="~g"),
            ),
            _names("column"),
            colour,
            opacity=alt.condition("datum.chosen", alt.value(1), alt.value(0.6)),
            tooltip=[
                alt.Tooltip("column:N", title="Column"),
                alt.Tooltip("definition:N", title="Definition"),
                alt.Tooltip("unit:N", title="Unit"),
                alt.Tooltip("spearman:Q", title="Spearman", format=".3f"),
                alt.Tooltip("pearson:Q", title="Pearson", format=".3f"),
                alt.Tooltip("clips:Q", title="Clips"),
            ],
        )
        .add_params(pick)
    )


def column_by_label(frame: pd.DataFrame, title: str) -> alt.Chart:
    """Value of a column by label, one point a clip; a click picks the point ``clip`` by its ``clip``.

    Parameters
    ----------
    frame : pd.DataFrame with ``clip``, ``label``, ``value``
    title : what the column is, with its unit
    """
    return _clip_points(frame, alt.X("label:Q", title="Label", scale=_around(frame["label"])), _value("value", frame, title))


def column_by_column(frame: pd.DataFrame, x_title: str, y_title: str) -> alt.Chart:
    """Two columns against each other, one point a clip: ``clip``, ``x``, ``y``."""
    return _clip_points(frame, alt.X("x:Q", title=x_title, scale=_around(frame["x"])), _value("y", frame, y_title))


def column_histogram(values: dict[str, np.ndarray], title: str) -> alt.Chart:
    """How a column is spread over the clips of each table, as shares of them, in up to 40 common bins.

    Parameters
    ----------
    values : of the tables "train" and "test"; NaN is left out
    title : what the column is, with its unit
    """
    there = {table: np.asarray(some, float)[np.isfinite(some)] for table, some in values.items()}
    together = np.concatenate(list(there.values()))
    edges = np.histogram_bin_edges(together, bins=max(5, min(40, round(2 * len(together) ** 0.5)))) if len(together) else [0, 1]
    rows = [
        (table, low, high, number, number / len(some))
        for table, some in there.items()
        if len(some)
        for low, high, number in zip(edges[:-1], edges[1:], np.histogram(some, edges)[0].tolist(), strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["table", "from", "to", "clips", "share"]).astype({"from": float, "to": float})
    return (
        alt.Chart(frame, height=290)
        .mark_bar(opacity=0.55, binSpacing=0)
        .encode(
            alt.X("from:Q", title=title, scale=alt.Scale(domain=[float(edges[0]), float(edges[-1])], nice=False)),
            alt.X2("to"),
            alt.Y("share:Q", title="Share of clips", stack=None, axis=alt.Axis(format="%", tickCount=4)),
            _table_colour(),
            y2=alt.datum(0),
            tooltip=[
                "table:N",
                alt.Tooltip("from:Q", format=".4~g"),
                alt.Tooltip("to:Q", format=".4~g"),
                "clips:Q",
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
    )


def missing_values(table: pd.DataFrame) -> alt.Chart:
    """Share of clips without a value, by column and table.

    Parameters
    ----------
    table : pd.DataFrame with ``column``, ``table``, ``share``, ``clips``, ``nan_when``, ``definition``
    """
    names = table["column"].unique()
    both = table["table"].nunique()
    return (
        alt.Chart(table, height=int((8 + 9 * both) * len(names) + 170))
        .mark_bar()
        .encode(
            alt.X(
                "share:Q",
                title="Share of clips without a value",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]),
            ),
            _names("column"),
            _table_colour(),
            yOffset=alt.YOffset("table:N", sort=["train", "test"]),
            tooltip=[
                alt.Tooltip("column:N", title="Column"),
                alt.Tooltip("definition:N", title="Definition"),
                alt.Tooltip("nan_when:N", title="No value where"),
                alt.Tooltip("table:N", title="Table"),
                alt.Tooltip("clips:Q", title="Clips without it"),
                alt.Tooltip("share:Q", title="Share", format=".1%"),
            ],
        )
    )


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
        .mark_area(color=_ACCENT, interpolate="step-after", line={"color": _ACCENT, "strokeWidth": 0.5})
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


def _histogram(values: np.ndarray, title: str) -> alt.Chart:
    frame = _bars(values)
    low, high = _range(np.concatenate([frame["from"], frame["to"]]))
    x = alt.X("from:Q", title=title, scale=alt.Scale(domain=[low, high], nice=False))
    mark = alt.Chart(frame, height=_HEIGHT).mark_bar(color=_ACCENT, binSpacing=1)
    return mark.encode(x, alt.X2("to"), _clips(), y2=alt.datum(0), tooltip=["from:Q", "to:Q", "clips:Q"])


def _bars(values: np.ndarray) -> pd.DataFrame:
    """Columns ``from``, ``to``, ``clips``: a bar around each value where there are few, else 24 bins."""
    at, counts = np.unique(values, return_counts=True)
    if len(at) <= _MAX_BARS:
        step = float(np.diff(at).min()) if len(at) > 1 else 0.1 * abs(float(at[0])) or 0.1
        return pd.DataFrame({"from": at - 0.45 * step, "to": at + 0.45 * step, "clips": counts})
    counts, edges = np.histogram(values, bins=24)
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:], "clips": counts})


def _clip_points(frame: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    pick = alt.selection_point(name="clip", fields=["clip"], empty=False)
    others = [name for name in frame.columns if name != "clip"]
    many = len(frame) > _MANY_POINTS
    return (
        alt.Chart(frame, height=300)
        .mark_circle(cursor="pointer")
        .encode(
            x,
            y,
            color=alt.condition(pick, alt.value(_SECOND), alt.value(_ACCENT)),
            opacity=alt.condition(pick, alt.value(1), alt.value(0.25 if many else 0.55)),
            size=alt.condition(pick, alt.value(180), alt.value(14 if many else 45)),
            tooltip=["clip:N", *(alt.Tooltip(f"{name}:Q", format=".5~g") for name in others)],
        )
        .add_params(pick)
    )


def _value(name: str, frame: pd.DataFrame, title: str) -> alt.Y:
    return alt.Y(f"{name}:Q", title=title, scale=_around(frame[name]))


def _around(values: pd.Series) -> alt.Scale:
    low, high = _range(values.to_numpy(float)) if len(values) else (0.0, 1.0)
    return alt.Scale(domain=[low, high], nice=False)


def _names(column: str) -> alt.Y:
    return alt.Y(f"{column}:N", sort=None, title=None, axis=alt.Axis(labelLimit=240, labelOverlap=False, ticks=False, domain=False))


def place(repeat: int, fold: int, repeats: int) -> str:
    """A fold on an axis: its number, after that of its repeat where there are several."""
    return str(fold + 1) if repeats == 1 else f"{repeat + 1}.{fold + 1}"


def _legend(names: Sequence[object]) -> alt.Legend:
    longest = max((len(str(name)) for name in names), default=0)
    return alt.Legend(orient="bottom", columns=10 if longest <= 3 else 3 if longest <= 22 else 1, labelLimit=320)


def _table_colour() -> alt.Color:
    return alt.Color("table:N", scale=_TABLES, title=None, legend=alt.Legend(orient="top"))


def _figure(name: str) -> alt.Tooltip:
    return alt.Tooltip(f"{name}:Q", format=".4f")


def _clips(title: str = "Clips") -> alt.Y:
    return alt.Y("clips:Q", title=title, axis=alt.Axis(tickMinStep=1, format="d"))


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = float(np.min(values)), float(np.max(values))
    margin = 0.03 * (high - low) or 0.5
    return low - margin, high + margin
