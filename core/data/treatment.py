"""What of a recording is analysed: the mix of its channels or one of them, at its own speed or slowed down.

Samples are float32 [shape=(n, channels)], rates in Hz, lengths in seconds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.data.native import MIN_RATE_HZ
from core.data.parts import Damage
from core.errors import ParameterError

MIX, LEFT, RIGHT, LOUDEST = "mix", "left", "right", "loudest"
CHANNELS = (MIX, LEFT, RIGHT, LOUDEST)  # by name; others go by their number
_NUMBERS = {LEFT: 1, RIGHT: 2}
_NAMES = {number: name for name, number in _NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done to a recording before anything is measured.

    Attributes
    ----------
    channel : str, as ``parse_channel`` gives it: "mix" is the mean of the channels, "loudest" the one of the highest RMS
    slow_down : float >= 1, by which the sample rate is divided; researchers of bats call it time expansion
    """

    channel: str = MIX
    slow_down: float = 1.0

    @property
    def is_plain(self) -> bool:
        """Whether the recording is taken as it is, its channels mixed."""
        return self == AS_RECORDED

    @property
    def speed(self) -> str:
        """How far it is slowed down, in words; empty where it is not.

        Examples
        --------
        >>> Treatment(slow_down=10).speed
        'slowed down 10 times'
        """
        return f"slowed down {text_of(self.slow_down)} times" if self.slow_down != 1 else ""

    @property
    def words(self) -> str:
        """All of it in words; empty where the recording is taken as it is.

        Examples
        --------
        >>> Treatment("left", 2.5).words
        'channel left, slowed down 2.5 times'
        """
        channel = f"channel {self.channel}" if self.channel != MIX else ""
        return ", ".join(part for part in (channel, self.speed) if part)

    def definition(self) -> dict[str, Any]:
        """What numbers depend on: nothing where the recording is taken as it is."""
        channel = {} if self.channel == MIX else {"channel": self.channel}
        return channel if self.slow_down == 1 else channel | {"slow_down": float(self.slow_down)}

    def take_channel(self, samples: np.ndarray) -> np.ndarray:
        """The channel that is analysed [shape=(n, 1)], or all of them where they are mixed.

        Raises
        ------
        Damage
            There are too few channels.
        """
        if self.channel == MIX:
            return samples
        channels = samples.shape[1]
        if self.channel == LOUDEST:
            number = 1 + int(samples.std(axis=0, dtype=np.float64).argmax())  # about the mean: an offset is not loud
        else:
            number = _NUMBERS.get(self.channel) or int(self.channel)
        if number > channels:
            has = f"has {channels} channel{'' if channels == 1 else 's'}"
            raise Damage(f"{has}, so there is no channel {number}; choose another with --channel")
        return np.ascontiguousarray(samples[:, number - 1 : number])

    def slow(self, sample_rate_hz: int) -> int:
        """The rate at which samples of a rate are analysed, in whole Hz.

        Raises
        ------
        Damage
            It is below 1 kHz.
        """
        slowed = round(sample_rate_hz / self.slow_down)
        if slowed < MIN_RATE_HZ and self.slow_down != 1:
            most = text_of(np.floor(10 * sample_rate_hz / MIN_RATE_HZ) / 10)
            raise Damage(
                f"{self.speed}, {sample_rate_hz} Hz leave a sample rate under {MIN_RATE_HZ} Hz; at most {most} times will do"
            )
        return slowed

    def file_seconds(self, max_seconds: float) -> float:
        """The seconds of a file that so many seconds of analysis take.

        Examples
        --------
        >>> Treatment(slow_down=10).file_seconds(45.0)
        4.5
        """
        return max_seconds / self.slow_down

    def analysed_seconds(self, seconds: float, max_seconds: float) -> float:
        """How much of a file is analysed, in seconds at the speed of the analysis.

        Examples
        --------
        >>> Treatment(slow_down=10).analysed_seconds(2.0, 45.0), Treatment(slow_down=10).analysed_seconds(60.0, 45.0)
        (20.0, 45.0)
        """
        return min(self.slow_down * seconds, max_seconds)


AS_RECORDED = Treatment()


def parse_channel(text: str) -> str:
    """The name of a channel: mix, left, right, loudest, or a number of 3 or more.

    Raises
    ------
    ParameterError
        The text names no channel.

    Examples
    --------
    >>> parse_channel("1"), parse_channel("Loudest"), parse_channel("03")
    ('left', 'loudest', '3')
    """
    name = text.strip().lower()
    if name in (MIX, LEFT, RIGHT, LOUDEST):
        return name
    if name.isascii() and name.isdigit() and int(name) >= 1:
        return _NAMES.get(int(name), str(int(name)))
    raise ParameterError(f"channel={text!r} must be mix, left, right, loudest, or the number of a channel, counted from 1")


def text_of(value: float) -> str:
    """A number that reads back equal, without decimals where it is whole."""
    return repr(float(value)).removesuffix(".0")
