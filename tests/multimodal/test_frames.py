import os
import time

import numpy as np
import pytest

from core.data.treatment import AS_RECORDED, Treatment
from core.errors import DataError
from core.events import BatchHalved, ClipExtracted, ClipSetAside, ExtractionStarted
from core.extraction.machine import Production
from core.multimodal import frames
from core.multimodal.frames import bytes_of, encode_clips, read_frames
from core.runtime.device import CPU
from core.runtime.weights import find
from core.workspace import Workspace
from tests.conftest import write_clip
from tests.tiny_models import voice

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return [
        write_clip(folder / f"{seed}.wav", voice(seconds, seed=seed), sr=16000, subtype="FLOAT")
        for seed, seconds in enumerate((1.0, 24.0, 10.0))
    ]


def hear(clips, folder, workspace, **options):
    told = []
    how = Production(CPU, options.pop("max_seconds", 45.0), workers=0, batch=options.pop("batch", None))
    return encode_clips(clips, find(str(folder)), Workspace(workspace), how, notify=told.append, **options), told


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm", "whisper"])
def test_frames_are_those_of_the_model_in_order_of_time_each_moment_once(clips, folders, tmp_path, kind):
    from core.data.audio import read_clip
    from core.encoders.pretrained import Extractor, prepare_clip

    heard, _ = hear(clips, folders[kind], tmp_path, layer=1)
    checkpoint = find(str(folders[kind]))
    for clip, seconds in zip(clips, (1.0, 24.0, 10.0), strict=True):
        array = read_frames(heard.files[clip])
        assert array.dtype == np.float16
        assert array.shape[1] == 16
        assert len(array) == pytest.approx(50 * seconds, abs=2)
        y = prepare_clip(read_clip(clip, max_seconds=45.0), checkpoint)
        start, end = (0, 160_000) if kind != "whisper" else (0, 480_000)
        extractor = Extractor(checkpoint, device="cpu")
        [expected] = extractor.frames([y[start:end]], layer=1)
        np.testing.assert_allclose(array[: len(expected)], expected, rtol=1e-3, atol=1e-3)  # half precision
        if kind != "whisper" and len(y) > 160_000:  # the last window is the clip's last ten seconds
            [last] = extractor.frames([y[-160_000:]], layer=1)
            np.testing.assert_allclose(array[-199:], last[-199:], rtol=1e-3, atol=1e-3)


def test_what_was_heard_once_is_read_from_the_disk(clips, folders, tmp_path):
    first, told = hear(clips, folders["wav2vec2"], tmp_path)
    assert told[0] == ExtractionStarted(clips=3, cached=0, to_do=3)
    assert sorted(event.file for event in told if isinstance(event, ClipExtracted)) == ["0.wav", "1.wav", "2.wav"]
    assert {path.parent for path in first.files.values()} == {tmp_path / "cache"}
    again, told = hear(clips, folders["wav2vec2"], tmp_path)
    assert told == [ExtractionStarted(clips=3, cached=3, to_do=0)]
    assert again.files == first.files
    other, told = hear(clips, folders["wav2vec2"], tmp_path, layer=1)
    assert told[0] == ExtractionStarted(clips=3, cached=0, to_do=3)
    assert not set(other.files.values()) & set(first.files.values())


def test_a_torn_file_is_made_anew(clips, folders, tmp_path):
    first, _ = hear(clips, folders["wav2vec2"], tmp_path)
    path = first.files[clips[1]]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        read_frames(path)
    _, told = hear(clips, folders["wav2vec2"], tmp_path)
    assert told[0] == ExtractionStarted(clips=3, cached=2, to_do=1)
    assert path.read_bytes() == whole


def test_a_byte_that_flipped_is_noticed_and_the_clip_heard_again(clips, folders, tmp_path):
    first, _ = hear(clips, folders["wav2vec2"], tmp_path)
    path = first.files[clips[0]]
    whole = path.read_bytes()
    for place in (8, 20, 60, 1000, len(whole) - 20, len(whole) - 1):  # of the header, the numbers, the hash
        flipped = bytearray(whole)
        flipped[place] ^= 0x15
        path.write_bytes(flipped)
        assert not frames.is_whole(path), place
    _, told = hear(clips, folders["wav2vec2"], tmp_path)
    assert told[0] == ExtractionStarted(clips=3, cached=2, to_do=1)
    assert path.read_bytes() == whole


def test_a_header_that_cannot_be_read_is_a_damaged_file_like_any_other(tmp_path, rng):
    path = tmp_path / "audio_x.npy"
    frames.write_frames(path, rng.normal(size=(30, 4)).astype(np.float16))
    whole = path.read_bytes()
    assert frames.is_whole(path)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, 128, size=2):
            damaged[place] = rng.integers(0, 256)
        path.write_bytes(damaged)
        assert frames.is_whole(path) in (True, False)  # and never an error of another kind


def test_what_a_killed_writer_left_is_known_after_an_hour(tmp_path):
    for name, age_s in ((".audio_a.npy.x1", 7200), (".audio_b.npy.x2", 60), ("audio_c.npy", 7200)):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    assert [path.name for path in frames.torn_frames(tmp_path)] == [".audio_a.npy.x1"]


def test_waveforms_are_kept_for_encoders_that_are_trained(clips, folders, tmp_path):
    heard, _ = hear(clips, folders["wav2vec2"], tmp_path, encode=False)
    y = read_frames(heard.files[clips[0]])
    assert y.shape == (16_000,)
    assert y.dtype == np.float32
    assert float(y.mean()) == pytest.approx(0, abs=1e-6)
    assert float(y.std()) == pytest.approx(1, abs=1e-3)  # as the checkpoint was trained


