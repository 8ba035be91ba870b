"""The voice in the clip: F0 between 65 and 500 Hz, voicing, jitter, shimmer and harmonics-to-noise ratio."""

import numpy as np

from core.features.cycles import find_pulses, jitter, shimmer
from core.features.frames import Frames, runs, slope
from core.features.pitch import PitchTrack, track_pitch

MIN_RUN_S = 0.1


def columns(frames: Frames) -> dict[str, float]:
    """Values of family ``voice`` by column name; all but the two shares are NaN where nothing is voiced."""
    track = track_pitch(frames.y, sr=frames.sr)
    pulses_s = find_pulses(frames.y, track, sr=frames.sr)
    long_runs = voiced_runs(track)
    period = jitter(pulses_s)
    amplitude = shimmer(frames.y, pulses_s, sr=frames.sr)
    values = {
        "voiced_ratio": track.voiced.mean() if len(track.times_s) else 0.0,
        "voiced_runs_per_s": len(long_runs) / frames.seconds,
        "jitter_local": period["local"],
        "jitter_ppq5": period["ppq5"],
        "shimmer_local": amplitude["local"],
        "shimmer_apq5": amplitude["apq5"],
        "f0_slope_st_per_s": mean_slope(track, long_runs),
    }
    f0 = track.f0_hz[track.voiced]
    if len(f0) == 0:
        undefined = ("f0_mean_hz", "f0_std_hz", "f0_median_hz", "f0_p5_hz", "f0_p95_hz", "f0_range_st", "hnr_mean_db", "hnr_std_db")
        return values | dict.fromkeys(undefined, np.nan)
    p5, p50, p95 = np.percentile(f0, [5, 50, 95])
    hnr = track.hnr_db[~np.isnan(track.hnr_db)]
    return values | {
        "f0_mean_hz": f0.mean(),
        "f0_std_hz": f0.std(),
        "f0_median_hz": p50,
        "f0_p5_hz": p5,
        "f0_p95_hz": p95,
        "f0_range_st": 12 * np.log2(p95 / p5),
        "hnr_mean_db": hnr.mean() if len(hnr) else np.nan,
        "hnr_std_db": hnr.std() if len(hnr) else np.nan,
    }


def voiced_runs(track: PitchTrack) -> list[tuple[int, int]]:
    """First and last frame (exclusive) of each voiced run of at least 0.1 s."""
    return [(start, end) for start, end in runs(track.voiced) if (end - start) * track.step_s >= MIN_RUN_S]


def mean_slope(track: PitchTrack, long_runs: list[tuple[int, int]]) -> float:
    """Slope of F0 in semitones per second over voiced runs, weighted by their length; NaN without such a run."""
    if not long_runs:
        return float("nan")
    slopes = [slope(track.times_s[a:b], 12 * np.log2(track.f0_hz[a:b])) for a, b in long_runs]
    return float(np.average(slopes, weights=[b - a for a, b in long_runs]))
