"""A file that libsndfile cannot read in, its samples out, by the program ``ffmpeg``. Samples are float32, time is in seconds.

The program runs as a process of its own: without standard input, with the one file as all it may open, as the one format that the
content of the file shows, so that no file can pass for a playlist that names others.
"""

import json
import math
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from core.data.headers import WHOLE_SHARE
from core.data.parts import Damage, Decoded, find_all, read_at

_SAFE = ("-nostdin", "-hide_banner", "-v", "error", "-max_alloc", str(1 << 29), "-protocol_whitelist", "file,pipe")
_FIELDS = "stream=codec_type,duration:stream_tags=DURATION:format=duration"
_LENGTH_GUESSED = ("aac", "ac3", "amr", "loas", "mpeg")  # from the bit rate and the size of the file
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 20
_PROBE_S = 10.0
_AU_HEAD = np.dtype([("magic", "S4"), ("start", ">u4"), ("size", ">u4"), ("code", ">u4"), ("rate", ">u4"), ("channels", ">u4")])


class Missing(Exception):
    """``ffmpeg`` or ``ffprobe`` is not on the path."""


@dataclass(frozen=True, slots=True)
class _Facts:
    seconds: float | None
    audio_streams: int
    has_video: bool


def programs() -> tuple[str, str] | None:
    """Where ``ffmpeg`` and ``ffprobe`` are; None where one of them is not on the path."""
    found = shutil.which("ffmpeg"), shutil.which("ffprobe")
    return (found[0], found[1]) if found[0] and found[1] else None