def test_a_clip_that_cannot_be_read_is_named_with_its_reason(clips, folders, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_text("this is no sound")
    heard, told = hear([clips[0], bad, tmp_path / "gone.wav"], folders["hubert"], tmp_path / "ws")
    assert set(heard.files) == {clips[0]}
    assert set(heard.failures) == {bad, tmp_path / "gone.wav"}
    assert {event.file for event in told if isinstance(event, ClipSetAside)} == {"bad.wav", "gone.wav"}
    assert heard.computed == 1


def test_a_disk_without_room_is_refused_before_any_work(clips, folders, tmp_path, monkeypatch):
    monkeypatch.setattr(frames.shutil, "disk_usage", lambda home: type("Usage", (), {"free": 1 << 20})())
    with pytest.raises(DataError, match=r"what is heard takes 0\.0 GB, and 0\.0 GB are free; make room"):
        hear(clips, folders["wav2vec2"], tmp_path)
    assert not list(tmp_path.rglob("audio_*.npy"))


def test_room_is_reckoned_from_frames_and_their_width(folders):
    checkpoint = find(str(folders["wav2vec2"]))
    assert bytes_of(600.0, checkpoint, encode=True) == 10 * 60 * 50 * 16 * 2
    assert bytes_of(600.0, checkpoint, encode=False) == 10 * 60 * 16_000 * 4


def test_room_is_asked_for_what_is_there_and_not_for_what_might_be(clips, folders, tmp_path, monkeypatch):
    free = (1 << 28) + bytes_of(40.0, find(str(folders["wav2vec2"])), encode=True)  # of clips of 35 s in all
    monkeypatch.setattr(frames.shutil, "disk_usage", lambda home: type("Usage", (), {"free": free})())
    heard, _ = hear(clips, folders["wav2vec2"], tmp_path, max_seconds=3600.0)
    assert len(heard.files) == 3


def test_where_memory_runs_out_fewer_windows_are_heard_at_once(clips, folders, tmp_path, monkeypatch):
    from core.encoders.pretrained import Extractor

    expected, _ = hear(clips, folders["wav2vec2"], tmp_path / "a")
    whole = Extractor._states

    def small(self, items, windows):
        if len(windows) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return whole(self, items, windows)

    monkeypatch.setattr(Extractor, "_states", small)
    heard, told = hear(clips, folders["wav2vec2"], tmp_path / "b")
    assert BatchHalved(str(folders["wav2vec2"]), 1) in told
    for clip in clips:
        np.testing.assert_allclose(read_frames(heard.files[clip]), read_frames(expected.files[clip]), atol=2e-3)


def test_an_interrupted_hearing_keeps_every_clip_that_it_reported(clips, folders, tmp_path):
    kept = []

    def stop_after_one(event):
        if isinstance(event, ClipExtracted):
            kept.append(event.file)
            raise KeyboardInterrupt

    how = Production(CPU, 45.0, workers=0, batch=1)
    with pytest.raises(KeyboardInterrupt):
        encode_clips(clips, find(str(folders["wav2vec2"])), Workspace(tmp_path), how, notify=stop_after_one)
    _, told = hear(clips, folders["wav2vec2"], tmp_path)
    assert told[0].cached >= len(kept) == 1
    assert {event.file for event in told if isinstance(event, ClipExtracted)}.isdisjoint(kept)


def test_two_clips_of_one_content_share_a_file(clips, folders, tmp_path):
    twin = tmp_path / "twin.wav"
    twin.write_bytes(clips[0].read_bytes())
    heard, told = hear([clips[0], twin], folders["wav2vec2"], tmp_path / "w")
    assert heard.files[twin] == heard.files[clips[0]]
    assert heard.computed == 2
    assert len(list((tmp_path / "w").rglob("audio_*.npy"))) == 1
    assert sorted(event.file for event in told if isinstance(event, ClipExtracted)) == ["0.wav", "twin.wav"]


def test_frames_that_are_not_finite_are_refused_and_not_written(clips, folders, tmp_path, monkeypatch):
    from core.encoders.pretrained import Extractor

    monkeypatch.setattr(Extractor, "frames", lambda self, items, layer: [np.full((3, 2), 1e6, np.float32) for _ in items])
    heard, _ = hear(clips[:1], folders["wav2vec2"], tmp_path)  # more than half precision holds
    assert heard.failures == {clips[0]: "the encoder says what is not finite of it"}
    assert not list(tmp_path.rglob("audio_*.npy"))


def test_frames_of_a_channel_are_those_of_a_file_of_that_channel_alone(clips, folders, tmp_path):
    y = voice(1.0, seed=0)
    both = write_clip(tmp_path / "both.wav", np.column_stack([np.zeros_like(y), y]), sr=16000, subtype="FLOAT")
    checkpoint, workspace = find(str(folders["wav2vec2"])), Workspace(tmp_path / "ws")

    def frames_of(path, treatment):
        how = Production(CPU, 45.0, workers=0, treatment=treatment)
        return encode_clips([path], checkpoint, workspace, how)

    alone = read_frames(frames_of(clips[0], AS_RECORDED).files[clips[0]])
    right = frames_of(both, Treatment("right"))
    assert np.array_equal(read_frames(right.files[both]), alone)
    assert right.files[both] != frames_of(both, AS_RECORDED).files[both]
    slowed = frames_of(clips[0], Treatment(slow_down=2))
    assert len(read_frames(slowed.files[clips[0]])) == pytest.approx(2 * len(alone), abs=2)
    assert frames_of(both, Treatment("3")).failures == {
        both: "has 2 channels, so there is no channel 3; choose another with --channel"
    }
