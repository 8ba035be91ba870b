"""Files that hold more than their first header names, and how they differ from files that were cut."""

import io
import shutil
import struct
import subprocess
from contextlib import suppress

import numpy as np
import pytest
import soundfile

from core.data import ffmpeg
from core.data.audio import clip_warnings, read_clip
from core.errors import AudioError
from tests.conftest import tone

SR = 22050
FIRST, SECOND = tone(440, seconds=2.0), tone(1760, seconds=3.0)
JOINED = "2 recordings joined end to end: all are read"
OPEN = "its header leaves the length open"
FORMATS = [("WAV", None), ("FLAC", None), ("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS")]


def encode(samples, format="WAV", subtype=None, *, sr=SR, **options):
    file = io.BytesIO()
    soundfile.write(file, samples, sr, format=format, subtype=subtype, **options)
    return file.getvalue()


def rate_of(subtype):
    return 24000 if subtype == "OPUS" else SR


def joined_file(path, format, subtype, **options):
    sr = rate_of(subtype)
    halves = (tone(440, seconds=2.0, sr=sr), tone(1760, seconds=3.0, sr=sr))
    path.write_bytes(b"".join(encode(half, format, subtype, sr=sr, **options) for half in halves))
    return path


def pitch_hz(samples, sr):
    return np.abs(np.fft.rfft(samples * np.hanning(len(samples)))).argmax() * sr / len(samples)


def wav(named, *, samples=FIRST, riff=None, behind=b""):
    """A WAV whose header names so many bytes of sound, and so many of all chunks."""
    data = encode(samples)
    size = struct.pack("<I", named if riff is None else riff)
    return data[:4] + size + data[8:40] + struct.pack("<I", named) + data[44:] + behind


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_two_recordings_joined_end_to_end_are_read_to_the_end(tmp_path, format, subtype):
    clip = read_clip(joined_file(tmp_path / "clip", format, subtype))
    assert clip.duration_s == clip.seconds == 5.0
    sr = clip.sample_rate_hz
    assert abs(pitch_hz(clip.mono[: 2 * sr], sr) - 440) < 1
    assert abs(pitch_hz(clip.mono[2 * sr :], sr) - 1760) < 1
    assert clip_warnings(clip) == [JOINED]


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_each_part_of_a_joined_file_sounds_as_it_does_alone(tmp_path, format, subtype):
    sr = rate_of(subtype)
    (tmp_path / "alone").write_bytes(encode(tone(1760, seconds=3.0, sr=sr), format, subtype, sr=sr))
    joined = read_clip(joined_file(tmp_path / "clip", format, subtype))
    assert np.array_equal(joined.samples[2 * joined.sample_rate_hz :], read_clip(tmp_path / "alone").samples)


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_the_first_seconds_of_a_joined_file_may_end_in_any_of_its_parts(tmp_path, format, subtype):
    path = joined_file(tmp_path / "clip", format, subtype)
    whole = read_clip(path)
    for max_seconds in (1.0, 2.0, 2.5):
        clip = read_clip(path, max_seconds=max_seconds)
        assert (clip.seconds, clip.duration_s) == (max_seconds, 5.0)
        assert np.array_equal(clip.samples, whole.samples[: len(clip.samples)])


@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3"])
def test_a_joined_file_that_was_cut_in_its_last_part_is_refused(tmp_path, format):
    path = joined_file(tmp_path / "clip", format, None)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.7 * len(data))])
    with pytest.raises(AudioError, match="truncated"):
        read_clip(path)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3", "OGG"])
@pytest.mark.parametrize(("sr", "channels"), [(44100, 1), (SR, 2)])
def test_parts_of_different_rates_or_channels_are_refused_in_words(tmp_path, format, sr, channels):
    second = np.tile(tone(1760, sr=sr)[:, None], channels)
    (tmp_path / "clip").write_bytes(encode(FIRST, format) + encode(second, format, sr=sr))
    with pytest.raises(AudioError, match=f"22050 Hz with 1 channels, then {sr} Hz with {channels}"):
        read_clip(tmp_path / "clip")


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_mp3s_are_read_to_the_end_whether_or_not_they_name_their_length(tmp_path, mode):
    first, second = (encode(y, "MP3", bitrate_mode=mode, compression_level=0.5) for y in (FIRST, SECOND))
    bare = second[second.index(second[:2], 4) :]  # without the frame that names its length
    tag = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)
    for data in (first + tag + second, first + bare, bare + first, first + tag + bare):
        (tmp_path / "clip").write_bytes(data)
        clip = read_clip(tmp_path / "clip")
        assert clip.duration_s == pytest.approx(5.0, abs=0.12)  # the padding of the encoder is not known to be one
        assert clip.seconds == pytest.approx(clip.duration_s, abs=0.06)


