import numpy as np
import pytest
import soundfile

from core.data.audio import read_clip
from core.data.segments import cut, prune, segment_of
from core.errors import AudioError

RATE_HZ = 16000


def ramp(seconds, channels=1):
    """Samples that tell their own place: number n has the value n modulo 30000."""
    numbers = (np.arange(round(seconds * RATE_HZ)) % 30000).astype(np.int16)
    return np.repeat(numbers[:, None], channels, axis=1)


@pytest.fixture
def recording(tmp_path):
    def make(samples, name="long.wav", **options):
        soundfile.write(tmp_path / name, samples, RATE_HZ, **options)
        return tmp_path / name

    return make


def test_a_segment_has_the_samples_between_its_times(recording, tmp_path):
    """Segments overlap, touch, and one is longer than a block; all are cut in one pass."""
    samples = ramp(30, channels=2)
    path = recording(samples)
    spans = [(0.0, 1.0), (0.5, 20.25), (1.0, 1.5), (29.0, 30.0), (7.125, 7.5)]
    segments = [segment_of(path, *span, tmp_path / "cut") for span in spans]
    assert cut(segments, workers=0) == {}
    for segment, (start, end) in zip(segments, spans, strict=True):
        found, rate = soundfile.read(segment.path, dtype="int16", always_2d=True)
        assert rate == RATE_HZ
        assert np.array_equal(found, samples[round(start * RATE_HZ) : round(end * RATE_HZ)])


@pytest.mark.parametrize(
    ("format", "subtype"), [("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)]
)
def test_samples_are_those_that_decoding_the_whole_gives(recording, tmp_path, format, subtype):
    path = recording(0.5 * np.sin(np.arange(8 * RATE_HZ) / 20), f"long.{format.lower()}", subtype=subtype, format=format)
    segment = segment_of(path, 2.0, 3.5, tmp_path / "cut")
    assert cut([segment], workers=0) == {}
    whole = read_clip(path).samples[2 * RATE_HZ : round(3.5 * RATE_HZ)]
    assert np.allclose(read_clip(segment.path).samples, whole, rtol=0, atol=1e-6 if format == "MP3" else 0)


def test_what_is_cut_is_not_cut_again_until_the_recording_changes(recording, tmp_path):
    path = recording(ramp(4))
    segment = segment_of(path, 1, 2, tmp_path / "cut")
    cut([segment], workers=0)
    time_ns = segment.path.stat().st_mtime_ns
    cut([segment_of(path, 1, 2, tmp_path / "cut")], workers=0)
    assert segment.path.stat().st_mtime_ns == time_ns
    recording(ramp(5))
    assert segment_of(path, 1, 2, tmp_path / "cut").path != segment.path


def test_a_segment_behind_the_end_of_its_recording_is_named_and_costs_only_itself(recording, tmp_path):
    path = recording(ramp(4))
    good, rounded, late, later = (segment_of(path, *span, tmp_path / "cut") for span in ((0, 1), (3, 4.02), (3, 5), (7, 9)))
    failures = cut([late, good, later, rounded], workers=0)
    assert failures == {
        late.path: "it ends at 5 s, the recording lasts 4.00 s",
        later.path: "it ends at 9 s, the recording lasts 4.00 s",
    }
    assert soundfile.info(good.path).frames == soundfile.info(rounded.path).frames == RATE_HZ
    assert sorted(path.name for path in good.path.parent.glob("*.wav")) == sorted([good.path.name, rounded.path.name])


def test_a_recording_that_was_joined_of_two_is_cut_to_its_end(recording, tmp_path):
    first, second = (recording(0.3 * np.sin(np.arange(3 * RATE_HZ) / 20), f"{name}.mp3", format="MP3") for name in "ab")
    first.write_bytes(first.read_bytes() + second.read_bytes())
    segment = segment_of(first, 2.0, 5.0, tmp_path / "cut")
    assert cut([segment], workers=0) == {}
    assert soundfile.info(segment.path).duration == pytest.approx(3.0)


def test_a_recording_that_is_missing_or_no_audio_is_named(recording, tmp_path):
    with pytest.raises(AudioError, match="cannot be opened"):
        segment_of(tmp_path / "nowhere.wav", 0, 1, tmp_path / "cut")
    (tmp_path / "text.wav").write_text("no sound at all")
    good, bad = (segment_of(path, 0, 1, tmp_path / "cut") for path in (recording(ramp(2)), tmp_path / "text.wav"))
    failures = cut([good, bad], workers=0)
    assert set(failures) == {bad.path}
    assert "this is text" in failures[bad.path]
    assert good.path.is_file()


def test_segments_of_recordings_that_are_gone_or_changed_are_pruned_and_no_others(recording, tmp_path):
    whole = recording(ramp(1)).read_bytes()
    folder, segments = tmp_path / "segments", {}
    for name in ("kept", "gone", "changed", "unknown"):
        copied = tmp_path / f"{name}.wav"
        copied.write_bytes(whole)
        segments[name] = segment_of(copied, 0.1, 0.3, folder)
    assert cut(list(segments.values()), workers=0) == {}
    (tmp_path / "gone.wav").unlink()
    (tmp_path / "changed.wav").write_bytes(whole + bytes(2))
    (segments["unknown"].path.parent / ".recording.json").unlink()  # as an earlier version left it
    (tmp_path / "unknown.wav").unlink()
    sizes = sum(file.stat().st_size for name in ("gone", "changed") for file in segments[name].path.parent.iterdir())
    pruned = prune(folder)
    assert (pruned.recordings, pruned.among, pruned.bytes) == (2, 4, sizes)
    assert {name for name, segment in segments.items() if segment.path.is_file()} == {"kept", "unknown"}
    assert prune(folder).recordings == 0


def test_segments_of_an_earlier_version_are_known_once_they_are_asked_for(recording, tmp_path):
    path = recording(ramp(1))
    segment = segment_of(path, 0.1, 0.3, tmp_path / "segments")
    cut([segment], workers=0)
    (segment.path.parent / ".recording.json").unlink()
    cut([segment], workers=0)
    path.unlink()
    assert prune(tmp_path / "segments").recordings == 1
