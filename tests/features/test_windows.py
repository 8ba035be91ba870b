"""Sets over windows: how they are named, where a clip is cut, and what is left of a sound that does not change."""

import numpy as np
import pytest

from core import features
from core.data.audio import read_clip
from core.errors import ParameterError
from core.features.windows import cut, pool
from tests.conftest import tone, write_clip


@pytest.fixture
def clip_of(tmp_path):
    def clip_of(samples, *, sr=22050, max_seconds=45.0):
        return read_clip(write_clip(tmp_path / "clip.wav", samples, sr=sr, subtype="FLOAT"), max_seconds=max_seconds)

    return clip_of


def test_a_sound_that_repeats_itself_has_the_values_of_one_window_and_no_spread(clip_of):
    syllables = tone(440, seconds=5) * (np.arange(5 * 22050) % 11025 < 8000)
    plain = features.extract(clip_of(syllables), ("ultra", "mfcc"))
    windowed = features.extract(clip_of(np.tile(syllables, 3)), ("ultra@5s", "mfcc@5s"))
    for name in ("ultra", "mfcc"):
        mean, std = np.split(windowed[f"{name}@5s"], 2)
        differs = mean != plain[name]
        assert [features.names(name)[place] for place in np.flatnonzero(differs & ~np.isnan(mean))] == (
            ["duration_s"] if name == "ultra" else []  # the length of the file is that of the file
        )
        assert np.array_equal(np.isnan(mean), np.isnan(plain[name]))
        assert (std[~np.isnan(std)] == 0).all()


def test_a_steady_tone_has_the_pitch_and_the_level_of_each_of_its_windows(clip_of):
    vector = features.extract(clip_of(tone(220, seconds=15)), ("ultra@5s",))["ultra@5s"]
    values = dict(zip(features.names("ultra@5s"), vector, strict=True))
    assert values["f0_median_hz_mean"] == pytest.approx(220, abs=0.5)
    assert values["f0_median_hz_std"] == pytest.approx(0, abs=1e-2)
    assert values["rms_p50_mean"] == pytest.approx(0.5 / np.sqrt(2), rel=1e-3)
    assert values["rms_p50_std"] == pytest.approx(0, abs=1e-6)
    assert (values["duration_s_mean"], values["duration_s_std"]) == (15, 0)


def test_windows_tell_a_change_that_the_whole_hides(clip_of):
    vector = features.extract(clip_of(np.concatenate([tone(220, seconds=2), tone(330, seconds=2)])), ("ultra@2s",))["ultra@2s"]
    values = dict(zip(features.names("ultra@2s"), vector, strict=True))
    assert values["f0_median_hz_mean"] == pytest.approx(275, abs=1)
    assert values["f0_median_hz_std"] == pytest.approx(55, abs=1)


@pytest.mark.parametrize("seconds", [5.0, 0.5, 3.0])
def test_a_clip_of_one_window_has_the_values_of_the_whole(clip_of, rng, seconds):
    vectors = features.extract(clip_of(0.1 * rng.normal(size=round(seconds * 22050))), ("ultra", "ultra@5s"))
    mean, std = np.split(vectors["ultra@5s"], 2)
    assert np.array_equal(mean, vectors["ultra"], equal_nan=True)
    assert np.array_equal(std, np.where(np.isnan(mean), np.nan, 0), equal_nan=True)


@pytest.mark.parametrize(
    ("seconds", "window_s", "lengths_s"),
    [
        (12.0, 5.0, [5, 5, 2]),
        (11.0, 5.0, [5, 5, 1]),
        (10.9, 5.0, [5, 5]),
        (10.0, 5.0, [5, 5]),
        (4.0, 5.0, [4]),
        (0.5, 5.0, [0.5]),
        (2.5, 1.0, [1, 1]),
    ],
)
def test_the_last_window_counts_where_it_lasts_a_second(clip_of, rng, seconds, window_s, lengths_s):
    clip = clip_of(0.1 * rng.normal(size=round(seconds * 8000)), sr=8000)
    windows = cut(clip, window_s)
    assert [window.seconds for window in windows] == lengths_s
    assert np.array_equal(np.concatenate([window.samples for window in windows]), clip.samples[: round(sum(lengths_s) * 8000)])
    assert {window.duration_s for window in windows} == {clip.duration_s}


