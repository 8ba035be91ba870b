"""What each family must say of a signal whose answer is known, and where it must say nothing."""

import librosa
import numpy as np
import pytest
import scipy.ndimage

from core import features
from core.data.audio import read_clip
from core.features import chroma, hpss, rhythm, silence
from core.features.frames import Frames, sum_frames
from core.features.quality import snr_db
from core.features.silence import silent_frames
from core.features.spectral import flux
from tests.conftest import tone, write_clip

ALL_SETS = ("ultra", "mfcc", "metadata")


@pytest.fixture
def measure(tmp_path):
    def measure(samples, *, sr=22050, sets=ALL_SETS, subtype="FLOAT", max_seconds=45.0):
        clip = read_clip(write_clip(tmp_path / "clip.wav", samples, sr=sr, subtype=subtype), max_seconds=max_seconds)
        vectors = features.extract(clip, sets)
        return {
            f"{name}.{column.name}": float(value)
            for name in sets
            for column, value in zip(features.columns(name), vectors[name], strict=True)
        }

    return measure


def test_the_table_has_289_columns_in_three_sets():
    assert [len(features.columns(name)) for name in ALL_SETS] == [160, 120, 9]
    for name in ALL_SETS:
        assert [column.index for column in features.columns(name)] == list(range(len(features.columns(name))))
    twice = set(features.names("ultra")) & {*features.names("mfcc"), *features.names("metadata")}
    assert len(twice) == 25


def allowed_nan(column, *, silent, voiced, frames):
    return {
        "never": False,
        "silent clip": silent,
        "under 9 frames": frames < 9,
        "no voiced frame": not voiced,
        "no voiced run of 0.1 s": not voiced,
        "under 3 periods": not voiced,
        "under 6 periods": not voiced,
        "fewer than three beats": None,  # either is right, the tracker decides
    }[column.nan_when]