def test_an_mp3_with_a_tag_at_its_end_is_one_recording(tmp_path):
    (tmp_path / "plain").write_bytes(encode(FIRST, "MP3"))
    (tmp_path / "tagged").write_bytes(encode(FIRST, "MP3") + b"APETAGEX" + bytes(5000) + b"TAG" + bytes(125))
    plain, tagged = read_clip(tmp_path / "plain"), read_clip(tmp_path / "tagged")
    assert tagged.warnings == ()
    assert np.array_equal(plain.samples, tagged.samples)


@pytest.mark.parametrize("named", [0, 0xFFFFFFFF, 0x7FFFF123, 0x80000000, 2_000_000_000])
@pytest.mark.parametrize("riff", [None, 36])
def test_a_length_that_was_never_filled_in_is_that_of_the_file(tmp_path, named, riff):
    (tmp_path / "clip").write_bytes(wav(named, riff=riff))
    (tmp_path / "whole").write_bytes(encode(FIRST))
    clip = read_clip(tmp_path / "clip")
    assert clip.duration_s == 2.0
    assert np.array_equal(clip.samples, read_clip(tmp_path / "whole").samples)
    assert clip_warnings(clip)[0].startswith(OPEN)


@pytest.mark.parametrize("named", [1_999_999_999, 2 * len(FIRST) + 20_000, 0x7FFFEFFF])
def test_a_length_that_was_filled_in_is_believed(tmp_path, named):
    (tmp_path / "clip").write_bytes(wav(named))
    with pytest.raises(AudioError, match=f"truncated: its header names {named} bytes of sound, {2 * len(FIRST)} are there"):
        read_clip(tmp_path / "clip")


def test_a_wav_of_no_samples_with_a_comment_behind_them_stays_one(tmp_path):
    data = encode(np.zeros(0))[:44] + b"LIST" + struct.pack("<I", 16) + b"INFOICMT" + struct.pack("<I", 4) + b"none"
    (tmp_path / "clip").write_bytes(data)
    with pytest.raises(AudioError, match="no samples"):
        read_clip(tmp_path / "clip")


def test_streams_that_were_joined_are_read_without_their_headers(tmp_path):
    (tmp_path / "clip").write_bytes(wav(0xFFFFFFFF) + wav(0xFFFFFFFF, samples=SECOND))
    clip = read_clip(tmp_path / "clip")
    assert np.allclose(clip.mono, np.concatenate([FIRST, SECOND]), atol=2**-15)
    assert clip.warnings[0] == JOINED


@pytest.mark.parametrize("pad", [b"", b"\0"])
def test_a_wav_of_an_odd_number_of_bytes_may_be_joined_with_or_without_padding(tmp_path, pad):
    odd = encode(FIRST[:44099], subtype="PCM_U8")[: 44 + 44099]
    (tmp_path / "clip").write_bytes(odd + pad + encode(SECOND, subtype="PCM_U8"))
    assert read_clip(tmp_path / "clip").duration_s == pytest.approx(5.0, abs=1e-4)


def test_bytes_behind_the_sound_that_are_no_tag_are_told(tmp_path, rng):
    (tmp_path / "clip").write_bytes(wav(2 * 30000, riff=60036))
    assert read_clip(tmp_path / "clip").warnings == (
        f"{2 * (44100 - 30000)} bytes behind the sound that its header names are not read",
    )


@pytest.mark.parametrize("format", ["RF64", "AIFF", "CAF", "W64", "AU"])
def test_siblings_of_wav_with_an_open_length_are_read_to_the_end(tmp_path, format):
    data = encode(FIRST, format)
    size = 2 * len(FIRST)
    head = bytearray(data[: len(data) - size])
    places = {
        "RF64": [(head.find(b"ds64") + 16, "<Q", 0)],
        "AIFF": [(head.find(b"SSND") + 4, ">I", 0), (head.find(b"COMM") + 10, ">I", 0)],
        "CAF": [(head.find(b"data") + 4, ">q", -1)],
        "W64": [(head.rfind(b"data") + 16, "<Q", 24)],
        "AU": [(8, ">I", 0xFFFFFFFF)],
    }[format]
    for place, layout, value in places:
        struct.pack_into(layout, head, place, value)
    (tmp_path / "clip").write_bytes(bytes(head) + data[-size:])
    clip = read_clip(tmp_path / "clip")
    assert clip.duration_s == 2.0
    assert np.allclose(clip.mono, FIRST, atol=2**-15)
    assert clip.warnings[0].startswith(OPEN)


def without_length(data):
    """A FLAC as an encoder writes it that cannot go back to its header."""
    fields = int.from_bytes(data[18:26], "big") >> 36 << 36
    return data[:18] + fields.to_bytes(8, "big") + data[26:]


