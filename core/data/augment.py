"""A waveform in, an augmented copy of it out: a little longer or shorter, a little higher or lower, with a little noise.

Waveforms are mono float32 in [-1, 1]. A copy is another recording that could have got the same label.
"""

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

# Raise it whenever a copy of the same seed comes out in another way: stored vectors of copies are then computed anew.
AUGMENT_VERSION = 1
MAX_STRETCH = 1.05  # a copy is up to that many times as long or as short
MAX_SHIFT_SEMITONES = 2.0
NOISE_STD = 0.005

_LIBRARIES = ("audiomentations", "python-stretch")


@dataclass(frozen=True, slots=True)
class Variation:
    """What is done to a waveform.

    Attributes
    ----------
    rate : float, of the playing, in [1 / 1.05, 1.05]; above 1 the copy is shorter
    semitones : float, in [-2, 2]
    noise_seed : int
    """

    rate: float
    semitones: float
    noise_seed: int


def augment(y: np.ndarray, sr: int, *, seed: int) -> np.ndarray:
    """A copy of a waveform, stretched, then shifted in pitch, then with Gaussian noise; the seed alone decides how much.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)], float32
    sr : int > 0
    seed : int >= 0

    Returns
    -------
    copy : np.ndarray [shape=(n / rate,)], float32
    """
    return apply(draw(seed), y, sr)


def draw(seed: int) -> Variation:
    """The variation of a seed: rates are drawn evenly on a logarithmic scale, so that faster is as likely as slower."""
    rng = np.random.default_rng(seed)
    reach = np.log(MAX_STRETCH)
    return Variation(
        rate=float(np.exp(rng.uniform(-reach, reach))),
        semitones=float(rng.uniform(-MAX_SHIFT_SEMITONES, MAX_SHIFT_SEMITONES)),
        noise_seed=int(rng.integers(1 << 62)),
    )


def apply(variation: Variation, y: np.ndarray, sr: int) -> np.ndarray:
    """Do to a waveform [shape=(n,)] what was drawn; nothing is drawn here, and no global state of random numbers is touched."""
    from audiomentations import PitchShift, TimeStretch

    stretch = TimeStretch(p=1.0, leave_length_unchanged=False)
    stretch.parameters = {"should_apply": True, "rate": variation.rate}
    shift = PitchShift(p=1.0)
    shift.parameters = {"should_apply": True, "num_semitones": variation.semitones}
    for transform in (stretch, shift):
        transform.freeze_parameters()
        y = transform(np.ascontiguousarray(y, np.float32), sr)
    noise = np.random.default_rng(variation.noise_seed).standard_normal(len(y), np.float32)
    return y + np.float32(NOISE_STD) * noise


def definition() -> dict[str, object]:
    """Everything that a copy depends on besides the waveform and the seed, fit for JSON."""
    return {
        "version": AUGMENT_VERSION,
        "max_stretch": MAX_STRETCH,
        "max_shift_semitones": MAX_SHIFT_SEMITONES,
        "noise_std": NOISE_STD,
        "libraries": {name: version(name) for name in _LIBRARIES},
    }