def version() -> str | None:
    """Version of ``ffmpeg``; None where it is not on the path, or does not start."""
    found = programs()
    if found is None:
        return None
    done = subprocess.run([found[0], "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return words[2] if words[:2] == ["ffmpeg", "version"] else None


def install_command() -> str:
    """What installs ``ffmpeg`` on a system of this kind."""
    return {"darwin": "brew install ffmpeg", "win32": "winget install ffmpeg"}.get(sys.platform, "sudo apt install ffmpeg")


def seconds(path: Path, demuxer: str) -> float | None:
    """How long a file lasts, as its header says; None where it says nothing, or where the programs are missing."""
    try:
        return _probe(path, demuxer, _PROBE_S).seconds
    except (Missing, Damage):
        return None


def decode(path: Path, demuxer: str, *, max_seconds: float, limit_s: float) -> Decoded:
    """Decode a file: the first ``max_seconds`` are kept, the rest is counted.

    Parameters
    ----------
    path : Path
    demuxer : str, the format by its name in ffmpeg
    max_seconds : float > 0
    limit_s : float > 0, that both programs together may take

    Raises
    ------
    Missing
    Damage
        There is no sound in it, the program cannot read it or takes too long, reads only the first of several recordings in it, or
        less than 90 % of the length that its header names can be decoded.
    """
    facts = _probe(path, demuxer, limit_s / 3)
    if facts.audio_streams == 0:
        raise Damage("a video without sound" if facts.has_video else "there is no sound in it")
    if _is_joined(path, demuxer):
        raise Damage("recordings joined end to end, of which ffmpeg reads only the first; cut them apart")
    output = ("-timelimit", str(math.ceil(limit_s)), "-threads", "1", "-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1")
    with tempfile.TemporaryFile() as said:
        command = _command(0, path, demuxer, output)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as process:
            assert process.stdout is not None
            timer = threading.Timer(2 * limit_s / 3, process.kill)
            timer.start()
            try:
                samples, rate, frames = _read_au(process.stdout, max_seconds)
                code = process.wait()
            finally:
                is_late = timer.finished.is_set()
                timer.cancel()
                process.kill()  # nothing where it has ended
        if is_late:
            raise Damage(f"ffmpeg was still reading it after {2 * limit_s / 3:.0f} s")
        said.seek(0)
        complaint = _plain(said.read(_BLOCK_BYTES), path)
    return Decoded(samples, rate, frames, _judge(facts, frames, rate, complaint, code))


def _judge(facts: _Facts, frames: int, rate: int, complaint: str, code: int) -> tuple[str, ...]:
    """What is odd about a decoded file, in words; Damage where it is not whole."""
    if frames == 0:
        raise Damage(f"ffmpeg reads no sound in it ({complaint or f'exit status {code}'})")
    if facts.seconds is not None and frames < WHOLE_SHARE * facts.seconds * rate:
        raise Damage(f"truncated or damaged: its header names {facts.seconds:.2f} s, {frames / rate:.2f} s can be read")
    if facts.seconds is None and (complaint or code):
        raise Damage(f"truncated or damaged after {frames / rate:.2f} s ({complaint or f'exit status {code}'})")
    warnings = [f"{facts.audio_streams} audio streams: the first is read"] if facts.audio_streams > 1 else []
    return (*warnings, *([f"partly damaged, says ffmpeg: {complaint}"] if complaint else []))


def _read_au(file: IO[bytes], max_seconds: float) -> tuple[np.ndarray, int, int]:
    """The first seconds of a stream in the format AU, its rate, and the frames of all of it."""
    head = file.read(_AU_HEAD.itemsize)
    if len(head) < _AU_HEAD.itemsize:
        return np.zeros((0, 1), np.float32), 1, 0
    fields = np.frombuffer(head, _AU_HEAD)[0]
    file.read(int(fields["start"]) - len(head))
    rate, channels = int(fields["rate"]), int(fields["channels"])
    wanted = 4 * channels * max(1, round(max_seconds * rate))
    kept, count = bytearray(), 0
    while block := file.read(_BLOCK_BYTES):
        kept += block[: max(0, wanted - len(kept))]
        count += len(block)
    whole = len(kept) - len(kept) % (4 * channels)
    samples = np.frombuffer(bytes(kept[:whole]), ">f4").astype(np.float32).reshape(-1, channels)
    return samples, rate, count // (4 * channels)


def _probe(path: Path, demuxer: str, limit_s: float) -> _Facts:
    command = _command(1, path, demuxer, ("-show_entries", _FIELDS, "-of", "json"))
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s, check=False)
        found: dict[str, Any] = json.loads(done.stdout or b"{}")
    except subprocess.TimeoutExpired:
        raise Damage(f"ffprobe was still reading its header after {limit_s:.0f} s") from None
    except ValueError:
        raise Damage("ffprobe gives no answer about it that can be read") from None
    streams = found.get("streams", [])
    if done.returncode or not streams:
        raise Damage(f"ffmpeg cannot read it ({_plain(done.stderr, path) or 'no stream in it'})")
    audio = [stream for stream in streams if stream["codec_type"] == "audio"]
    length = None
    if audio and demuxer not in _LENGTH_GUESSED:
        length = audio[0].get("duration") or audio[0].get("tags", {}).get("DURATION")
        length = length or (found.get("format", {}).get("duration") if len(streams) == 1 else None)
    seconds = _asf_seconds(path) if demuxer == "asf" else _in_seconds(length)
    return _Facts(seconds, len(audio), any(stream["codec_type"] == "video" for stream in streams))


def _is_joined(path: Path, demuxer: str) -> bool:
    """Whether a second header stands among the outermost boxes of MPEG-4 (ISO 14496-12, 4.2), or anywhere in Windows Media."""
    with path.open("rb") as file:
        if demuxer == "asf":
            return any(True for _ in find_all(file, _ASF_HEADER, len(_ASF_HEADER)))
        headers = position = 0
        while demuxer == "mov" and len(box := read_at(file, position, 16)) >= 8:
            length, name = struct.unpack_from(">I4s", box)
            if length == 1 and len(box) == 16:
                length = struct.unpack_from(">Q", box, 8)[0]
            headers += name == b"ftyp"
            if length < 8:  # 0: up to the end of the file
                break
            position += length
        return headers > 1


def _asf_seconds(path: Path) -> float | None:
    """Length that the file properties of Windows Media name (ASF 01.20.06, 3.2); ffmpeg shortens it to what is there."""
    with path.open("rb") as file:
        head = file.read(_ASF_HEAD_BYTES)
    place = head.find(_ASF_PROPERTIES)
    if place < 0 or place + 88 > len(head):
        return None
    ticks, preroll_ms = struct.unpack_from("<Q8xQ", head, place + 64)
    return max(0.0, ticks / 1e7 - preroll_ms / 1e3) or None  # 0 in a broadcast


def _command(program: int, path: Path, demuxer: str, options: Sequence[str]) -> list[str | bytes]:
    """A call of ``ffmpeg`` (0) or ``ffprobe`` (1) on one file of one format."""
    found = programs()
    if found is None:
        raise Missing
    safe = _SAFE if program == 0 else _SAFE[1:]  # ffprobe reads no standard input
    return [found[program], *safe, "-f", demuxer, "-i", b"file:" + os.fsencode(path.absolute()), *options]


def _in_seconds(text: str | None) -> float | None:
    """A length such as 5.008 or 00:00:05.008000000."""
    if text is None or not re.fullmatch(r"[\d:.]+", text):
        return None
    total = 0.0
    for field in text.split(":"):
        total = 60 * total + float(field)
    return total or None


def _plain(said: bytes, path: Path) -> str:
    """The first thing that a program has complained of, without addresses and the name of the file."""
    lines = said.decode("utf-8", "replace").replace(f"file:{path.absolute()}: ", "").splitlines()
    lines = [re.sub(r"^\[[^\]]*\] ", "", line).strip() for line in lines]
    return next((line for line in lines if line), "")
