"""Voice columns against Praat, an oracle for tests only: it agrees with itself no better when a clip is shifted by 9 ms."""

import numpy as np
import parselmouth
import pytest
from parselmouth.praat import call

from core.data.audio import read_clip
from core.features import voice
from core.features.frames import Frames, runs, slope

GATES = {
    "f0_median_hz": 0.97,
    "f0_mean_hz": 0.97,
    "hnr_mean_db": 0.9,
    "f0_p5_hz": 0.85,
    "f0_p95_hz": 0.85,
    "voiced_ratio": 0.85,
    "shimmer_local": 0.85,
    "shimmer_apq5": 0.85,
    "f0_std_hz": 0.7,
    "f0_range_st": 0.7,
    "f0_slope_st_per_s": 0.7,
    "voiced_runs_per_s": 0.7,
    "jitter_local": 0.7,
    "jitter_ppq5": 0.7,
    "hnr_std_db": 0.7,
}


def praat(path) -> dict[str, float]:
    sound = parselmouth.Sound(str(path))
    pitch = sound.to_pitch_ac(pitch_floor=65, pitch_ceiling=500)
    f0, times, step = pitch.selected_array["frequency"], pitch.xs(), pitch.time_step
    voiced = f0 > 0
    pulses = call([sound, pitch], "To PointProcess (cc)")
    harmonicity = sound.to_harmonicity_ac(time_step=step, minimum_pitch=65, silence_threshold=0.1, periods_per_window=4.5)
    hnr = np.array([call(harmonicity, "Get value at time", time, "nearest") for time in times[voiced]])
    hnr = hnr[hnr > -199]  # -200 stands for a silent frame
    long_runs = [(start, end) for start, end in runs(voiced) if (end - start) * step >= 0.1]
    slopes = [slope(times[a:b], 12 * np.log2(f0[a:b])) for a, b in long_runs]
    p5, p50, p95 = np.percentile(f0[voiced], [5, 50, 95])
    period, amplitude = (0, 0, 0.0001, 0.02, 1.3), (0, 0, 0.0001, 0.02, 1.3, 1.6)
    return {
        "f0_mean_hz": f0[voiced].mean(),
        "f0_std_hz": f0[voiced].std(),
        "f0_median_hz": p50,
        "f0_p5_hz": p5,
        "f0_p95_hz": p95,
        "f0_range_st": 12 * np.log2(p95 / p5),
        "f0_slope_st_per_s": np.average(slopes, weights=[b - a for a, b in long_runs]),
        "voiced_ratio": voiced.mean(),
        "voiced_runs_per_s": len(long_runs) / sound.duration,
        "jitter_local": call(pulses, "Get jitter (local)", *period),
        "jitter_ppq5": call(pulses, "Get jitter (ppq5)", *period),
        "shimmer_local": call([sound, pulses], "Get shimmer (local)", *amplitude),
        "shimmer_apq5": call([sound, pulses], "Get shimmer (apq5)", *amplitude),
        "hnr_mean_db": hnr.mean(),
        "hnr_std_db": hnr.std(),
    }


def check_gates(paths) -> None:
    ours = [voice.columns(Frames(read_clip(path))) for path in paths]
    theirs = [praat(path) for path in paths]
    for name, gate in GATES.items():
        a, b = (np.array([values[name] for values in side]) for side in (ours, theirs))
        assert np.isfinite(a).all(), name
        assert np.corrcoef(a, b)[0, 1] >= gate, name


@pytest.mark.parametrize("first", [0, 3, 5])
def test_voice_columns_follow_praat_on_speech(speech, first):
    check_gates(sorted((speech / "audios/train").iterdir())[first::10][:40])


@pytest.mark.slow
def test_voice_columns_follow_praat_on_every_clip_of_speech(speech):
    check_gates(sorted((speech / "audios").glob("*/*")))
