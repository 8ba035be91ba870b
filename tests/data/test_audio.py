import os
import struct

import numpy as np
import pytest
import soundfile

from core.data import mpeg
from core.data.audio import clip_deadline_s, clip_warnings, mean_seconds, read_clip, to_analysis_rate
from core.errors import AudioError
from tests.conftest import tone, write_clip


@pytest.mark.parametrize(
    ("name", "format", "subtype"),
    [("a.wav", "WAV", "PCM_16"), ("a.flac", "FLAC", "PCM_16"), ("a.ogg", "OGG", "VORBIS"), ("a.mp3", "MP3", "MPEG_LAYER_III")],
)
def test_every_format_is_read_by_content_under_any_name(tmp_path, name, format, subtype):
    for spelled in (name, "clip", "clip.txt", "clip.flac"):
        clip = read_clip(write_clip(tmp_path / spelled, tone(440), format=format, subtype=subtype))
        spectrum = np.abs(np.fft.rfft(clip.mono))
        assert clip.sample_rate_hz == 22050
        assert abs(spectrum.argmax() * 22050 / len(clip.mono) - 440) < 1
        assert clip.duration_s == pytest.approx(1.0, abs=0.1)  # MP3 and Vorbis pad to whole blocks


def test_sixteen_bit_samples_are_exact(tmp_path):
    samples = np.array([0, 1, -1, 32767, -32768] * 1000, np.int16)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 16000, subtype="PCM_16")
    assert np.array_equal(read_clip(path).mono, samples / np.float32(32768))


def test_mono_is_the_mean_of_the_channels(tmp_path, rng):
    samples = rng.uniform(-0.5, 0.5, size=(4000, 2)).astype(np.float32)
    clip = read_clip(write_clip(tmp_path / "a.wav", samples, sr=48000, subtype="FLOAT"))
    assert np.allclose(clip.mono, samples.mean(axis=1), atol=1e-7)  # float32 rounding
    swapped = read_clip(write_clip(tmp_path / "b.wav", samples[:, ::-1], sr=48000, subtype="FLOAT"))
    assert np.array_equal(clip.mono, swapped.mono)


def test_only_the_first_seconds_are_decoded_but_the_whole_length_is_known(tmp_path):
    clip = read_clip(write_clip(tmp_path / "a.wav", tone(440, seconds=3)), max_seconds=1)
    assert clip.seconds == 1
    assert clip.duration_s == 3


def test_a_tone_resampled_is_the_tone_made_at_the_new_rate():
    y = to_analysis_rate(tone(440, sr=16000).astype(np.float32), 16000)
    assert len(y) == 22050
    inner = slice(500, -500)  # the filter rings at the edges
    assert np.allclose(y[inner], tone(440)[inner], atol=1e-4)


def write_bytes(path, data):
    path.write_bytes(data)
    return path


def wav_bytes(tmp_path, **options):
    return write_clip(tmp_path / "whole.wav", tone(440), **options).read_bytes()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: p / "nowhere.wav", "no such file"),
        (lambda p: p / "zero\0byte.wav", "not a file name"),
        (lambda p: p, "this is a folder"),
        (lambda p: write_bytes(p / "a.wav", b""), "the file is empty"),
        (lambda p: write_bytes(p / "a.wav", b"hello, this is text"), "not audio"),
        (lambda p: write_bytes(p / "a.mp3", b"hello, this is text, and a lot of it. " * 500), "not audio"),
        (lambda p: write_bytes(p / "a.wav", wav_bytes(p)[:44]), "no samples|truncated"),
        (lambda p: write_bytes(p / "a.wav", wav_bytes(p)[:20]), "not audio"),
        (lambda p: write_clip(p / "a.wav", np.zeros(0)), "no samples"),
        (lambda p: write_clip(p / "a.wav", np.array([0.5])), "too short: 1 samples, at least 2048"),
        (lambda p: write_clip(p / "a.wav", np.zeros(2047)), "too short: 2047 samples"),
        (lambda p: write_bytes(p / "a.wav", wav_bytes(p)[:20000]), "truncated"),
        (lambda p: write_clip(p / "a.wav", np.r_[tone(440), np.nan, np.inf], subtype="FLOAT"), "2 of 22052 samples are not finite"),
        (lambda p: write_clip(p / "a.wav", 1e20 * tone(440), subtype="FLOAT"), r"reach 5\.0e\+19 times full scale"),
        (lambda p: os.mkfifo(p / "a.wav") or p / "a.wav", "a pipe or a device"),
        (lambda p: os.symlink("/dev/zero", p / "a.wav") or p / "a.wav", "a pipe or a device"),
        (lambda p: write_clip(p / "a.voc", tone(440, sr=44100), sr=44100, format="VOC"), "this is VOC"),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(tmp_path, make, reason):
    with pytest.raises(AudioError, match=reason):
        read_clip(make(tmp_path))


