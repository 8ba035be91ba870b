"""Up to which frequency a clip has sound, and what is said of a set of clips."""

import io

import librosa
import numpy as np
import pytest
import soundfile
from scipy import signal

from core.data.bandwidth import bandwidth_hz, summarise
from core.data.dataset import read_dataset
from core.data.report import check_dataset, kind_of
from core.data.treatment import Treatment
from tests.conftest import tone, write_clip, write_table

SR = 44100
WITHIN = 0.03  # of a frequency: a filter is no wall


def noise(rng, *, sr=SR, seconds=3.0, amplitude=0.1):
    return (amplitude * rng.normal(size=round(seconds * sr))).astype(np.float32)


def low_passed(y, cutoff_hz, *, sr=SR):
    return signal.lfilter(signal.firwin(801, cutoff_hz, fs=sr), 1, y).astype(np.float32)


def telephone(y, sr):
    """A band of 300 to 3400 Hz at 8 kHz, brought back to 44.1 kHz."""
    at_8_khz = librosa.resample(y, orig_sr=sr, target_sr=8000)
    band = signal.sosfilt(signal.butter(8, [300, 3400], "band", fs=8000, output="sos"), at_8_khz)
    return librosa.resample(band, orig_sr=8000, target_sr=SR).astype(np.float32)


@pytest.mark.parametrize("cutoff_hz", [3400, 8000, 16000])
@pytest.mark.parametrize("floor", [0.0, 1e-4], ids=["clean", "quiet noise"])
def test_low_passed_noise_reaches_as_far_as_its_filter(rng, cutoff_hz, floor):
    y = low_passed(noise(rng), cutoff_hz) + noise(rng, amplitude=floor)
    assert bandwidth_hz(y, SR) == pytest.approx(cutoff_hz, rel=WITHIN)


def test_the_band_of_a_telephone_is_found_at_a_higher_rate(rng):
    assert bandwidth_hz(telephone(noise(rng), SR), SR) == pytest.approx(3400, rel=WITHIN)


@pytest.mark.parametrize("sr", [8000, 16000, 22050, 44100, 96000])
def test_noise_of_the_whole_band_reaches_half_the_sample_rate(rng, sr):
    assert bandwidth_hz(noise(rng, sr=sr), sr) == sr / 2


def test_an_mp3_of_a_low_bit_rate_ends_where_its_encoder_cuts(rng):
    """LAME at 32 kbit/s for 44.1 kHz: its low-pass stands near 8 kHz; at a high rate near 20 kHz."""
    reached = []
    for level in (0.99, 0.0):
        file = io.BytesIO()
        options = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": level}
        soundfile.write(file, noise(rng), SR, **options)
        file.seek(0)
        reached.append(bandwidth_hz(soundfile.read(file, dtype="float32")[0], SR))
    assert 7000 < reached[0] < 9000
    assert 19_000 < reached[1] < 21_000


def test_silence_has_none_and_a_tone_does_not_show_any():
    assert bandwidth_hz(np.zeros(SR, np.float32), SR) is None
    for frequency_hz in (440, 3000, 9000):
        assert bandwidth_hz(tone(frequency_hz, sr=SR).astype(np.float32), SR) is None


def test_sound_that_grows_weaker_little_by_little_has_no_edge(rng):
    brown = signal.lfilter([1], [1, -0.99], noise(rng)).astype(np.float32)
    assert bandwidth_hz(brown, SR) == SR / 2


def test_speech_and_piano_at_16_khz_have_the_whole_band_and_over_a_telephone_a_narrow_one(speech, piano):
    spoken = sorted(speech.glob("audios/train/*"))[:5]
    for path in spoken:
        y, sr = soundfile.read(path, dtype="float32")
        assert bandwidth_hz(y, sr) > 0.9 * sr / 2
        assert 3000 < bandwidth_hz(telephone(y, sr), SR) < 4000
    for path in sorted(piano.glob("audios/train/*"))[:20]:
        y, sr = soundfile.read(path, dtype="float32")
        assert bandwidth_hz(y, sr) in (None, sr / 2)


def test_a_set_says_what_its_sample_rate_promises_and_does_not_keep():
    found = summarise([44100] * 300 + [8000] * 10, [3400.0] * 240 + [22050.0] * 60 + [4000.0] * 8 + [None] * 2, limit_hz=1e9)
    assert (found.clips, found.median_hz, found.narrow) == (308, 3400.0, 240)
    assert found.sentences == (
        "sample rate 44.1 kHz, but sound only up to 3.4 kHz in 240 of 300 clips: a telephone band or a low-bit-rate MP3",
    )


def test_two_sorts_of_bandwidth_are_told_only_where_features_can_hear_them():
    rates, widths = [44100] * 100, [3400.0] * 30 + [16000.0] * 70
    mixed = summarise(rates, widths, limit_hz=11025).mixed
    assert mixed.startswith("two bandwidths in one set: 30 clips with sound up to about 3.4 kHz, 70 up to about 11 kHz or more;")
    assert summarise(rates, [14000.0] * 30 + [22050.0] * 70, limit_hz=11025).mixed == ""  # features hear neither end
    assert summarise(rates, [14000.0] * 30 + [22050.0] * 70, limit_hz=110_250).mixed != ""
    assert summarise(rates, [3400.0] * 2 + [16000.0] * 98, limit_hz=11025).mixed == ""  # two odd clips are no sort
    assert summarise(rates, np.geomspace(3000, 10_000, 100).tolist(), limit_hz=11025).mixed == ""  # no gap


def test_nothing_is_said_where_no_bandwidth_is_known():
    found = summarise([44100], [None], limit_hz=11025)
    assert (found.clips, found.median_hz, found.narrow, found.sentences, found.mixed) == (0, None, 0, (), "")


def test_a_check_knows_the_bandwidth_of_each_clip_and_warns_of_two_sorts(tmp_path, rng):
    names = [f"clip{number}" for number in range(6)]
    for number, name in enumerate(names):
        y = noise(rng, seconds=1)
        write_clip(tmp_path / f"audios/train/{name}.wav", low_passed(y, 3400) if number < 3 else y, sr=SR)
    write_table(tmp_path / "csvs/train.csv", ["filename", "label"], [[name, number] for number, name in enumerate(names)])
    report = check_dataset(read_dataset(tmp_path), workers=0)
    widths = {clip.file: clip.bandwidth_hz for clip in report.clips}
    assert [widths[name] for name in names] == pytest.approx([3400] * 3 + [22050] * 3, rel=WITHIN)
    assert report.bandwidths.narrow == 3
    assert [kind_of(problem.reason) for problem in report.problems if problem.file == tmp_path.name] == ["two bandwidths"]


def test_a_check_warns_of_what_is_analysed(tmp_path):
    bat = np.column_stack([tone(45_000, sr=192_000), tone(30_000, sr=192_000)])
    for name in ("a", "b"):
        write_clip(tmp_path / f"audios/train/{name}.wav", bat if name == "a" else bat[:, 0], sr=192_000)
    write_table(tmp_path / "csvs/train.csv", ["filename", "label"], [["a", 1], ["b", 2]])
    dataset = read_dataset(tmp_path)
    plain = check_dataset(dataset, workers=0)
    assert sum("--slow-down 10" in problem.reason for problem in plain.problems) == 2
    treated = check_dataset(dataset, treatment=Treatment("right", 10), workers=0)
    assert [(problem.file, kind_of(problem.reason)) for problem in treated.problems] == [("b", "channels")]
    assert [clip.sample_rate_hz for clip in treated.clips] == [192_000]  # that of the file
