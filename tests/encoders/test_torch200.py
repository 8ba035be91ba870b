import csv
from importlib.resources import files
from pathlib import Path

import librosa
import numpy as np
import pytest

from core import features
from core.data.audio import Clip, read_clip
from core.errors import AudioError
from core.features import columns, names
from tests.conftest import PIANO, tone
from tests.tiny_models import voice

pytest.importorskip("torch")
torch200 = pytest.importorskip("core.encoders.torch200")

SR = 22050
NAMES = names("torch200")
BEATS = ("tempo_bpm", "beat_interval_std_s")  # a tracker that decides between peaks decides the other way on the last digit


def clip_of(y, *, sr=SR):
    return Clip(Path("clip.wav"), np.asarray(y, np.float32)[:, None], sr, len(y) / sr, 0)


def syllables(seconds):
    t = np.arange(round(seconds * SR)) / SR
    return voice(seconds, sr=SR) * (np.sin(2 * np.pi * 3 * t) > -0.3)


RNG = np.random.default_rng(0)
SOUNDS = {
    "tone": tone(440, seconds=2.0),
    "noise": 0.1 * RNG.normal(size=3 * SR),
    "speech-like": syllables(4.0),
    "clicks": np.where(np.arange(3 * SR) % (SR // 2) < 40, 0.5, 0.0) + 1e-4 * RNG.normal(size=3 * SR),
    "short": 0.2 * RNG.normal(size=2048),
    "silent": np.zeros(SR),
}


@pytest.fixture(scope="module")
def extractor():
    return torch200.Extractor(device="cpu")


@pytest.fixture(scope="module")
def sounds():
    recorded = read_clip(sorted((PIANO / "audios/train").glob("*"))[3])
    return {name: clip_of(y) for name, y in SOUNDS.items()} | {"recording": recorded}


@pytest.fixture(scope="module")
def prepared(sounds):
    return {name: torch200.prepare_clip(clip) for name, clip in sounds.items()}


@pytest.fixture(scope="module")
def found(extractor, prepared):
    return {name: dict(zip(NAMES, extractor([item])[0].tolist(), strict=True)) for name, item in prepared.items()}


def test_the_table_has_200_columns_as_the_other_table_has_them():
    with files("core.features").joinpath("FEATURES.csv").open() as file:
        known = {row["name"]: row for row in csv.DictReader(file) if row["set"] in ("ultra", "mfcc")}
    of = columns("torch200")
    families = [column.family for column in of]
    assert [column.index for column in of] == list(range(200))
    assert len(set(NAMES)) == 200
    counts = {family: families.count(family) for family in ("mfcc", "spectral", "mel", "voice", "rhythm")}
    assert counts == {"mfcc": 80, "spectral": 40, "mel": 40, "voice": 15, "rhythm": 10}
    for column in of:
        assert column.unit
        assert column.definition
        if column.name in known:
            assert (column.definition, column.nan_when) == (known[column.name]["definition"], known[column.name]["nan_when"])


@pytest.mark.parametrize("name", [*SOUNDS, "recording"])
def test_columns_that_ultra_and_mfcc_have_are_the_same_to_three_digits(sounds, found, name):
    vectors = features.extract(sounds[name], ("ultra", "mfcc"))
    expected = {column: value for of in vectors for column, value in zip(names(of), vectors[of].tolist(), strict=True)}
    shared = [column for column in NAMES if column in expected and column not in BEATS]
    assert len(shared) == 80 + 25 + 15 + 8 + 15 - len(BEATS)
    for column in shared:
        value, wanted = found[name][column], expected[column]
        size = 1e-3 * max(abs(wanted), 2e-2)  # below that stand flatness and flux of next to nothing
        assert np.isnan(value) == np.isnan(wanted), column
        assert np.isnan(value) or abs(value - wanted) <= size, (column, value, wanted)


def test_mel_bands_are_those_of_librosa(sounds, found):
    for name in ("tone", "noise", "speech-like"):
        mel = librosa.feature.melspectrogram(y=sounds[name].mono, sr=SR, n_mels=20)
        level_db = librosa.power_to_db(mel, ref=1.0, top_db=80.0)
        for stat, values in (("mean", level_db.mean(axis=1)), ("std", level_db.std(axis=1))):
            got = [found[name][f"mel20_b{band}_{stat}_db"] for band in range(20)]
            np.testing.assert_allclose(got, values, atol=2e-3)


def test_new_spectral_columns_are_what_their_definitions_say(sounds, found):
    for name in ("noise", "speech-like"):
        S = np.abs(librosa.stft(sounds[name].mono)).astype(np.float64)
        total = S.sum(axis=0)
        shares = S / np.where(total > 0, total, 1)
        f_khz = librosa.fft_frequencies(sr=SR) / 1000
        logs = np.log2(np.where(shares > 0, shares, 1))
        tracks = {
            "entropy_{}_bits": -(shares * logs).sum(axis=0),
            "slope_{}_per_khz": np.array([np.polyfit(f_khz, column, 1)[0] for column in shares.T]),
            "crest_{}": 1025 * shares.max(axis=0),
        }
        for pattern, track in tracks.items():
            stats = {"mean": track.mean(), "std": track.std()}
            stats |= {f"p{percent}": np.percentile(track, percent) for percent in (10, 50, 90)}
            for stat, value in stats.items():
                assert found[name][pattern.format(stat)] == pytest.approx(value, rel=1e-3, abs=1e-6), (name, pattern, stat)


def test_a_flat_spectrum_and_a_single_line_have_the_entropy_and_the_crest_of_their_cells():
    """A click is flat over 1025 cells, so log2(1025) bits and a crest of 1; a tone holds most of its magnitude in a few."""
    click = np.zeros(8192)
    click[4096] = 0.5
    vector = torch200.Extractor(device="cpu")([torch200.prepare_clip(clip_of(click))])[0]
    of = dict(zip(NAMES, vector.tolist(), strict=True))
    assert of["entropy_p90_bits"] == pytest.approx(np.log2(1025), rel=1e-4)
    line = dict(
        zip(
            NAMES,
            torch200.Extractor(device="cpu")([torch200.prepare_clip(clip_of(tone(1000, seconds=1.0)))])[0].tolist(),
            strict=True,
        )
    )
    assert line["entropy_p50_bits"] < 5
    assert line["crest_p50"] > 100


def test_onset_columns_follow_clicks(found):
    assert found["clicks"]["onset_interval_std_s"] == pytest.approx(0, abs=0.03)  # every half second, to a frame
    assert np.isnan(found["silent"]["onset_interval_std_s"])


def test_new_rhythm_columns_are_what_librosa_says(sounds, found):
    for name in ("noise", "speech-like", "clicks", "recording"):
        y = librosa.resample(sounds[name].mono, orig_sr=sounds[name].sample_rate_hz, target_sr=SR, res_type="soxr_hq")
        strength = librosa.onset.onset_strength(y=y, sr=SR)
        onsets_s = librosa.onset.onset_detect(y=y, sr=SR, units="time")
        assert found[name]["onset_strength_p50"] == pytest.approx(np.median(strength), rel=1e-3, abs=1e-5)
        gap_std_s = np.diff(onsets_s).std() if len(onsets_s) >= 3 else np.nan
        assert found[name]["onset_interval_std_s"] == pytest.approx(gap_std_s, rel=1e-3, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("kind", ["noise", "tone", "zeros", "constant", "click"])
@pytest.mark.parametrize(("n", "sr"), [(22050, 22050), (2048, 48000), (2048, 192000), (4607, 22050), (4608, 22050)])
@pytest.mark.filterwarnings("ignore:n_fft=.* is too large:UserWarning")
def test_odd_clips_have_the_values_of_ultra_and_gaps_where_the_table_says(extractor, rng, kind, n, sr):
    """4607 samples are nine frames, 4608 ten; 2048 at 192 kHz are one. A click's centroid varies by a tenth of a hertz."""
    y = {
        "noise": 0.1 * rng.normal(size=n),
        "tone": tone(150, seconds=n / sr, sr=sr),
        "zeros": np.zeros(n),
        "constant": np.full(n, 0.3),
        "click": np.eye(1, n, n // 2)[0],
    }[kind]
    clip = clip_of(y, sr=sr)
    item = torch200.prepare_clip(clip)
    vector = extractor([item])[0]
    few = 1 + len(item.y) // 512 < 9
    expected = {
        column: value
        for of, vector in features.extract(clip, ("ultra", "mfcc")).items()
        for column, value in zip(names(of), vector.tolist(), strict=True)
    }
    for column, value in zip(columns("torch200"), vector.tolist(), strict=True):
        if column.nan_when == "silent clip":
            assert np.isnan(value) == (kind == "zeros"), column.name
        elif column.nan_when == "under 9 frames":
            assert np.isnan(value) == few, column.name
        elif column.nan_when == "never":
            assert np.isfinite(value), column.name
        if column.name in expected and column.name not in BEATS:
            wanted = expected[column.name]
            # A tempogram scales each window to 1: of a steady tone, whose strength is next to nothing, that shows rounding.
            if kind == "tone" and column.name.startswith("tempogram"):
                continue
            assert value == pytest.approx(wanted, rel=1e-3, abs=5e-5, nan_ok=True), column.name


def test_neighbours_and_order_change_no_value(extractor, prepared, found):
    order = list(prepared)
    for some in (order, order[::-1], order[1:4], order[::2]):
        together = extractor([prepared[name] for name in some])
        for name, vector in zip(some, together, strict=True):
            alone = np.array(list(found[name].values()))
            np.testing.assert_allclose(vector, alone, rtol=2e-5, atol=2e-5, err_msg=name)


def test_clips_of_unequal_length_share_a_batch(extractor, prepared, monkeypatch):
    monkeypatch.setattr(torch200, "_CPU_SAMPLES", 10**9)
    items = [prepared[name] for name in ("short", "noise", "speech-like", "silent")]
    assert [sorted(batch) for batch in extractor._batches(items)] == [[0, 1, 2, 3]]
    together = extractor(items)
    monkeypatch.undo()
    for item, vector in zip(items, together, strict=True):
        np.testing.assert_allclose(vector, extractor([item])[0], rtol=2e-5, atol=2e-5)


def test_deltas_of_a_clip_of_under_nine_frames_are_not_defined(found):
    assert np.isnan(found["short"]["mfcc0_delta_mean"])
    assert np.isfinite(found["short"]["mfcc0_mean"])


def test_a_value_that_must_be_defined_and_is_not_names_the_clip(extractor, prepared):
    broken = torch200.Prepared(Path("odd.wav"), prepared["tone"].y, False, prepared["tone"].values | {"rms_mean": float("nan")})
    with pytest.raises(AudioError, match=r"odd.wav: feature torch200.rms_mean has no finite value"):
        extractor([broken])