@pytest.mark.parametrize("kind", ["tone", "noise", "zeros", "constant", "click"])
@pytest.mark.parametrize(("n", "sr"), [(22050, 22050), (2048, 48000), (2048, 192000), (3000, 8000)])
def test_values_are_missing_exactly_where_the_table_says(measure, rng, kind, n, sr):
    samples = {
        "tone": tone(150, seconds=n / sr, sr=sr),
        "noise": 0.1 * rng.normal(size=n),
        "zeros": np.zeros(n),
        "constant": np.full(n, 0.3),
        "click": np.eye(1, n, n // 2)[0],
    }[kind]
    values = measure(samples, sr=sr)
    y_length = int(np.ceil(n * 22050 / sr))
    voiced = values["ultra.voiced_ratio"] > 0
    facts = {"silent": kind in ("zeros", "constant"), "voiced": voiced, "frames": 1 + y_length // 512}
    if kind in ("zeros", "click", "constant"):
        assert not voiced
    for name in ALL_SETS:
        for column in features.columns(name):
            expected = allowed_nan(column, **facts)
            if column.nan_when.startswith(("under 3", "under 6", "no voiced run")) and voiced:
                expected = None if y_length < 22050 else False
            if expected is not None:
                assert np.isnan(values[f"{name}.{column.name}"]) == expected, column.name


def test_equal_names_in_two_sets_are_equal_columns(measure):
    values = measure(tone(300))
    for name in features.names("ultra"):
        for other in ("mfcc", "metadata"):
            if name in features.names(other):
                assert values[f"ultra.{name}"] == values[f"{other}.{name}"]


def test_a_tone_says_its_frequency_and_level(measure):
    values = measure(tone(1000, seconds=2, amplitude=0.5))
    assert values["ultra.centroid_p50_hz"] == pytest.approx(1000, abs=15)
    assert values["ultra.rms_p50"] == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)
    assert values["ultra.crest_factor_db"] == pytest.approx(20 * np.log10(np.sqrt(2)), abs=0.01)
    assert values["ultra.zcr_p50"] == pytest.approx(2 * 1000 / 22050, rel=0.02)
    # Above 1 kHz and below it half and half, nothing elsewhere: the window's main lobe straddles the edge
    assert values["ultra.band_mid_share"] + values["ultra.band_presence_share"] == pytest.approx(1, abs=1e-3)
    assert values["ultra.harmonic_energy_ratio"] > 0.9
    assert values["ultra.voiced_ratio"] == 0 or values["ultra.f0_median_hz"] <= 500
    assert values["metadata.peak_to_rms_db"] == pytest.approx(3.01, abs=0.01)


def test_a_click_is_percussive_and_white(measure):
    values = measure(np.eye(1, 22050, 11025)[0])
    assert values["ultra.percussive_energy_ratio"] > 0.9
    assert values["ultra.harmonic_energy_ratio"] + values["ultra.percussive_energy_ratio"] == pytest.approx(1, abs=1e-6)
    assert values["metadata.peak_time_ratio"] == pytest.approx(0.5, abs=1e-4)
    assert values["ultra.spectral_tilt_db_per_oct"] == pytest.approx(0, abs=0.1)


def test_an_a_is_an_a(measure):
    values = measure(tone(440, seconds=2))
    chroma = {
        name: values[f"ultra.chroma_cqt_{name}_mean"] for name in ("c", "cs", "d", "ds", "e", "f", "fs", "g", "gs", "a", "as", "b")
    }
    assert max(chroma, key=chroma.get) == "a"


def test_pauses_are_counted_and_measured(measure):
    gap = np.zeros(round(0.5 * 22050))
    sound = tone(300, seconds=0.6)
    values = measure(np.r_[sound, gap, sound, gap, sound])
    assert values["ultra.pause_count"] == 2
    assert values["ultra.pause_mean_s"] == pytest.approx(0.5, abs=0.1)  # frames of 93 ms blur the edges
    assert values["ultra.pause_rate"] == pytest.approx(2 / 2.8, rel=1e-3)
    assert values["ultra.silence_ratio"] == pytest.approx(1 / 2.8, abs=0.08)
    whole = measure(sound)
    assert [whole[f"ultra.pause_{name}"] for name in ("count", "mean_s", "std_s", "max_s")] == [0, 0, 0, 0]


def test_silence_is_relative_to_the_loud_frames_and_absolute_below_80_dbfs():
    assert silent_frames(np.array([-10.0, -34.0, -36.0, -10.0])).tolist() == [False, False, True, False]
    assert silent_frames(np.full(5, -79.0)).tolist() == [False] * 5
    assert silent_frames(np.full(5, -81.0)).tolist() == [True] * 5


def test_signal_to_noise_ratio_is_loud_over_quiet():
    assert snr_db(np.r_[np.full(10, 0.01), np.full(90, 0.1)]) == pytest.approx(20)
    assert snr_db(np.array([0.1])) == 0
    assert snr_db(np.zeros(10)) == 0


def test_a_modulated_noise_pulses_at_its_rate(measure, rng):
    t = np.arange(6 * 22050) / 22050
    values = measure(0.2 * rng.normal(size=len(t)) * (1 + 0.9 * np.sin(2 * np.pi * 5 * t)))
    assert values["ultra.modulation_peak_hz"] == pytest.approx(5, abs=0.2)
    assert values["ultra.syllable_band_share"] > 0.6


def test_energy_at_the_end_lies_at_the_end(measure):
    values = measure(np.r_[np.zeros(22050), tone(500)])
    assert values["ultra.mel_temporal_centroid"] == pytest.approx(0.75, abs=0.01)
    assert values["ultra.rms_slope_per_s"] > 0.1


def test_clipping_and_offset_are_shares_of_the_samples_of_the_file(measure):
    samples = np.zeros((4000, 2))
    samples[:1000, 0] = 1.0
    values = measure(samples, sr=48000)
    assert values["ultra.clipping_ratio"] == pytest.approx(1000 / 8000)
    assert measure(0.1 + tone(500, amplitude=0.2))["ultra.dc_offset"] == pytest.approx(0.1, abs=1e-3)


def test_metadata_is_that_of_the_file(measure, tmp_path):
    samples = tone(100, seconds=2, sr=8000, amplitude=0.25)
    values = measure(samples, sr=8000, subtype="PCM_16", max_seconds=1.0)
    assert values["metadata.file_size_bytes"] == (tmp_path / "clip.wav").stat().st_size
    assert values["metadata.sample_rate_hz"] == 8000
    assert values["metadata.duration_s"] == 2
    assert values["metadata.peak_amplitude"] == pytest.approx(0.25, abs=1e-4)
    assert values["metadata.amplitude_abs_mean"] == pytest.approx(0.25 * 2 / np.pi, abs=1e-3)


def test_half_the_level_changes_levels_only(measure):
    y = tone(200, seconds=1.5) * np.linspace(0.2, 1, round(1.5 * 22050))
    loud, quiet = measure(y, sets=("ultra",)), measure(y / 2, sets=("ultra",))
    for name in (
        "centroid_mean_hz",
        "flux_mean",
        "f0_median_hz",
        "voiced_ratio",
        "harmonic_energy_ratio",
        "crest_factor_db",
        "zcr_mean",
    ):
        assert quiet[f"ultra.{name}"] == pytest.approx(loud[f"ultra.{name}"], rel=1e-4), name
    assert quiet["ultra.rms_mean"] == pytest.approx(loud["ultra.rms_mean"] / 2, rel=1e-6)


def test_flux_of_a_steady_or_single_frame_is_zero():
    steady = np.tile(np.arange(5.0)[:, None], (1, 3))
    assert flux(steady).tolist() == [0, 0]
    assert flux(steady[:, :1]).tolist() == [0]
    moving = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    assert flux(moving).tolist() == [np.sqrt(2), 1]  # from one line to another, then to an all-zero frame


@pytest.mark.parametrize("frames", [1, 2, 3, 14, 15, 16, 31, 40])
def test_the_median_filter_mirrors_edges_of_any_length(rng, frames):
    values = rng.normal(size=(40, frames)).astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(values, [(15, 15) if dimension == axis else (0, 0) for dimension in (0, 1)], mode="symmetric")
        expected = np.median(np.lib.stride_tricks.sliding_window_view(padded, 31, axis=axis), axis=-1)
        assert np.array_equal(hpss.median(values, axis=axis), expected)


@pytest.mark.parametrize("shape", [(1025, 130), (64, 31), (33, 65)])
def test_the_median_filter_is_scipys_bit_by_bit(rng, shape):
    for values in (rng.exponential(size=shape), rng.integers(0, 4, size=shape)):  # the latter is full of ties
        values = values.astype(np.float32)
        for axis, size in ((0, (31, 1)), (1, (1, 31))):
            assert np.array_equal(hpss.median(values, axis=axis), scipy.ndimage.median_filter(values, size=size, mode="reflect"))


def test_both_parts_sum_to_the_whole(rng):
    magnitude = rng.exponential(size=(200, 50)).astype(np.float32)
    harmonic, percussive = hpss.split(magnitude)
    assert np.allclose(harmonic + percussive, magnitude, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large:UserWarning")  # librosa, on low octaves
@pytest.mark.parametrize("tuning", [-0.5, 0.0, 0.3])
def test_the_constant_q_transform_is_librosas(rng, tuning):
    """To 2 % of the loudest cell: librosa leaves out the weakest hundredth of each of its filters."""
    y = (tone(330, seconds=2) + 0.05 * rng.normal(size=44100)).astype(np.float32)
    ours, reached = chroma.constant_q(y, sr=22050, tuning=tuning)
    theirs = np.abs(librosa.cqt(y, sr=22050, n_bins=252, bins_per_octave=36, tuning=tuning))
    assert ours.shape == theirs.shape
    assert reached.all()
    assert np.abs(ours - theirs).max() < 0.02 * theirs.max()


def test_a_tone_of_a_bin_rings_in_that_bin():
    ours, _ = chroma.constant_q(tone(440, seconds=3).astype(np.float32), sr=22050, tuning=0.0)
    a4 = 3 * 36 + 9 * 3  # octaves above C1, then nine semitones of three bins
    assert (ours[:, 40:90].argmax(axis=0) == a4).all()


def test_chroma_is_zero_where_no_sound_is_in_reach():
    """The longest filter reaches 0.8 s to each side; rounding elsewhere in the clip must not become a pitch."""
    y = np.zeros(6 * 22050, np.float32)
    y[:22050] = tone(440)
    found = chroma.chroma_cqt(y, sr=22050, tuning=0.0)
    assert (found[:, :43].max(axis=0) == 1).all()
    assert not found[:, 2 * 43 :].any()


@pytest.mark.parametrize("n", [2048, 2049, 5000, 22050])
def test_zero_crossings_and_levels_of_frames_are_librosas(rng, n):
    y = rng.normal(size=n).astype(np.float32)
    y[100:900] = 0.0  # zero counts as positive
    assert np.array_equal(silence.zero_crossing_rate(y), librosa.feature.zero_crossing_rate(y)[0])
    rms = np.sqrt(sum_frames(y.astype(np.float64) ** 2) / 2048)
    assert np.allclose(rms, librosa.feature.rms(y=y)[0], rtol=1e-5)


@pytest.mark.parametrize("win_length", [344, 384])
def test_the_mean_tempogram_is_librosas(rng, win_length):
    strength = rng.exponential(size=700).astype(np.float32)
    theirs = librosa.feature.tempogram(onset_envelope=strength, sr=22050, win_length=win_length).mean(axis=1)
    assert np.allclose(rhythm.mean_tempogram(strength, win_length), theirs, atol=1e-6)


def test_a_column_that_must_have_a_value_never_passes_without_one(measure, monkeypatch):
    from core.errors import AudioError
    from core.features import basic

    monkeypatch.setattr(basic, "columns", lambda frames: {"duration_s": float("nan")})
    with pytest.raises(AudioError, match=r"clip\.wav: feature ultra\.duration_s has no finite value"):
        measure(tone(300))


def test_the_analysis_is_computed_when_it_is_asked_for(tmp_path):
    frames = Frames(read_clip(write_clip(tmp_path / "a.wav", tone(300))))
    assert frames.power is frames.power
    assert np.allclose(frames.magnitude**2, frames.power)
