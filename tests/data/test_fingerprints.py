"""Copies of a recording have its fingerprint, and other recordings have another: noise, tones, sentences, strikes of one key."""

import numpy as np
import pytest
import soundfile
import soxr

from core.data.audio import read_clip
from core.data.duplicates import copied_pairs
from core.data.fingerprints import SIZE, fingerprint
from tests.conftest import shared_set, tone, write_clip

RATE_HZ = 16000
SECONDS = 3.0
COPY = 0.85  # above what two recordings have in common, and below what a copy keeps


def spoken(seed, *, seconds=SECONDS):
    """Noise whose level changes four times a second, as that of syllables."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * RATE_HZ)
    levels = np.interp(np.arange(samples), np.arange(0, samples + RATE_HZ, RATE_HZ // 4), rng.random(4 * round(seconds + 1)))
    return 0.3 * levels * rng.uniform(-1, 1, samples)


def mp3(path, samples, kbit_s):
    """Constant bit rates of soundfile run evenly from 160 to 8 kbit/s at this rate."""
    with path.open("wb") as file:
        level = (160 - kbit_s) / 152
        soundfile.write(file, samples, RATE_HZ, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
    return path


def cut(samples, *, start_ms=0, end_ms=0):
    return samples[RATE_HZ * start_ms // 1000 : len(samples) - RATE_HZ * end_ms // 1000]


COPIES = {
    "12 dB lower": lambda path, y: write_clip(path.with_suffix(".wav"), 0.25 * y, sr=RATE_HZ),
    "upside down": lambda path, y: write_clip(path.with_suffix(".wav"), -y, sr=RATE_HZ),
    "stereo": lambda path, y: write_clip(path.with_suffix(".wav"), np.stack([y, y], axis=1), sr=RATE_HZ),
    "FLAC": lambda path, y: write_clip(path.with_suffix(".flac"), y, sr=RATE_HZ),
    "MP3 of 128 kbit/s": lambda path, y: mp3(path.with_suffix(".mp3"), y, 128),
    "MP3 of 64 kbit/s": lambda path, y: mp3(path.with_suffix(".mp3"), y, 64),
    "at 22 050 Hz": lambda path, y: write_clip(path.with_suffix(".wav"), soxr.resample(y, RATE_HZ, 22050), sr=22050),
    "100 ms of silence in front": lambda path, y: write_clip(
        path.with_suffix(".wav"), np.concatenate([np.zeros(RATE_HZ // 10), y]), sr=RATE_HZ
    ),
    "quiet MP3 without its first 80 ms": lambda path, y: mp3(path.with_suffix(".mp3"), 0.25 * cut(y, start_ms=80), 128),
} | {
    f"without its {end} {milliseconds} ms": lambda path, y, end=end, milliseconds=milliseconds: write_clip(
        path.with_suffix(".wav"), cut(y, **{"start_ms" if end == "first" else "end_ms": milliseconds}), sr=RATE_HZ
    )
    for end in ("first", "last")
    for milliseconds in (5, 20, 80)
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_has_the_fingerprint_of_its_recording(name, tmp_path):
    y = spoken(1)
    original = write_clip(tmp_path / "original.wav", y, sr=RATE_HZ)
    copy = COPIES[name](tmp_path / "copy", y)
    assert fingerprint(read_clip(original)) @ fingerprint(read_clip(copy)) > COPY


def test_different_sounds_have_nothing_in_common(tmp_path):
    """Noise of one loudness curve, and tones of one length ten hertz apart."""
    sounds = [spoken(seed) for seed in range(12)] + [tone(300 + 10 * step, sr=RATE_HZ) for step in range(12)]
    prints = np.stack([fingerprint(read_clip(write_clip(tmp_path / "a.wav", sound, sr=RATE_HZ))) for sound in sounds])
    alike = prints @ prints.T - np.eye(len(sounds))
    assert alike[:12, :12].max() < 0.15  # 2401 values of chance
    assert alike.max() < 0.7


def test_a_fingerprint_has_length_1_and_silence_has_none(tmp_path):
    short = fingerprint(read_clip(write_clip(tmp_path / "short.wav", tone(440, seconds=0.15))))
    silent = fingerprint(read_clip(write_clip(tmp_path / "silent.wav", np.zeros(RATE_HZ))))
    assert (short.shape, short.dtype) == ((SIZE,), np.float32)
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-6)
    assert not silent.any()
    assert copied_pairs(np.stack([silent, silent, short])) == []


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_the_whole_file_counts_however_little_of_it_was_decoded(tmp_path, suffix):
    path = write_clip(tmp_path / f"a{suffix}", spoken(3, seconds=6), sr=RATE_HZ)
    whole, start = read_clip(path), read_clip(path, max_seconds=1)
    assert fingerprint(whole) == pytest.approx(fingerprint(start), abs=1e-6)  # blocks of other lengths are resampled
    other = write_clip(tmp_path / f"b{suffix}", np.concatenate([spoken(3, seconds=6)[:RATE_HZ], spoken(4, seconds=5)]), sr=RATE_HZ)
    assert fingerprint(start) @ fingerprint(read_clip(other, max_seconds=1)) < 0.5


def test_a_damaged_tail_is_left_out(tmp_path):
    path = write_clip(tmp_path / "a.flac", spoken(3, seconds=6), sr=RATE_HZ)
    data = bytearray(path.read_bytes())
    data[-2000:] = bytes(2000)
    path.write_bytes(data)
    clip = read_clip(path, max_seconds=2)
    assert np.linalg.norm(fingerprint(clip)) == pytest.approx(1, abs=1e-6)


def test_pairs_are_found_across_blocks_of_rows(rng):
    prints = rng.normal(size=(1200, 64))
    prints[700] = prints[3] + 0.1 * rng.normal(size=64)
    prints[1100] = prints[1000]
    prints = (prints / np.linalg.norm(prints, axis=1, keepdims=True)).astype(np.float32)
    assert copied_pairs(prints) == [(3, 700), (1000, 1100)]
    assert copied_pairs(np.empty((0, 64), np.float32)) == []


@pytest.mark.parametrize("name", ["speech-fluency", "piano-touch"])
def test_real_data_sets_hold_no_copies(name):
    """Sentences of one speaker, and one key struck at sixteen strengths."""
    paths = sorted(shared_set(name).glob("audios/*/*"))
    prints = np.stack([fingerprint(read_clip(path)) for path in paths])
    assert len(prints) > 450
    assert copied_pairs(prints) == []
