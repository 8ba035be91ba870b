"""Words of a clip: from a column of the table, from a recogniser, or described from its acoustics; and eight columns of any text.

A recogniser is a Whisper checkpoint. It hears 30 s at a time; windows overlap by 5 s, and ``join_words`` puts their timed words
together so that at a seam none is lost and none doubled. Times in seconds.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from core.audio import Clip
from core.checkpoints import WHISPER, Checkpoint
from core.device import in_batches, require_torch
from core.errors import ParameterError
from core.features.sets import columns

# Raise it whenever windows, joining or columns change: stored transcripts are then made anew.
VERSION = 1
SAMPLE_RATE_HZ = 16_000
WINDOW_S = 30.0
OVERLAP_S = 5.0
SAME_WORD_S = 1.0  # two windows may time one word so differently
FILLERS = frozenset({"um", "umm", "uh", "uhm", "er", "erm", "ah", "eh", "hm", "hmm", "mm", "mhm"})
FILLER_PAIRS = frozenset({("you", "know"), ("i", "mean"), ("sort", "of"), ("kind", "of")})
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_CPU_WINDOWS, _GPU_WINDOWS = 2, 32
_TOKENIZERS = ("tokenizer.json", "vocab.json")
_TIMESTAMP_STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Word:
    """A word and when it is said."""

    text: str
    start_s: float
    end_s: float

    @property
    def middle_s(self) -> float:
        return (self.start_s + self.end_s) / 2


@dataclass(frozen=True, slots=True)
class Heard:
    """What a window was heard to say; words have times of the clip."""

    start_s: float
    end_s: float
    words: tuple[Word, ...]


def split_words(text: str) -> list[str]:
    """Words of a text in lower case; apostrophes and hyphens inside of one belong to it.

    Examples
    --------
    >>> split_words("Don't stop - it's well-known, 42 times!")
    ["don't", 'stop', "it's", 'well-known', '42', 'times']
    """
    return [word.replace("\u2019", "'") for word in _WORD.findall(text.casefold())]


def text_columns(text: str, *, seconds: float) -> np.ndarray:
    """The columns of the set ``transcript``.

    Parameters
    ----------
    text : str
    seconds : float > 0, length of what was said

    Returns
    -------
    values : np.ndarray [shape=(8,)], float32: words, words per second, type-token ratio, fillers, fillers per word, repetitions,
        characters, mean length of a word; shares are NaN without any word

    Examples
    --------
    >>> text_columns("um the the cat you know", seconds=2.0).tolist()[:6]
    [6.0, 3.0, 0.8333333134651184, 2.0, 0.3333333432674408, 1.0]
    """
    words = split_words(text)
    fillers = sum(word in FILLERS for word in words)
    fillers += sum(pair in FILLER_PAIRS for pair in pairwise(words))
    share = 1 / len(words) if words else float("nan")
    values = [
        len(words),
        len(words) / seconds,
        len(set(words)) * share,
        fillers,
        fillers * share,
        repetitions(words),
        len(" ".join(text.split())),
        sum(map(len, words)) * share,
    ]
    return np.array(values, np.float32)


def repetitions(words: Sequence[str]) -> int:
    """How often a word, or two in a row, are said again at once.

    Examples
    --------
    >>> repetitions("the the cat I was I was there".lower().split())
    2
    """
    found, place = 0, 0
    while place < len(words):
        for length in (2, 1):
            again = words[place + length : place + 2 * length]
            if len(again) == length and list(words[place : place + length]) == list(again):
                found += 1
                place += length
                break
        else:
            place += 1
    return found


def join_words(windows: Sequence[Heard]) -> list[Word]:
    """Words of windows that overlap, as one transcript.

    Where two windows overlap, their words are paired in order (the same word at about the same time, as many pairs as there can be,
    the nearest in time among those), and the transcript changes from one window to the other behind the pair that is nearest to
    the middle of the overlap: what the edge of a window cuts lies far from there. Without a pair it changes in the middle itself.

    Parameters
    ----------
    windows : sequence of Heard, in order of time

    Returns
    -------
    words : list of Word, in order
    """
    joined: list[Word] = []
    end_s = -np.inf
    for window in windows:
        words = list(window.words)
        if joined and window.start_s < end_s:
            middle_s = (window.start_s + end_s) / 2
            first = next((place for place, word in enumerate(joined) if word.end_s > window.start_s), len(joined))
            last = next((place for place, word in enumerate(words) if word.start_s >= end_s), len(words))
            pairs = _pair(joined[first:], words[:last])
            if pairs:
                one, other = min(pairs, key=lambda pair: abs(joined[first + pair[0]].middle_s - middle_s))
                joined, words = joined[: first + one + 1], words[other + 1 :]
            else:
                joined = [word for word in joined if word.middle_s < middle_s]
                words = [word for word in words if word.middle_s >= middle_s]
        joined += words
        end_s = max(end_s, window.end_s)
    return joined


def _pair(one: Sequence[Word], other: Sequence[Word]) -> list[tuple[int, int]]:
    """The longest common run of words in order, not all in a row; among equally long ones the one that agrees best in time."""
    keys = [["".join(split_words(word.text)) or word.text.strip() for word in words] for words in (one, other)]
    best = np.zeros((len(one) + 1, len(other) + 1))
    for row in range(len(one) - 1, -1, -1):
        for column in range(len(other) - 1, -1, -1):
            best[row, column] = max(best[row + 1, column], best[row, column + 1])
            apart_s = abs(one[row].middle_s - other[column].middle_s)
            if keys[0][row] == keys[1][column] and apart_s <= SAME_WORD_S:
                best[row, column] = max(best[row, column], best[row + 1, column + 1] + 1 - 1e-3 * apart_s)
    pairs, row, column = [], 0, 0
    while row < len(one) and column < len(other):
        if best[row, column] == best[row + 1, column]:
            row += 1
        elif best[row, column] == best[row, column + 1]:
            column += 1
        else:
            pairs.append((row, column))
            row, column = row + 1, column + 1
    return pairs


def describe(values: Mapping[str, float]) -> str:
    """A clip in words, from columns of ``ultra``; what is not defined is left out.

    Parameters
    ----------
    values : dict of column name to value: ``duration_s``, ``f0_mean_hz``, ``f0_range_st``, ``pause_count``, ``pause_mean_s``,
        ``silence_ratio``, ``voiced_ratio``, ``onset_rate``, ``dynamic_range_db``

    Examples
    --------
    >>> describe({"duration_s": 43.2, "f0_mean_hz": 180.4, "pause_count": 12.0, "pause_mean_s": 0.41, "f0_range_st": float("nan")})
    '43 s, mean pitch 180 Hz, 12 pauses of 0.4 s on average'
    """
    known = {name: float(value) for name, value in values.items() if np.isfinite(value)}
    parts = []
    if "duration_s" in known:
        parts.append(f"{known['duration_s']:.0f} s" if known["duration_s"] >= 10 else f"{known['duration_s']:.1f} s")
    if "f0_mean_hz" in known:
        parts.append(f"mean pitch {known['f0_mean_hz']:.0f} Hz")
    elif "voiced_ratio" in known:
        parts.append("no voiced sound")
    if "f0_range_st" in known:
        parts.append(f"pitch range {known['f0_range_st']:.0f} semitones")
    if "pause_count" in known:
        count = round(known["pause_count"])
        mean = f" of {known['pause_mean_s']:.1f} s on average" if count and "pause_mean_s" in known else ""
        parts.append("no pause" if count == 0 else f"{count} pause{'s' if count > 1 else ''}{mean}")
    for name, words in (("silence_ratio", "silent"), ("voiced_ratio", "voiced")):
        if name in known:
            parts.append(f"{100 * known[name]:.0f} % {words}")
    if "onset_rate" in known:
        parts.append(f"{known['onset_rate']:.1f} onsets per second")
    if "dynamic_range_db" in known:
        parts.append(f"dynamic range {known['dynamic_range_db']:.0f} dB")
    return ", ".join(parts)


def describe_clip(clip: Clip) -> str:
    """As ``describe``, of a clip; its first columns are computed for that."""
    from core import features

    vector = features.extract(clip, ("ultra",))["ultra"]
    return describe(dict(zip(features.names("ultra"), vector.tolist(), strict=True)))


def prepare_clip(clip: Clip) -> np.ndarray:
    """Waveform at 16 kHz [shape=(n,)], float32."""
    import librosa

    y = librosa.resample(clip.mono, orig_sr=clip.sample_rate_hz, target_sr=SAMPLE_RATE_HZ, res_type="soxr_hq")
    return np.ascontiguousarray(y, dtype=np.float32)


def window_starts(samples: int) -> list[int]:
    """First sample of each window of 30 s: each begins 5 s before the one before it ends, and the last reaches the end of the clip.

    Examples
    --------
    >>> [start / SAMPLE_RATE_HZ for start in window_starts(70 * SAMPLE_RATE_HZ)]
    [0.0, 25.0, 50.0]
    """
    length, step = round(WINDOW_S * SAMPLE_RATE_HZ), round((WINDOW_S - OVERLAP_S) * SAMPLE_RATE_HZ)
    return [0, *range(step, max(step, samples - length + step), step)] if samples > length else [0]


def definition(checkpoint: Checkpoint, *, precision: str) -> dict[str, Any]:
    """Everything besides the audio that a transcript depends on."""
    from importlib.metadata import version

    libraries = {name: ".".join(version(name).split(".")[:2]) for name in ("torch", "transformers")}
    windows = {"window_s": WINDOW_S, "overlap_s": OVERLAP_S}
    return {"transcript": VERSION, "revision": checkpoint.revision, "precision": precision, "libraries": libraries} | windows


def words_as_json(words: Sequence[Word]) -> str:
    """Timed words as a text to be stored."""
    return json.dumps([[word.text, round(word.start_s, 3), round(word.end_s, 3)] for word in words], ensure_ascii=False)


def words_from_json(text: str) -> list[Word]:
    """What ``words_as_json`` gave."""
    return [Word(*word) for word in json.loads(text)]


def text_of(words: Sequence[Word]) -> str:
    """Words as running text."""
    return " ".join(word.text.strip() for word in words if word.text.strip())


class Recogniser:
    """A loaded Whisper.

    Parameters
    ----------
    checkpoint : Checkpoint, with its tokenizer
    device : str, cpu or cuda
    precision : str, fp32 or bf16
    batch : int >= 1, windows at once; None takes a usual number
    halved : told the new number where memory runs out

    Raises
    ------
    ParameterError
        torch is not installed, or the folder holds no Whisper with its tokenizer.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str,
        precision: str = "fp32",
        batch: int | None = None,
        halved: Callable[[int], None] = lambda batch: None,
    ):
        require_torch(checkpoint.model)
        if checkpoint.architecture != WHISPER:
            raise ParameterError(
                f"{checkpoint.model}: model_type={checkpoint.architecture!r} is no Whisper, which transcripts need"
            )
        if not any((checkpoint.folder / name).is_file() for name in _TOKENIZERS):
            raise ParameterError(
                f"{checkpoint.model}: {checkpoint.folder} has no tokenizer; bring tokenizer.json too (or vocab.json and merges.txt)"
            )
        import torch
        from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer
        from transformers.utils import logging

        shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            folder = checkpoint.folder
            model: Any = WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True, dtype=dtype)
            self._model = model.to(device).eval()
            self._features = WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
            self._tokenizer: Any = WhisperTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ParameterError(f"{checkpoint.model}: {checkpoint.folder} cannot be loaded as a Whisper ({reason})") from None
        finally:
            logging.set_verbosity(shown[0])
            if shown[1]:
                logging.enable_progress_bar()
        self.device, self._dtype, self._halved = device, dtype, halved
        self.batch = batch or (_GPU_WINDOWS if device == "cuda" else _CPU_WINDOWS)

    def seconds(self, item: np.ndarray) -> float:
        """Length of an item."""
        return len(item) / SAMPLE_RATE_HZ

    def __call__(self, items: Sequence[np.ndarray]) -> list[list[Word]]:
        """Timed words of clips.

        Parameters
        ----------
        items : of what ``prepare_clip`` gives, each np.ndarray [shape=(n,)]

        Returns
        -------
        words : list of list of Word, none after the end of its clip
        """
        windows = [(index, start) for index, y in enumerate(items) for start in window_starts(len(y))]
        heard = in_batches(lambda some: self._hear(items, some), windows, batch=self.batch, halved=self._shrink)
        of: dict[int, list[Heard]] = {}
        for (index, _), one in zip(windows, heard, strict=True):
            of.setdefault(index, []).append(one)
        return [join_words(of[index]) for index in range(len(items))]

    def _shrink(self, batch: int) -> None:
        self.batch = batch
        self._halved(batch)

    def _hear(self, items: Sequence[np.ndarray], windows: Sequence[tuple[int, int]]) -> list[Heard]:
        import torch

        length = round(WINDOW_S * SAMPLE_RATE_HZ)
        sounds = [items[index][start : start + length] for index, start in windows]
        features = self._features(sounds, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")["input_features"]
        with torch.inference_mode():
            tokens = self._model.generate(
                features.to(self.device, self._dtype),
                return_timestamps=True,
                do_sample=False,
                num_beams=1,
                condition_on_prev_tokens=False,
            )
        found = []
        for (_, start), sound, said in zip(windows, sounds, tokens, strict=True):
            start_s, seconds = start / SAMPLE_RATE_HZ, len(sound) / SAMPLE_RATE_HZ
            segments = segments_of(said.tolist(), self._tokenizer, end_s=seconds)
            words = [word for segment in segments for word in spread_words(*segment)]
            here = tuple(Word(word.text, word.start_s + start_s, word.end_s + start_s) for word in words if word.start_s < seconds)
            found.append(Heard(start_s, start_s + seconds, here))
        return found


def segments_of(tokens: Sequence[int], tokenizer: Any, *, end_s: float) -> list[tuple[str, float, float]]:
    """Text between timestamp tokens, with its times; a segment that is left open ends with the window.

    Parameters
    ----------
    tokens : sequence of int, as the model gives them
    tokenizer : of the same checkpoint; ``<|0.00|>`` and what follows are its timestamps, 0.02 s apart
    end_s : float, length of the window
    """
    first = tokenizer.convert_tokens_to_ids("<|0.00|>")
    special = set(tokenizer.all_special_ids)
    segments: list[tuple[str, float, float]] = []
    start_s, inside = 0.0, list[int]()
    for token in [*tokens, None]:
        is_time = token is not None and token >= first
        if token is None or is_time:
            time_s = end_s if token is None else min(end_s, (token - first) * _TIMESTAMP_STEP_S)
            if inside and (text := tokenizer.decode(inside, skip_special_tokens=True).strip()):
                segments.append((text, start_s, max(start_s, time_s)))
            start_s, inside = time_s, []
        elif token not in special:
            inside.append(token)
    return segments


def spread_words(text: str, start_s: float, end_s: float) -> list[Word]:
    """Words of a segment, each with a share of its time as long as the word.

    Examples
    --------
    >>> spread_words("a long", 1.0, 2.0)
    [Word(text='a', start_s=1.0, end_s=1.2), Word(text='long', start_s=1.2, end_s=2.0)]
    """
    words = text.split()
    sizes = np.cumsum([0, *map(len, words)])
    edges = start_s + (end_s - start_s) * sizes / max(1, sizes[-1])
    return [Word(word, round(float(edges[at]), 3), round(float(edges[at + 1]), 3)) for at, word in enumerate(words)]


@cache
def column_names() -> tuple[str, ...]:
    """Names of the columns of any text."""
    return tuple(column.name for column in columns("transcript:describe"))
