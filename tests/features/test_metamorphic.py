"""How the columns must answer when the sound is changed in a known way: no answer is stored, each follows from the one before.

Each relation stands over all 289 columns: what is not named is unchanged, what is named changes as its rule says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import pytest
import soundfile

from core import features
from core.data.audio import ANALYSIS_RATE_HZ, read_clip, to_analysis_rate
from core.features.frames import HOP_LENGTH

SETS = ("ultra", "mfcc", "metadata")
PITCH_STEP_S = 3 / 65 / 4  # a quarter of the window of pitch analysis, three periods of 65 Hz

Values = Mapping[str, float]
Rule = Callable[[Values, str], object]


@dataclass(frozen=True)
class Between:
    """Equal to every number from ``low`` to ``high``, and to a missing one where that is allowed too."""

    low: float
    high: float
    or_missing: bool = False

    def __eq__(self, value: object) -> bool:
        return self.low <= value <= self.high or (self.or_missing and bool(np.isnan(value)))


def near(value: float, name: str, *, rel: float = 1e-5) -> object:
    """Values are stored as float32 (1e-7); sums of float32 powers and logarithms lose up to two digits more.

    A cepstral coefficient is a sum of 128 logarithms that cancel, so its error is absolute: float32 keeps 1e-5 dB of 100.
    """
    return pytest.approx(value, rel=rel, abs=1e-4 if ".mfcc" in name else 1e-12, nan_ok=True)


def unchanged(values: Values, name: str) -> object:
    return near(values[name], name)


def exactly_unchanged(values: Values, name: str) -> object:
    return pytest.approx(values[name], rel=0, abs=0, nan_ok=True)


def times(factor: float, *, rel: float = 1e-5) -> Rule:
    return lambda values, name: near(factor * values[name], name, rel=rel)


def plus(offset: float) -> Rule:
    return lambda values, name: near(values[name] + offset, name)


def within(low: float, high: float, *, or_missing: bool = False) -> Rule:
    return lambda values, name: Between(low, high, or_missing)


negated = times(-1)


def answers(before: Values, after: Values, rules: Mapping[str, Rule], *, otherwise: Rule = unchanged) -> None:
    """Every column answers as the one rule says whose pattern fits its name, or else as ``otherwise``."""
    assert set(before) == set(after)
    assert len(before) == 289
    wrong = []
    for name, value in after.items():
        fitting = [pattern for pattern in rules if fnmatchcase(name.partition(".")[2], pattern)]
        assert len(fitting) <= 1, f"{name} has rules {fitting}"
        expected = rules[fitting[0]](before, name) if fitting else otherwise(before, name)
        if expected != value:
            wrong.append(f"{name} was {before[name]:.7g}, is {value:.7g}, expected {expected}")
    unused = [pattern for pattern in rules if not any(fnmatchcase(name.partition(".")[2], pattern) for name in after)]
    assert not unused
    assert not wrong, "\n".join(wrong)


def voice() -> tuple[np.ndarray, int]:
    """A voice that glides around 140 Hz, in syllables with a pause, above a little noise and off centre by 0.3 % of full scale."""
    sr, n = 22050, 512 * 129 + 1
    t = np.arange(n) / sr
    phase = 2 * np.pi * np.cumsum(140 * 2 ** (0.15 * np.sin(2 * np.pi * 0.7 * t))) / sr
    buzz = sum(np.sin(h * phase + h) / h for h in range(1, 20))
    syllable = np.sin(np.pi * np.minimum(t % 0.5 / 0.33, 1)).clip(0) ** 0.5 * (1 + 0.3 * np.sin(2 * np.pi * 0.4 * t + 1))
    syllable[(t > 1.95) & (t < 2.5)] = 0
    noise = 0.002 * np.random.default_rng(0).normal(size=n)
    return (0.12 * buzz * syllable + noise + 0.003).astype(np.float32), sr


@pytest.fixture(params=["voice", "piano"])
def sound(request, piano) -> tuple[np.ndarray, int]:
    """Samples, at the rate of their file: a synthetic voice, and a recorded piano string (the A of 110 Hz)."""
    if request.param == "voice":
        return voice()
    clip = read_clip(piano / "audios" / "train" / "audio_0168.flac")
    return clip.mono, clip.sample_rate_hz


@pytest.fixture
def even_sound(sound) -> np.ndarray:
    """The same at the analysis rate, 512 m + 1 samples long: a frame is centred on the first and on the last one."""
    y = to_analysis_rate(*sound)
    return y[: (len(y) - 1) // HOP_LENGTH * HOP_LENGTH + 1]


@pytest.fixture
def measure(tmp_path):
    def measure(
        samples: np.ndarray, sr: int = ANALYSIS_RATE_HZ, *, format: str = "WAV", subtype: str = "FLOAT", max_seconds: float = 45.0
    ) -> dict[str, float]:
        path = tmp_path / "clip"
        soundfile.write(path, samples, sr, format=format, subtype=subtype)
        vectors = features.extract(read_clip(path, max_seconds=max_seconds), SETS)
        return {
            f"{name}.{column}": float(x) for name in SETS for column, x in zip(features.names(name), vectors[name], strict=True)
        }

    return measure


def test_half_the_level_halves_amplitudes_and_leaves_what_is_relative(sound, measure):
    """A power of two changes no digit of a float, so only floors and logarithms can make a difference."""
    samples, sr = sound
    half = times(0.5)
    before = measure(samples, sr)
    # Cells of the spectrum at the floor (1e-10 in power) stay there while the others fall by four, so a frame gets flatter, up
    # to four times; above 8 kHz the piano, recorded at 16 kHz, has nothing but such cells.
    flatter = {
        f"{part}flatness_{stat}": lambda values, name: Between(0.999 * values[name], 4 * values[name])
        for part, stats in (("", ("mean", "std", "p10", "p50", "p90")), ("harmonic_", ("mean",)), ("percussive_", ("mean",)))
        for stat in stats
    }
    answers(
        before,
        measure(samples / 2, sr),
        flatter
        | {
            "rms_m*": half,
            "rms_p*": half,
            "rms_std": half,
            "rms_delta_*": half,
            "rms_slope_per_s": half,
            "harmonic_rms_*": half,
            "percussive_rms_*": half,
            "amplitude_*": half,
            "peak_amplitude": half,
            "dc_offset": half,
            # 6.02 dB in each of 128 bands, through an orthonormal transform, whose first row is 1 / sqrt(128)
            "mfcc0_mean": plus(-20 * np.log10(2) * np.sqrt(128)),
            # The same floor lifts the quiet end of the spectrum, by 6 dB at most, over the 6.3 octaves of the line
            "spectral_tilt_db_per_oct": lambda values, name: Between(values[name] - 1e-4, values[name] + 6.02 / 6.3),
        },
    )


def test_silence_is_a_matter_of_level_only_below_80_dbfs(measure):
    samples, sr = voice()
    assert measure(samples / 2, sr)["ultra.silence_ratio"] == measure(samples, sr)["ultra.silence_ratio"] < 1
    assert measure(samples / 4096, sr)["ultra.silence_ratio"] == 1  # 72 dB lower: the loudest frame had -17 dBFS


def test_swapped_channels_change_nothing(sound, measure):
    samples, sr = sound
    stereo = np.column_stack([samples, 0.5 * np.roll(samples, 100)])
    answers(measure(stereo, sr), measure(stereo[:, ::-1], sr), {}, otherwise=exactly_unchanged)  # a sum of two commutes


def test_flac_and_wav_of_the_same_samples_differ_in_size_only(sound, measure):
    samples, sr = sound
    whole = np.round(samples * 32768).astype(np.int16)  # encoders round floats in ways of their own
    wav, flac = measure(whole, sr, subtype="PCM_16"), measure(whole, sr, format="FLAC", subtype="PCM_16")
    assert wav["metadata.file_size_bytes"] == 44 + 2 * len(whole)
    smaller = {"file_size_bytes": within(1, wav["metadata.file_size_bytes"])}
    answers(wav, flac, smaller, otherwise=exactly_unchanged)


def test_what_follows_after_max_seconds_is_seen_by_length_and_size_only(sound, measure):
    samples, sr = sound
    seconds = len(samples) / sr
    longer = np.concatenate([samples, np.clip(10 * samples[::-1], -1, 1)])  # louder than all before
    rules = {
        "duration_s": times(2),
        "file_size_bytes": plus(4 * len(samples)),
        "peak_time_ratio": times(0.5),  # of the peak of the analysed part, over the length of the whole
    }
    answers(measure(samples, sr), measure(longer, sr, max_seconds=seconds), rules, otherwise=exactly_unchanged)


def test_the_sign_of_the_waveform_turns_its_mean_and_nothing_else(sound, measure):
    """Spectra and correlations are even in the signal, a pulse is its loudest point of either sign, and no sample is exactly 0.

    A sample of 0 counts as positive, so with such samples zero crossings could tell the polarity too.
    """
    samples, sr = sound
    samples = samples + np.float32(2**-20)  # no 16-bit step of the piano is 0 any more
    assert samples.all()
    rules = {"amplitude_mean": negated, "dc_offset": negated}
    answers(measure(samples, sr), measure(-samples, sr), rules)


def test_a_sound_played_backwards_keeps_its_spectrum_and_turns_its_slopes(even_sound, measure):
    """Its frames are the same in reverse order, each backwards, but for a periodic window that leans by a sample."""

    def backwards(values: Values, name: str) -> object:
        # The leaning window moves energy between neighbouring cells where a frame changes fast; deep cells feel it most.
        return pytest.approx(values[name], rel=0.01, abs=0.02 if ".mfcc" in name else 1e-9, nan_ok=True)

    def turned(values: Values, name: str) -> object:
        return pytest.approx(-values[name], rel=0.01, abs=0.02 if ".mfcc" in name else 1e-9)

    def mirrored(values: Values, name: str) -> object:
        return pytest.approx(1 - values[name], abs=1e-3)

    before = measure(even_sound)
    shares = ["band_*_share", *(f"mel_band{band}_share" for band in range(8))]
    answers(
        before,
        measure(even_sound[::-1]),
        {pattern: times(1, rel=1e-3) for pattern in shares}
        | {
            "rms_slope_per_s": turned,
            "f0_slope_st_per_s": turned,
            "mfcc*_delta_mean": turned,
            "mel_temporal_centroid": mirrored,
            "peak_time_ratio": mirrored,
            # Onsets are rises: a decay becomes one, an attack ceases to be one.
            "onset_strength_*": within(0, 80),
            "onset_rate": within(0, ANALYSIS_RATE_HZ / HOP_LENGTH),
            "tempo_bpm": within(0, 320),
            "beat_interval_std_s": within(0, 3, or_missing=True),
            "tempogram_peak_ratio": within(1, 383),
            "tempogram_entropy": within(0, np.log2(383)),
            # The search for pulses starts at the loudest point near the middle of a stretch, then goes the other way round.
            "jitter_*": times(1, rel=0.05),
            "shimmer_*": times(1, rel=0.05),
        },
        otherwise=backwards,
    )


def test_zeros_at_the_end_dilute_what_is_taken_over_frames_and_touch_nothing_else(even_sound, measure):
    """The sound already ends in silence (0.6 s, longer than every filter reaches), so that each new frame is a silent one.

    A mean over frames is then mixed with the value of a silent frame in a known proportion, and so are higher moments.
    """
    added = round(1.2 * ANALYSIS_RATE_HZ)
    assert np.isclose(1.2 / PITCH_STEP_S, 104)  # whole steps: the frames of pitch analysis stay where they are
    start = np.concatenate([even_sound, np.zeros(round(0.6 * ANALYSIS_RATE_HZ), np.float32)])
    n = len(start)
    before, after = measure(start), measure(np.concatenate([start, np.zeros(added, np.float32)]))

    t, t_after = 1 + n // HOP_LENGTH, 1 + (n + added) // HOP_LENGTH
    frames, changes = t / t_after, (t - 1) / (t_after - 1)  # share of the old frames, and of the old steps between two
    length = n / (n + added)
    pitch_frames = int((n / ANALYSIS_RATE_HZ - 4 * PITCH_STEP_S) / PITCH_STEP_S + 1)
    get = {name.partition(".")[2]: value for name, value in before.items()}.__getitem__

    def moved(old: float, silent: float = 0.0, share: float = frames) -> float:
        return share * old + (1 - share) * silent

    def moved_std(mean: float, std: float, silent: float = 0.0, share: float = frames) -> float:
        return np.sqrt(moved(std**2 + mean**2, silent**2, share) - moved(mean, silent, share) ** 2)

    def mean_with(silent: float = 0.0, share: float = frames) -> Rule:
        return lambda values, name: near(moved(values[name], silent, share), name, rel=1e-4)

    def std_with(silent: float = 0.0, share: float = frames) -> Rule:
        def rule(values: Values, name: str) -> object:
            column = name.partition(".")[2]
            return near(moved_std(get(column.replace("_std", "_mean")), values[name], silent, share), name, rel=1e-4)

        return rule

    def towards(silent: float) -> Rule:
        """An order statistic does not move away from the value that became more frequent."""
        return lambda values, name: Between(min(values[name], silent) - 1e-6, max(values[name], silent) * (1 + 1e-6))

    mean, std = get("rms_mean"), get("rms_std")
    raw2 = frames * (std**2 + mean**2)
    raw3 = frames * (get("rms_skew") * std**3 + 3 * mean * std**2 + mean**3)
    raw4 = frames * ((get("rms_kurtosis") + 3) * std**4 + 4 * mean * get("rms_skew") * std**3 + 6 * mean**2 * std**2 + mean**4)
    mean_after, std_after = frames * mean, moved_std(mean, std)
    skew = (raw3 - 3 * mean_after * raw2 + 2 * mean_after**3) / std_after**3
    kurtosis = (raw4 - 4 * mean_after * raw3 + 6 * mean_after**2 * raw2 - 3 * mean_after**4) / std_after**4 - 3
    # A slope is the covariance of time and level over the variance of time, with t frames (t^2 - 1) / 12.
    covariance = get("rms_slope_per_s") * (t**2 - 1) / 12 * HOP_LENGTH / ANALYSIS_RATE_HZ  # in frames
    about_zero = frames * (covariance + mean * (t - 1) / 2)
    slope = (about_zero - mean_after * (t_after - 1) / 2) / ((t_after**2 - 1) / 12) * ANALYSIS_RATE_HZ / HOP_LENGTH

    # Values of a silent frame that depend on the depth of the whole clip: solved for in one column, used in the others.
    silent_mfcc0 = float((after["mfcc.mfcc0_mean"] - frames * get("mfcc0_mean")) / (1 - frames))
    silent_contrast = float((after["ultra.contrast_b0_mean"] - frames * get("contrast_b0_mean")) / (1 - frames))
    contrast_mean = float(np.mean([get(f"contrast_b{band}_mean") for band in range(7)]))
    assert silent_mfcc0 < get("mfcc0_mean")

    silent_frames = get("silence_ratio") * t + t_after - t
    pause_s = (t_after - t) * HOP_LENGTH / ANALYSIS_RATE_HZ
    offset = get("amplitude_mean")
    power = length * (get("amplitude_std") ** 2 + offset**2)
    spread = {f"{track}_{stat}{unit}" for track, unit in TRACKS for stat in ("mean", "std")}
    answers(
        before,
        after,
        {name: mean_with() if "_mean" in name else std_with() for name in spread}
        | {f"{track}_p?0{unit}": towards(0) for track, unit in TRACKS if track in ("centroid", "bandwidth", "rolloff")}
        | {
            "duration_s": plus(1.2),
            "file_size_bytes": plus(4 * added),
            "rms_min": within(0, 0),
            "rms_p*": towards(0),
            "rms_skew": lambda values, name: near(skew, name, rel=1e-4),
            "rms_kurtosis": lambda values, name: near(kurtosis, name, rel=1e-3),  # fourth powers that cancel
            "rms_delta_abs_mean": mean_with(share=changes),
            # The mean change is that from the first frame to silence, spread over all: at most rms_max / (t - 1).
            "rms_delta_std": lambda values, name: Between(
                np.sqrt(changes) * values[name] * (1 - 1e-5), np.hypot(np.sqrt(changes) * values[name], get("rms_max") / (t - 1))
            ),
            "rms_slope_per_s": lambda values, name: near(slope, name, rel=1e-4),
            "zcr_p50": towards(0),
            # A frame near the threshold, which hangs on the 95th percentile of level, may cease to be silent.
            "silence_ratio": lambda values, name: Between((silent_frames - 8) / t_after, silent_frames / t_after + 1e-6),
            "pause_rate": times(length),
            "pause_mean_s": plus(pause_s / get("pause_count")),
            "pause_max_s": within(pause_s, get("pause_max_s") + pause_s + 1e-5),
            "pause_std_s": within(0, get("pause_std_s") + pause_s),
            "flatness_mean": mean_with(1),
            "flatness_std": std_with(1),
            "flatness_p?0": towards(1),
            "flux_mean": mean_with(share=changes),
            "flux_std": std_with(share=changes),
            "flux_p?0": towards(0),
            "contrast_b?_mean": mean_with(silent_contrast),
            "contrast_std": lambda values, name: near(moved_std(contrast_mean, values[name], silent_contrast), name, rel=1e-3),
            "contrast_p?0": towards(silent_contrast),
            # The mean of the clip, which pitch analysis takes off first, is another; frames lose theirs all the same, to rounding.
            "f0_std_hz": times(1, rel=1e-3),
            "f0_range_st": times(1, rel=1e-3),
            "f0_slope_st_per_s": times(1, rel=1e-3),
            "voiced_ratio": times(pitch_frames / (pitch_frames + 104)),
            "voiced_runs_per_s": times(length),
            "mfcc0_mean": mean_with(silent_mfcc0),  # by its own solution; the standard deviation is the test
            "mfcc0_std": std_with(silent_mfcc0),
            "mfcc[1-9]_mean": mean_with(),
            "mfcc1[0-9]_mean": mean_with(),
            "mfcc[1-9]_std": std_with(),
            "mfcc1[0-9]_std": std_with(),
            "mfcc*_delta_mean": mean_with(),
            "mfcc*_delta_std": std_with(),
            "mfcc*_delta2_mean": mean_with(),
            "mfcc*_delta2_std": std_with(),
            "mel_std_db": within(0, 40),  # 80 dB deep
            "mel_range_db": lambda values, name: Between(0, values[name]),  # a twentieth is silent in both
            "mel_temporal_centroid": times(length),
            "syllable_band_share": within(0, 1),
            "modulation_peak_hz": within(0.5, 20),
            # The lowest filters of the constant-Q transform are longer than the silence: a new frame is anything from 0 to 1.
            "chroma_cqt_*_mean": lambda values, name: Between(
                moved(values[name]) - CHROMA_SLACK, moved(values[name], 1) + CHROMA_SLACK
            ),
            "chroma_cqt_std": within(0, 0.5),
            "chroma_stft_entropy": mean_with(),
            "chroma_stft_peak_share": mean_with(),
            "chroma_stft_std": within(0, 0.5),
            "onset_rate": times(length),
            "tempo_bpm": within(0, 320),
            "beat_interval_std_s": within(0, 3, or_missing=True),
            "tempogram_peak_ratio": within(1, 383),
            "tempogram_entropy": within(0, np.log2(383)),
            "hp_ratio_std_db": within(0, 100),
            "harmonic_centroid_mean_hz": mean_with(),
            "percussive_centroid_mean_hz": mean_with(),
            "harmonic_flatness_mean": mean_with(1),
            "percussive_flatness_mean": mean_with(1),
            "crest_factor_db": plus(-10 * np.log10(length)),
            "peak_to_rms_db": plus(-10 * np.log10(length)),
            "dynamic_range_db": lambda values, name: Between(0, values[name]),  # the 5th percentile is at the floor in both
            # The loudest half of more frames holds the loudest half of fewer; the quietest tenth is at the floor in both.
            "snr_db": lambda values, name: Between(values[name] + 10 * np.log10(frames) - 0.1, values[name]),
            "dc_offset": times(length),
            "amplitude_mean": times(length),
            "amplitude_abs_mean": times(length),
            "amplitude_std": lambda values, name: near(np.sqrt(power - (length * offset) ** 2), name),
            "peak_time_ratio": times(length),
        },
    )


CHROMA_SLACK = 0.02  # the transform resamples octave by octave, which rings at the end of the clip
TRACKS = [  # a silent frame has the value 0
    ("rms", ""),
    ("zcr", ""),
    ("centroid", "_hz"),
    ("bandwidth", "_hz"),
    ("rolloff", "_hz"),
    ("mel_entropy", ""),
    ("onset_strength", ""),
    ("harmonic_rms", ""),
    ("percussive_rms", ""),
]