@pytest.mark.parametrize("seconds", [0.2, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_flac_without_its_number_of_samples_reads_as_with_it(tmp_path, rng, seconds, channels):
    data = encode(0.3 * rng.uniform(-1, 1, (round(seconds * SR), channels)), "FLAC")
    (tmp_path / "with").write_bytes(data)
    (tmp_path / "without").write_bytes(without_length(data))
    expected, clip = read_clip(tmp_path / "with"), read_clip(tmp_path / "without")
    assert clip.duration_s == expected.duration_s
    assert np.array_equal(clip.samples, expected.samples)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_flac_without_its_number_of_samples_that_was_cut_is_refused(tmp_path, rng, share):
    data = without_length(encode(0.3 * rng.uniform(-1, 1, 3 * SR), "FLAC"))
    (tmp_path / "clip").write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        AudioError, match="truncated or damaged: its header leaves the length open, and its last frame is not whole"
    ):
        read_clip(tmp_path / "clip")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("format", ["flac", "wav", "ogg", "mp3", "au", "caf", "w64"])
def test_what_ffmpeg_writes_to_a_pipe_is_read_whole(tmp_path, format):
    command = ["ffmpeg", "-v", "error", "-f", "wav", "-i", "pipe:0", "-f", format, "pipe:1"]
    done = subprocess.run(command, input=encode(FIRST), capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"ffmpeg writes no {format} to a pipe: {done.stderr.decode()}")
    (tmp_path / "clip").write_bytes(done.stdout)
    assert read_clip(tmp_path / "clip").duration_s == pytest.approx(2.0, abs=0.11)  # MP3 does not tell its padding there


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_was_cut_is_read_as_far_as_it_goes_with_a_warning(tmp_path, rng, subtype):
    sr = rate_of(subtype)
    data = encode(0.3 * rng.uniform(-1, 1, 8 * sr), "OGG", subtype, sr=sr)
    (tmp_path / "whole").write_bytes(data)
    (tmp_path / "cut").write_bytes(data[: int(0.7 * len(data))])
    assert read_clip(tmp_path / "whole").warnings == ()
    assert read_clip(tmp_path / "cut").warnings == ("no last page ends its Ogg stream: the recording may have been cut",)


def ogg_of_flac(data):
    """A FLAC stream in Ogg by the mapping: the first packet holds the header, each frame could be one; checksums are not read."""
    frames = [data[start : start + 4000] for start in range(42, len(data), 4000)]  # how packets are cut is not looked at
    packets = [b"\x7fFLAC\x01\x00" + struct.pack(">H", 1) + data[:42], *frames]
    pages = []
    for number, packet in enumerate(packets):
        lacing = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
        flags = 2 if number == 0 else 4 if number == len(packets) - 1 else 0
        pages.append(
            b"OggS\0" + struct.pack("<BqIIIB", flags, 0 if number == 0 else 1, 7, number, 0, len(lacing)) + lacing + packet
        )
    return b"".join(pages)


@pytest.mark.parametrize("prepare", [bytes, without_length], ids=["named", "open"])
def test_flac_in_ogg_is_the_flac_inside(tmp_path, prepare):
    data = encode(FIRST, "FLAC")
    (tmp_path / "plain").write_bytes(data)
    (tmp_path / "ogg").write_bytes(ogg_of_flac(prepare(data)))
    plain, inside = read_clip(tmp_path / "plain"), read_clip(tmp_path / "ogg")
    assert np.array_equal(plain.samples, inside.samples)
    assert (inside.duration_s, inside.warnings) == (2.0, ())
    whole = (tmp_path / "ogg").read_bytes()
    (tmp_path / "ogg").write_bytes(2 * whole)
    assert read_clip(tmp_path / "ogg").duration_s == 4.0
    (tmp_path / "ogg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match="truncated"):
        read_clip(tmp_path / "ogg")
    (tmp_path / "ogg").write_bytes(whole + b"OggS" + bytes(16))  # a page that has hardly begun
    assert read_clip(tmp_path / "ogg").duration_s == 2.0


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_inside_a_wav_loses_its_delay_like_a_plain_one(tmp_path, mode):
    mp3 = encode(FIRST, "MP3", bitrate_mode=mode, compression_level=0.5)
    layout = struct.pack("<HHIIHHHHIHHH", 0x55, 1, SR, 8000, 1, 0, 12, 1, 2, 418, 1, 1393)
    chunks = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", len(mp3)) + mp3
    chunks += b"\0" * (len(mp3) % 2)
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    (tmp_path / "a.mp3").write_bytes(mp3)
    inside, plain = read_clip(tmp_path / "a.wav"), read_clip(tmp_path / "a.mp3")
    assert inside.duration_s == plain.duration_s == 2.0
    assert np.array_equal(inside.samples, plain.samples)
    assert inside.warnings == ()


@pytest.mark.parametrize("format", ["WAV", "RF64", "AIFF", "CAF", "W64", "AU", "NIST", "FLAC", "OGG", "MP3"])
def test_whatever_a_byte_of_a_header_says_a_file_is_read_or_refused_in_words(tmp_path, format, monkeypatch):
    monkeypatch.setattr(ffmpeg, "programs", lambda: None)  # it would start for each
    whole = bytearray(encode(FIRST[:4096], format))
    read = 0
    for place in range(96):
        for value in (0, 0x80, 0xFF):
            (tmp_path / "clip").write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            with suppress(AudioError):
                read += read_clip(tmp_path / "clip").duration_s > 0
    assert read > 0
