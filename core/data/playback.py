"""A recording in, what every browser plays out: the file itself where browsers know its format, else a WAV of what is analysed.

What is analysed is the first 45 s at the speed of the analysis.
"""

import io
from pathlib import Path

import soundfile

from core.data import native
from core.data.audio import Clip, open_clip, read_clip
from core.data.kinds import recognise
from core.data.parts import Damage, Part
from core.data.treatment import AS_RECORDED, Treatment

WAV = "audio/wav"
_LEAST_RATE_HZ = 8000  # browsers refuse a WAV of a few kHz


def playable(path: Path, treatment: Treatment = AS_RECORDED) -> tuple[Path | bytes, str]:
    """What a browser is to be given for a recording, and the MIME type of it.

    A file of several parts, or with an open length, is decoded too: a browser would stop at the end of the first. So is a
    recording of which one channel is analysed, or that is slowed down: it sounds as it is analysed.

    Parameters
    ----------
    path : Path
    treatment : Treatment, which channel is played, and how far it is slowed down

    Returns
    -------
    sound : the path itself, or the bytes of a WAV with the first 45 s, in 16 bits
    mime : str

    Raises
    ------
    AudioError
        The file cannot be opened; or it is of a format that browsers do not play, and cannot be decoded either;
        or it lacks the channel, or is slowed down below a rate of 1 kHz.
    """
    if not treatment.is_plain:
        return _wav(read_clip(path, treatment=treatment)), WAV
    with open_clip(path) as file:
        kind = recognise(file)
        try:
            if kind.mime and native.split(file, kind).parts == (Part(0, path.stat().st_size),):
                return path, kind.mime
        except Damage:  # the browser plays what there is
            return path, kind.mime
    return _wav(read_clip(path)), WAV


def _wav(clip: Clip) -> bytes:
    """A WAV of the samples of a clip in 16 bits, at a multiple of its rate where browsers do not play that."""
    samples, rate_hz = clip.samples, clip.sample_rate_hz
    if rate_hz < _LEAST_RATE_HZ and not clip.treatment.is_plain:
        import soxr

        target_hz = rate_hz * -(-_LEAST_RATE_HZ // rate_hz)
        samples, rate_hz = soxr.resample(samples, rate_hz, target_hz), target_hz
    wav = io.BytesIO()
    soundfile.write(wav, samples, rate_hz, format="WAV", subtype="PCM_16")
    return wav.getvalue()
