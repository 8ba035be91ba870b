"""The first bytes of a file in, what it is out: which program reads it, or why it is no recording."""

import re
from dataclasses import dataclass
from typing import IO

from core.data.parts import read_at, tag_bytes

SUFFIXES = (  # of files that count as recordings where a folder, an archive or a table is looked through
    *(".wav", ".flac", ".ogg", ".mp3", ".oga", ".opus", ".mpga", ".mp2", ".aif", ".aiff", ".aifc", ".caf", ".w64", ".rf64", ".au"),
    *(".snd", ".sph", ".nist", ".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".3g2", ".aac", ".webm", ".mka", ".mkv", ".wma", ".amr"),
    *(".spx", ".wv", ".ape", ".tta", ".ac3"),
)
USUAL = "WAV, FLAC, Ogg, MP3, AIFF, M4A, WebM and others"
HEAD_BYTES = 512


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is.

    Attributes
    ----------
    name : str
    demuxer : str, by which name ffmpeg reads it; empty where it does not
    is_native : bool, whether libsndfile reads it, at least with the usual codecs
    mime : str, by which name a browser plays it; empty where not every browser does
    refusal : str, why it is no recording; empty where it may be one
    """

    name: str
    demuxer: str = ""
    is_native: bool = False
    mime: str = ""
    refusal: str = ""


UNKNOWN = Kind("unknown", is_native=True)
MP3 = Kind("MP3", is_native=True, mime="audio/mpeg")
_WAV = Kind("WAV", "wav", is_native=True, mime="audio/wav")
_OGG = Kind("Ogg", "ogg", is_native=True, mime="audio/ogg")
_MPEG_4 = Kind("MPEG-4 (M4A, MP4, 3GP)", "mov")
_AAC = Kind("AAC", "aac")
_ASF = Kind("Windows Media (WMA)", "asf")


def _image(name: str) -> Kind:
    return Kind(name, refusal=f"this is an image ({name})")


_RULES = (  # the first whose pattern fits the first bytes
    (rb"RIFF....WAVEfmt .{4}(?:\x01\0|\x03\0|\xfe\xff)", _WAV),  # whole numbers or floats
    (rb"RIFF....WAVE", Kind("WAV of a rare kind", "wav", is_native=True)),
    (rb"RF64....WAVE|RIFX....WAVE", Kind("RF64", "wav", is_native=True)),
    (rb"RIFF....WEBP", _image("WebP")),
    (rb"RIFF....AVI ", Kind("AVI", "avi")),
    (rb"riff\x2e\x91\xcf\x11", Kind("Wave64", "w64", is_native=True)),
    (rb"fLaC", Kind("FLAC", "flac", is_native=True, mime="audio/flac")),
    (rb"OggS.{22}.+(?:\x01vorbis|OpusHead|\x7fFLAC)", _OGG),
    (rb"OggS", Kind("Ogg with another codec than Vorbis, Opus and FLAC", "ogg")),
    (rb"FORM....AIF[FC]", Kind("AIFF", "aiff", is_native=True)),
    (rb"caff", Kind("CAF", "caf", is_native=True)),
    (rb"\.snd|dns\.", Kind("AU", "au", is_native=True)),
    (rb"NIST_1A\n", Kind("NIST", "nistsphere", is_native=True)),
    (rb"\0.{3}(?:ftyp|moov|wide|free|skip|pnot)|.{4}mdat", _MPEG_4),
    (rb"\x1a\x45\xdf\xa3", Kind("WebM or Matroska", "matroska")),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _ASF),
    (rb"#!AMR", Kind("AMR", "amr")),
    (rb"\xff[\xf0\xf1\xf8\xf9]", _AAC),  # layer 0: no MP3
    (rb"\xff[\xe0-\xff]", MP3),
    (rb"\x56[\xe0-\xff]", Kind("AAC in LOAS", "loas")),
    (rb"\x0b\x77", Kind("AC-3", "ac3")),
    (rb"wvpk", Kind("WavPack", "wv")),
    (rb"MAC ", Kind("Monkey's Audio", "ape")),
    (rb"TTA1", Kind("True Audio", "tta")),
    (rb"FLV\x01", Kind("Flash video", "flv")),
    (rb"\x00\x00\x01\xba", Kind("MPEG video", "mpeg")),
    (rb"version https://git-lfs", Kind("Git LFS", refusal="this is a Git LFS pointer; run git lfs pull to get the recording")),
    (
        rb"(?i)\s*(?:<!--.*?-->\s*)?<(?:!doctype html|html|head|body)",
        Kind("HTML", refusal="this is a web page; download the recording again"),
    ),
    (rb"\x89PNG", _image("PNG")),
    (rb"\xff\xd8\xff", _image("JPEG")),
    (rb"GIF8", _image("GIF")),
    (rb"BM.{4}\0\0\0\0", _image("BMP")),
    (rb"II\*\0|MM\0\*", _image("TIFF")),
    (rb"PK\x03\x04", Kind("zip", refusal="this is a zip archive; unpack it first")),
    (rb"\x1f\x8b", Kind("gzip", refusal="this is a gzip archive; unpack it first")),
    (rb"%PDF", Kind("PDF", refusal="this is a PDF document")),
)
_TEXT = Kind("text", refusal="this is text")


def recognise(file: IO[bytes]) -> Kind:
    """What a file is, by its content.

    Parameters
    ----------
    file : open for reading in binary, seekable

    Returns
    -------
    kind : Kind; ``UNKNOWN`` where its first bytes show nothing
    """
    tag = tag_bytes(file, 0)
    head = read_at(file, tag, HEAD_BYTES)
    for pattern, kind in _RULES:
        if re.match(pattern, head, re.DOTALL):
            return kind
    if tag:
        return MP3
    return _TEXT if _is_text(head) else UNKNOWN


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a letter may be cut at the end
            return False
        text = head[: error.start].decode("utf-8")
    return all(letter.isprintable() or letter.isspace() for letter in text)