def test_2048_samples_are_enough(tmp_path):
    assert len(read_clip(write_clip(tmp_path / "a.wav", np.zeros(2048))).mono) == 2048


@pytest.mark.parametrize("share", [0.2, 0.5, 0.85])
@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_a_truncated_file_is_found_even_when_the_analysed_part_is_whole(tmp_path, rng, format, share):
    whole = write_clip(tmp_path / "whole", 0.5 * rng.uniform(-1, 1, 66150), format=format, subtype="PCM_16").read_bytes()
    path = write_bytes(tmp_path / "cut", whole[: int(share * len(whole))])
    with pytest.raises(AudioError, match="truncated"):
        read_clip(path, max_seconds=0.3)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3"])
def test_a_file_that_lacks_a_last_few_samples_is_kept(tmp_path, rng, format):
    data = write_clip(tmp_path / "whole", 0.3 * rng.uniform(-1, 1, 220500), format=format).read_bytes()
    clip = read_clip(write_bytes(tmp_path / "cut", data[: int(0.96 * len(data))]))
    assert 0.91 < clip.seconds / 10 < 0.97  # FLAC and MP3 lose the block that is cut


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFF000])
def test_a_header_written_by_a_stream_leaves_the_length_open(tmp_path, length):
    data = bytearray(wav_bytes(tmp_path))
    assert data[36:40] == b"data"
    data[40:44] = struct.pack("<I", length)
    assert read_clip(write_bytes(tmp_path / "a.wav", bytes(data))).seconds == 1


def test_eight_bit_and_many_channels_are_read(tmp_path):
    for subtype, channels in (("PCM_U8", 1), ("PCM_24", 2), ("PCM_32", 5), ("DOUBLE", 1)):
        samples = np.tile(tone(440)[:, None], (1, channels))
        clip = read_clip(write_clip(tmp_path / f"{subtype}.wav", samples, subtype=subtype))
        assert np.allclose(clip.mono, tone(440), atol=2 / 128)  # one step of eight bits, and dither


def test_warnings_name_what_is_odd(tmp_path):
    silent = read_clip(write_clip(tmp_path / "a.wav", np.zeros(22050)))
    assert clip_warnings(silent) == ["silent: no sample is louder than -80 dBFS"]
    clipped = read_clip(write_clip(tmp_path / "b.wav", np.clip(tone(440, amplitude=3), -1, 1)))
    assert "clipped" in clip_warnings(clipped)[0]
    fine = read_clip(write_clip(tmp_path / "c.wav", tone(440)))
    assert clip_warnings(fine) == []
    assert "longer than 0.5 s" in clip_warnings(fine, max_seconds=0.5)[0]


@pytest.mark.parametrize(
    ("format", "subtype", "channels", "expected_s"),
    [("WAV", "PCM_16", 1, 13.0), ("WAV", "FLOAT", 2, 13.0), ("FLAC", "PCM_16", 1, 13.0), ("OGG", "VORBIS", 1, None)],
)
def test_a_clip_may_take_ten_seconds_and_its_length(tmp_path, rng, format, subtype, channels, expected_s):
    """Hashing adds next to nothing for so small a file; a compressed one may be longer than it is, never shorter."""
    path = write_clip(tmp_path / "x", 0.1 * rng.normal(size=(66150, channels)), format=format, subtype=subtype)
    deadline_s = clip_deadline_s(path)
    if expected_s is None:
        assert 13.0 <= deadline_s <= 10 + 45.1
    else:
        assert deadline_s == pytest.approx(expected_s, abs=0.1)
    assert clip_deadline_s(path, max_seconds=2.0) == pytest.approx(12.0, abs=0.1)


def test_a_file_that_cannot_be_opened_has_a_deadline_too(tmp_path):
    assert clip_deadline_s(tmp_path / "nowhere.wav") == 10.0
    assert clip_deadline_s(tmp_path) == 10.0


