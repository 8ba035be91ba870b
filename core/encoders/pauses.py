"""Timed words in, pauses and rate of speech out. Times in seconds; waveforms are mono float32 at 16 kHz.

An aligner gives each moment to some word, so that the silence behind a word is a part of it (``alignment``). ``trim_words`` takes
the silence between words from them, and what lies between two words is then a pause.
"""

from bisect import bisect
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from core.encoders.alignment import FRAME_S
from core.encoders.source import SAMPLE_RATE_HZ
from core.encoders.words import Word, split_words

LEAST_S = 0.1  # of a pause
LONG_S = (0.25, 0.5)  # pauses above are counted; below 0.25 s many are the closures of plosives (Goldman-Eisler, 1968)

# Name, unit and definition of each column.
COLUMNS = (
    ("pause_mean_s", "s", "mean pause between neighbouring words; 0 where words touch, and of a single word"),
    ("pause_max_s", "s", "longest pause between neighbouring words"),
    ("pauses_over_025", "1", "pauses of over 0.25 s between words"),
    ("pauses_over_05", "1", "pauses of over 0.5 s between words"),
    ("pause_share", "1", "share of the time from the first word to the last one that is in pauses"),
    ("articulation_rate", "1/s", "letters and digits of the words over the time of the words, without pauses"),
    ("word_mean_s", "s", "mean length of a word"),
    ("word_std_s", "s", "standard deviation of the lengths of the words"),
)


def trim_words(words: Sequence[Word], y: np.ndarray) -> list[Word]:
    """Words without the pauses between them, and the first and last ones without the silence before and behind them.

    An aligner is right about the order of words and silence, and some frames off about the edge. The pause between two words is
    therefore the longest run of silent frames whose centre lies between the middles of the two. Shorter runs than 0.1 s are no
    pause, for closures of plosives are such. Frames of 0.02 s are silent as in the family ``silence`` of ``ultra``: 25 dB below the
    95th percentile of level, or below -80 dBFS.

    Parameters
    ----------
    words : sequence of Word, in order of time
    y : np.ndarray [shape=(n,)], n >= 1, of the clip
    """
    from core.features.frames import LEVEL_FLOOR, runs  # compiled code, which the names of sets do without
    from core.features.silence import silent_frames

    if not words:
        return []
    length = round(FRAME_S * SAMPLE_RATE_HZ)
    frames = np.pad(y.astype(np.float64), (0, -len(y) % length)).reshape(-1, length)
    silent = silent_frames(20 * np.log10(np.maximum(np.sqrt((frames**2).mean(axis=1)), LEVEL_FLOOR)))
    silences: dict[int, tuple[float, float]] = {}  # by how many words stand before
    middles_s = [word.middle_s for word in words]
    for first, last in runs(silent):
        start_s, end_s = first * FRAME_S, last * FRAME_S
        at = bisect(middles_s, (start_s + end_s) / 2)
        longest = silences.get(at, (0.0, LEAST_S - FRAME_S / 2))
        if end_s - start_s > longest[1] - longest[0]:
            silences[at] = (start_s, end_s)
    trimmed = []
    for at, word in enumerate(words):
        start_s = silences[at][1] if at in silences else word.start_s
        end_s = silences[at + 1][0] if at + 1 in silences else word.end_s
        if at == len(words) - 1:
            end_s = min(end_s, word.end_s)  # what sounds behind the last word is no part of it
        trimmed.append(Word(word.text, start_s, max(end_s, start_s + FRAME_S)))
    return trimmed


def summarise_times(words: Sequence[Word]) -> list[float]:
    """The columns of timed words.

    Parameters
    ----------
    words : sequence of Word, in order of time

    Returns
    -------
    values : list of float, as ``COLUMNS`` names them; NaN without any word

    Examples
    --------
    >>> values = summarise_times([Word("so", 0.0, 0.5), Word("then", 1.0, 2.0)])
    >>> dict(zip((name for name, _, _ in COLUMNS), values))["pause_share"], values[5]
    (0.25, 4.0)
    """
    if not words:
        return [float("nan")] * len(COLUMNS)
    lengths = np.array([word.end_s - word.start_s for word in words])
    pauses = np.array([max(0.0, after.start_s - before.end_s) for before, after in pairwise(words)] or [0.0])
    whole_s = max(FRAME_S, words[-1].end_s - words[0].start_s)
    characters = sum(len(part) for word in words for part in split_words(word.text))
    return [
        float(pauses.mean()),
        float(pauses.max()),
        *(float((pauses > limit).sum()) for limit in LONG_S),
        float(pauses.sum()) / whole_s,
        characters / max(FRAME_S, float(lengths.sum())),
        float(lengths.mean()),
        float(lengths.std()),
    ]