def test_windows_are_of_the_part_that_is_analysed(clip_of, rng):
    assert [window.seconds for window in cut(clip_of(0.1 * rng.normal(size=22050 * 9), max_seconds=6), 4)] == [4, 2]


def test_windows_without_a_value_do_not_count(clip_of):
    """Half a clip of silence: what is not defined there is the value of the other half."""
    clip = clip_of(np.concatenate([tone(300, seconds=2), np.zeros(2 * 22050)]))
    values = dict(zip(features.names("ultra@2s"), features.extract(clip, ("ultra@2s",))["ultra@2s"], strict=True))
    assert values["f0_median_hz_mean"] == pytest.approx(300, abs=1)
    assert values["f0_median_hz_std"] == 0
    assert values["rms_p50_mean"] == pytest.approx(0.5 / np.sqrt(2) / 2, rel=1e-3)
    assert np.isnan(pool([np.array([np.nan]), np.array([np.nan])])).all()


def test_pooling_is_that_of_numpy(rng):
    vectors = rng.normal(size=(7, 5))
    vectors[rng.random(size=vectors.shape) < 0.3] = np.nan
    vectors[0] = 1.0
    expected = np.concatenate([np.nanmean(vectors, axis=0), np.nanstd(vectors, axis=0)])
    assert np.allclose(pool(list(vectors)), expected, rtol=1e-6)  # float32


def test_columns_over_windows_say_what_they_are():
    whole, windowed = features.columns("ultra"), features.columns("ultra@5s")
    assert [column.index for column in windowed] == list(range(320))
    assert features.names("ultra@5s") == (*(f"{one.name}_mean" for one in whole), *(f"{one.name}_std" for one in whole))
    one = windowed[160 + features.names("ultra").index("f0_median_hz")]
    assert (one.set, one.family, one.unit) == ("ultra@5s", "voice", "Hz")
    assert (
        one.definition
        == f"standard deviation over windows of 5 s of: {whole[features.names('ultra').index('f0_median_hz')].definition}"
    )
    assert one.nan_when == "no voiced frame, in each window"
    assert windowed[0].nan_when == "never"


@pytest.mark.parametrize("name", ["ultra", "mfcc", "metadata", "ultra@5s", "mfcc@2.5s", "ultra@60s", "table:age", "table:a.b c"])
def test_the_columns_of_a_set_name_it(name):
    of = features.parse_set(name)
    assert of.name == name
    for column in features.names(name):
        assert features.set_of(f"{of.prefix}.{column}") == name


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("ultra@5.0s", "write 'ultra@5s'"),
        ("ultra@05s", "write 'ultra@5s'"),
        ("ultra@0.5s", "windows last 1 to 3600 s"),
        ("ultra@99999s", "windows last 1 to 3600 s"),
        ("metadata@5s", "metadata describes the file, which has no windows; write 'metadata'"),
        (
            "ultra@5",
            "'ultra@5' is not among ultra, mfcc, metadata, .*; ultra and mfcc are also computed over windows, as in ultra@5s",
        ),
        ("ultra@-5s", "not among"),
        ("ultra@infs", "not among"),
        ("@5s", "not among"),
        ("chroma@5s", "not among"),
        ("table:", "table:NAME is the column NAME of the table"),
        ("table: age", "write 'table:age'"),
        ("table@5s", "not among"),
        ("", "not among"),
    ],
)
def test_names_that_are_none_are_refused_with_those_that_are(name, match):
    with pytest.raises(ParameterError, match=match):
        features.parse_set(name)