@pytest.mark.parametrize("sr", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("mode", ["VARIABLE", "AVERAGE", "CONSTANT"])
def test_an_mp3_without_its_length_is_heard_to_its_end(tmp_path, rng, sr, channels, mode):
    """Its first frame, which holds the number of the others, is cut off; a frame at the end fills up with silence."""
    noise = 0.05 * rng.normal(size=(3 * sr, channels))
    noise[: sr // 2] *= 0.001  # a quiet start has a low bit rate, from which a decoder would guess too long or too short
    path = tmp_path / "x.mp3"
    soundfile.write(path, noise, sr, format="MP3", bitrate_mode=mode, compression_level=0.5)
    whole = read_clip(path)
    assert whole.duration_s == pytest.approx(3.0, abs=0.001)
    data = path.read_bytes()
    start = data.index(data[:2], 4)  # the second frame begins with the same two bytes
    path.write_bytes(data[start:])
    cut = read_clip(path)
    frame_s = (1152 if sr > 24000 else 576) / sr
    assert 3.0 <= cut.duration_s <= 3.0 + 3 * frame_s
    assert len(cut.samples) == round(cut.duration_s * sr)
    loud = np.abs(cut.samples[-sr:]).mean() / np.abs(whole.samples[-sr:]).mean()
    assert loud == pytest.approx(1.0, abs=0.1)
    assert read_clip(path, max_seconds=1.0).duration_s == cut.duration_s


TAG = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)


def without_its_length(path, rng, mode):
    """An MP3 of noise without its first frame, and where its other frames begin."""
    soundfile.write(path, 0.05 * rng.normal(size=6 * 22050), 22050, format="MP3", bitrate_mode=mode, compression_level=0.5)
    data = path.read_bytes()
    data = data[data.index(data[:2], 4) :]
    starts, position = [], 0
    while position < len(data):
        starts.append(position)
        position += mpeg._read_frame(data[position : position + 4]).bytes
    return data, starts


@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
def test_an_mp3_behind_a_tag_is_heard_to_its_end(tmp_path, rng, mode):
    data, starts = without_its_length(tmp_path / "x.mp3", rng, mode)
    (tmp_path / "x.mp3").write_bytes(TAG + data)
    assert read_clip(tmp_path / "x.mp3").duration_s == pytest.approx(
        len(starts) * 576 / 22050, abs=0.06
    )  # a decoder may leave out its own delay


@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
@pytest.mark.parametrize("between", [TAG, b"xyz", b"APETAGEX" + bytes(500)], ids=["tag", "bytes", "ape"])
def test_what_stands_between_frames_does_not_end_an_mp3(tmp_path, rng, between, mode):
    data, starts = without_its_length(tmp_path / "x.mp3", rng, mode)
    middle = starts[len(starts) // 3]
    (tmp_path / "x.mp3").write_bytes(data[:middle] + between + data[middle:])
    clip = read_clip(tmp_path / "x.mp3")
    assert clip.duration_s == pytest.approx(len(starts) * 576 / 22050, abs=0.06)  # a frame or two beside the break may be lost
    assert clip.seconds == pytest.approx(clip.duration_s, abs=0.06)


def test_a_damaged_header_of_a_frame_does_not_end_an_mp3(tmp_path, rng):
    data, starts = without_its_length(tmp_path / "x.mp3", rng, "CONSTANT")
    damaged = bytearray(data)
    damaged[starts[len(starts) // 2] + 1] = 0
    (tmp_path / "x.mp3").write_bytes(damaged)
    assert read_clip(tmp_path / "x.mp3").duration_s == pytest.approx(len(starts) * 576 / 22050, abs=0.06)


def test_the_mean_length_counts_readable_clips_up_to_what_is_analysed(tmp_path):
    paths = [write_clip(tmp_path / f"{number}.wav", tone(440, seconds=seconds)) for number, seconds in enumerate((0.5, 1.5))]
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    paths.append(tmp_path / "broken.wav")
    assert mean_seconds(paths) == pytest.approx(1.0)
    assert mean_seconds(paths, max_seconds=1.0) == pytest.approx(0.75)
    assert mean_seconds(paths, sample=1) == pytest.approx(0.5)  # the first alone
    assert mean_seconds(paths[2:]) == mean_seconds([]) == 0.0
