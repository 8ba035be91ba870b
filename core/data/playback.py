"""A recording in, what every browser plays out: the file itself where browsers know its format, else a WAV of what is analysed."""

import io
from pathlib import Path

import soundfile

from core.data import native
from core.data.audio import open_clip, read_clip
from core.data.kinds import recognise
from core.data.parts import Damage, Part

WAV = "audio/wav"


def playable(path: Path) -> tuple[Path | bytes, str]:
    """What a browser is to be given for a recording, and the MIME type of it.

    A file of several parts, or with an open length, is decoded too: a browser would stop at the end of the first.

    Parameters
    ----------
    path : Path

    Returns
    -------
    sound : the path itself, or the bytes of a WAV with the first 45 s, in 16 bits
    mime : str

    Raises
    ------
    AudioError
        The file cannot be opened; or it is of a format that browsers do not play, and cannot be decoded either.
    """
    with open_clip(path) as file:
        kind = recognise(file)
        try:
            if kind.mime and native.split(file, kind).parts == (Part(0, path.stat().st_size),):
                return path, kind.mime
        except Damage:  # the browser plays what there is
            return path, kind.mime
    clip = read_clip(path)
    wav = io.BytesIO()
    soundfile.write(wav, clip.samples, clip.sample_rate_hz, format="WAV", subtype="PCM_16")
    return wav.getvalue(), WAV
