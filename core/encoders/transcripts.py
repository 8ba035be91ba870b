"""Words of a clip: from a column of the table, from a recogniser, or described from its acoustics; and eight columns of any text.

A recogniser is a Whisper checkpoint. It hears 30 s at a time; windows overlap by 5 s, and ``join_words`` puts their timed words
together so that at a seam none is lost and none doubled. A word has its time from what the decoder attends to (``word_edges``);
where a checkpoint does not name the heads that tell, the words of a segment share its time. Times in seconds.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from core.data.audio import Clip
from core.errors import ParameterError
from core.features.sets import columns
from core.runtime.device import in_batches, require_torch
from core.runtime.weights import Checkpoint, loading, require_recogniser

# Raise it whenever windows, joining or columns change: stored transcripts are then made anew.
VERSION = 2
SAMPLE_RATE_HZ = 16_000
WINDOW_S = 30.0
OVERLAP_S = 5.0
SAME_WORD_S = 1.5  # two windows may time one word so differently
SAME_TIME_S = 0.5  # what two windows hear so close together is one word, even where they spell it differently
FILLERS = frozenset({"um", "umm", "uh", "uhm", "er", "erm", "ah", "eh", "hm", "hmm", "mm", "mhm"})
FILLER_PAIRS = frozenset({("you", "know"), ("i", "mean"), ("sort", "of"), ("kind", "of")})
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_JOINERS = "\u200c\u200d"  # inside words of Persian and of Indic scripts
_UNSPACED = (  # Thai and Lao, Burmese, Khmer, Japanese and Chinese with their punctuation: no blanks between words
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3001-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff65\U00020000-\U0003ffff]"
)
_IS_UNSPACED = re.compile(_UNSPACED)
_PIECE = re.compile(f"{_UNSPACED}|(?:(?!{_UNSPACED}).)+", re.DOTALL)
_CPU_WINDOWS, _GPU_WINDOWS = 2, 32
_TASK = "transcribe"
_FRAME_SAMPLES = 320  # of a frame of the encoder, 0.02 s
_HALF_CHARACTER = "\ufffd"  # what a tokenizer shows for the first bytes of a character
_MOST_BYTES = 4  # of a character


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
    """Words of a text in lower case; apostrophes, hyphens and marks inside of one belong to it.

    Examples
    --------
    >>> split_words("Don't stop - it's well-known, 42 times!")
    ["don't", 'stop', "it's", 'well-known', '42', 'times']
    """
    text = unicodedata.normalize("NFC", text.casefold())
    letters: list[str] = []  # a vowel sign or an accent behind a letter counts as a letter
    for character in text:
        joins = character in _JOINERS or unicodedata.category(character).startswith("M")
        letters.append("a" if joins and letters and letters[-1].isalnum() else character)
    return [text[slice(*word.span())].replace("\u2019", "'") for word in _WORD.finditer("".join(letters))]


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
    >>> repetitions("the the cat I was I was there".lower().split()), repetitions(["no", "no", "no", "no"])
    (2, 3)
    """
    found, place = 0, 0
    while place < len(words):
        for length in (1, 2):
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

    Where two windows overlap, their words are paired in order: best the same word at about the same time, else another one at
    nearly the same time, which one of them misheard. Of a pair each window has one word, so that behind a pair, and before it, the
    transcript may change from one window to the other: it takes pairs before the middle of the overlap from the first window and
    those behind from the second, because what the edge of a window cuts lies far from there. Words without a partner between
    the two pairs around the middle are taken from the window on whose side of the middle they lie.

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
            pairs = [(first + one, other) for one, other in _pair(joined[first:], words[:last])]
            early = [joined[one].middle_s + words[other].middle_s < 2 * middle_s for one, other in pairs]
            split = early.index(False) if False in early else len(early)
            one, other = pairs[split - 1] if split else (-1, -1)
            next_one, next_other = pairs[split] if split < len(pairs) else (len(joined), len(words))
            kept = [word for word in joined[one + 1 : next_one] if word.middle_s < middle_s]
            fresh = [word for word in words[other + 1 : next_other] if word.middle_s >= middle_s]
            joined, words = joined[: one + 1] + kept, fresh + words[next_other:]
        joined += words
        end_s = max(end_s, window.end_s)
    return joined


def _pair(one: Sequence[Word], other: Sequence[Word]) -> list[tuple[int, int]]:
    """Places of words in both sequences that are one word, in order.

    An alignment of greatest weight (Needleman and Wunsch, 1970). The same word weighs the more the better it agrees in time:
    of words that are said again and again, those at the same time are paired, not those that make most pairs.
    """
    keys = [["".join(split_words(word.text)) or word.text.strip() for word in words] for words in (one, other)]
    best = np.zeros((len(one) + 1, len(other) + 1))
    for row in range(len(one) - 1, -1, -1):
        for column in range(len(other) - 1, -1, -1):
            apart_s = abs(one[row].middle_s - other[column].middle_s)
            weight = 1 - apart_s / SAME_WORD_S if keys[0][row] == keys[1][column] else 0.2 * (1 - apart_s / SAME_TIME_S)
            best[row, column] = max(best[row + 1, column], best[row, column + 1], best[row + 1, column + 1] + weight)
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
        ``silence_ratio``, ``voiced_ratio``, ``voiced_runs_per_s``, ``onset_rate``, ``rms_mean``, ``dynamic_range_db``

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
    if "voiced_runs_per_s" in known:
        parts.append(f"{known['voiced_runs_per_s']:.1f} voiced runs per second")
    if "onset_rate" in known:
        parts.append(f"{known['onset_rate']:.1f} onsets per second")
    if known.get("rms_mean", 0) > 0:
        parts.append(f"level {20 * np.log10(known['rms_mean']):.0f} dBFS")
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


def definition(checkpoint: Checkpoint, *, precision: str, language: str | None = None) -> dict[str, Any]:
    """Everything besides the audio that a transcript depends on."""
    from importlib.metadata import version

    libraries = {name: ".".join(version(name).split(".")[:2]) for name in ("torch", "transformers")}
    windows = {"window_s": WINDOW_S, "overlap_s": OVERLAP_S}
    said = {} if language is None else {"language": language}
    return {"transcript": VERSION, "revision": checkpoint.revision, "precision": precision, "libraries": libraries} | windows | said


def words_as_json(words: Sequence[Word]) -> str:
    """Timed words as a text to be stored."""
    return json.dumps([[word.text, round(word.start_s, 3), round(word.end_s, 3)] for word in words], ensure_ascii=False)


def words_from_json(text: str) -> list[Word]:
    """What ``words_as_json`` gave."""
    return [Word(*word) for word in json.loads(text)]


def text_of(words: Sequence[Word]) -> str:
    """Words as running text; where a script writes no blanks, none stand between its characters.

    Examples
    --------
    >>> text_of([Word("so", 0.0, 0.2), Word("then", 0.2, 0.5)])
    'so then'
    """
    text = ""
    for word in words:
        glued = text and _IS_UNSPACED.match(text[-1]) and _IS_UNSPACED.match(word.text)
        text += word.text if glued else f" {word.text.strip()}" if word.text.strip() else ""
    return text.strip()


class Recogniser:
    """A loaded Whisper.

    Parameters
    ----------
    checkpoint : Checkpoint, with its tokenizer
    device : str, cpu or cuda
    precision : str, fp32 or bf16
    batch : int >= 1, windows at once; None takes a usual number
    halved : told the new number where memory runs out
    language : str, such as en or english; None leaves it to the checkpoint, which finds it out of each window unless it has one

    Raises
    ------
    ParameterError
        torch is not installed, the folder holds no Whisper that times what it hears, with its tokenizer, or it does not know the
        language.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str,
        precision: str = "fp32",
        batch: int | None = None,
        halved: Callable[[int], None] = lambda batch: None,
        language: str | None = None,
    ):
        require_torch(checkpoint.model)
        require_recogniser(checkpoint)
        import torch
        from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer

        with loading(checkpoint):
            dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            folder = checkpoint.folder
            model: Any = WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True, dtype=dtype)
            self._model = model.to(device).eval()
            self._features = WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
            self._tokenizer: Any = WhisperTokenizer.from_pretrained(folder, local_files_only=True)
        self._settle(checkpoint.model, language)
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

    def _settle(self, name: str, language: str | None) -> None:
        """What the checkpoint says of its tokens, its languages and its heads."""
        from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

        settings, config = self._model.generation_config, self._model.config
        if getattr(settings, "no_timestamps_token_id", None) is None:
            raise ParameterError(
                f"{name}: its generation_config.json lacks no_timestamps_token_id, without which it cannot say when a word is "
                "said; take that file from the checkpoint that it was trained from"
            )
        self._no_times: int = settings.no_timestamps_token_id
        self._text_end = min(self._no_times, config.eos_token_id)  # the end of the text is the first token that is none
        of_all = getattr(settings, "lang_to_id", None) or {}
        self._languages: dict[str, int] = of_all if getattr(settings, "is_multilingual", True) else {}
        self._task: dict[str, int] = (getattr(settings, "task_to_id", None) or {}) if self._languages else {}
        wanted = language or (getattr(settings, "language", None) if self._languages else None)
        self._language = wanted and f"<|{TO_LANGUAGE_CODE.get(wanted.lower(), wanted.lower()).strip('<|>')}|>"
        if self._language and self._language not in self._languages:
            known = ", ".join(sorted(token.strip("<|>") for token in self._languages)) or "only the one language it was made for"
            raise ParameterError(f"language={wanted!r}: {name} knows {known}")
        heads = [(int(layer), int(head)) for layer, head in getattr(settings, "alignment_heads", None) or []]
        there = all(layer < config.decoder_layers and head < config.decoder_attention_heads for layer, head in heads)
        self._heads = heads if there else []  # those of another model, of more layers, tell nothing

    def _hear(self, items: Sequence[np.ndarray], windows: Sequence[tuple[int, int]]) -> list[Heard]:
        import torch

        length = round(WINDOW_S * SAMPLE_RATE_HZ)
        sounds = [items[index][start : start + length] for index, start in windows]
        features = self._features(sounds, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")["input_features"]
        features = features.to(self.device, self._dtype)
        with torch.inference_mode():
            languages = self._languages_of(features)
            said = self._model.generate(
                features,
                return_timestamps=True,
                return_segments=True,  # the model goes over a window in several passes: times of tokens count from where one began
                do_sample=False,
                num_beams=1,
                condition_on_prev_tokens=False,
                **({"language": languages} if languages else {}),
                **({"task": _TASK} if _TASK in self._task else {}),
            )["segments"]
            words = [
                self._words(said[at], features[at : at + 1], samples=len(sound), language=languages[at] if languages else None)
                for at, sound in enumerate(sounds)
            ]
        found = []
        for (_, start), sound, timed in zip(windows, sounds, words, strict=True):
            start_s, seconds = start / SAMPLE_RATE_HZ, len(sound) / SAMPLE_RATE_HZ
            inside = [Word(word.text, word.start_s, min(word.end_s, seconds)) for word in timed if word.start_s < seconds]
            here = tuple(Word(word.text, word.start_s + start_s, word.end_s + start_s) for word in inside)
            found.append(Heard(start_s, start_s + seconds, here))
        return found

    def _languages_of(self, features: Any) -> list[str]:
        """Token of the language of each window; empty for a checkpoint of one language."""
        if not self._languages:
            return []
        if self._language:
            return [self._language] * len(features)
        token_of = {number: token for token, number in self._languages.items()}
        return [token_of[number] for number in self._model.detect_language(features).tolist()]

    def _words(self, segments: Sequence[dict[str, Any]], features: Any, *, samples: int, language: str | None) -> list[Word]:
        """Words of a window, with times from its beginning; one window at a time, so that its neighbours change none of them."""
        seconds = samples / SAMPLE_RATE_HZ
        texts = []
        for segment in segments:
            tokens = [token for token in segment["tokens"].tolist() if token < self._text_end]
            start_s, end_s = (float(segment[name]) for name in ("start", "end"))
            if tokens and start_s < seconds:  # behind the end of the clip nothing was said
                texts.append((tokens, start_s, min(max(start_s, end_s), seconds)))
        prefix = [self._model.generation_config.decoder_start_token_id]
        prefix += [self._languages[language]] if language else []
        prefix += [self._task[_TASK]] if _TASK in self._task else []
        prefix += [self._no_times]
        tokens = [token for inside, _, _ in texts for token in inside]
        words: list[Word] = []
        if self._heads and tokens and len(prefix) + len(tokens) < self._model.config.max_target_positions:
            edges_s = self._edges(prefix, tokens, features, frames=max(1, samples // _FRAME_SAMPLES))
            for inside, _, _ in texts:
                words += token_words(inside, edges_s[: len(inside) + 1], self._decode)
                edges_s = edges_s[len(inside) :]
            return words
        for inside, start_s, end_s in texts:
            words += spread_words(self._decode(inside), start_s, end_s)
        return words

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _edges(self, prefix: Sequence[int], tokens: Sequence[int], features: Any, *, frames: int) -> np.ndarray:
        """When each token begins, and the last one ends [shape=(len(tokens) + 1,)].

        The decoder reads its own text once more, without timestamps, as in ``find_alignment`` of openai/whisper (timing.py). Its
        row at a token is about the token that follows: that of the last one is about the end, and that of the end about nothing.
        """
        import torch

        usual = self._model.config._attn_implementation
        hidden = self._model.model.encoder(features).last_hidden_state
        self._model.set_attn_implementation("eager")  # the others keep no weights
        try:
            ids = torch.tensor([[*prefix, *tokens, self._model.config.eos_token_id]], device=self.device)
            read = self._model.model.decoder(
                input_ids=ids, encoder_hidden_states=hidden, output_attentions=True, use_cache=False
            ).cross_attentions
        finally:
            self._model.set_attn_implementation(usual)
        weights = torch.stack([read[layer][0, head] for layer, head in self._heads])[..., :frames].float().cpu().numpy()
        return word_edges(weights, skip=len(prefix) - 1, width=self._model.config.median_filter_width)


def word_edges(weights: np.ndarray, *, skip: int, width: int = 7) -> np.ndarray:
    """When tokens begin, from what heads of a decoder attend to while it reads them.

    Parameters
    ----------
    weights : np.ndarray [shape=(heads, rows, frames)], >= 0, of frames of 0.02 s; each frame is judged among all rows
    skip : int, first rows that are about no token of the text; nor is the last one
    width : int, odd, frames of the median filter

    Returns
    -------
    edges_s : np.ndarray [shape=(rows - skip - 1,)], never falling
    """
    weights = weights.astype(np.float64)  # where a frame is hardly looked at, it still counts who looks at it most
    least = np.finfo(np.float32).tiny
    share = weights / np.maximum(weights.sum(axis=-1, keepdims=True), least)
    score = (share - share.mean(axis=1, keepdims=True)) / np.maximum(share.std(axis=1, keepdims=True), least)
    half = width // 2
    if score.shape[-1] > half:
        around = np.pad(score, ((0, 0), (0, 0), (half, half)), mode="reflect")
        score = np.partition(np.lib.stride_tricks.sliding_window_view(around, width, axis=-1), half, axis=-1)[..., half]
    return first_frames(-score.mean(axis=0)[skip:-1]) * (_FRAME_SAMPLES / SAMPLE_RATE_HZ)


def first_frames(cost: np.ndarray) -> np.ndarray:
    """First frame of each row on the cheapest path from the first row and frame to the last ones (dynamic time warping).

    A path goes on by a row, by a frame or by both. Along a row its sums are D[j] = min over k <= j of (M[k] - S[k - 1]) + S[j],
    with S the running sum of the costs and M[k] the cheapest way down to frame k.

    Parameters
    ----------
    cost : np.ndarray [shape=(rows, frames)], both >= 1

    Returns
    -------
    frames : np.ndarray [shape=(rows,)], int, never falling
    """
    rows, frames = cost.shape
    sums = np.cumsum(cost.astype(np.float64), axis=1)
    before = sums - cost
    path = np.empty((rows, frames))
    path[0] = sums[0]
    for row in range(1, rows):
        above = path[row - 1]
        down = np.minimum(above, np.concatenate([[np.inf], above[:-1]]))
        path[row] = np.minimum.accumulate(down - before[row]) + sums[row]
    first = np.zeros(rows, np.int64)
    row, frame = rows - 1, frames - 1
    while row > 0:
        ways = [
            (path[row - 1, frame - 1] if frame else np.inf, -1, -1),
            (path[row - 1, frame], -1, 0),
            (path[row, frame - 1] if frame else np.inf, 0, -1),
        ]
        _, up, back = min(ways, key=lambda way: way[0])
        if up:
            first[row] = frame
        row, frame = row + up, frame + back
    return first


def token_words(tokens: Sequence[int], edges_s: Sequence[float] | np.ndarray, decode: Callable[[Sequence[int]], str]) -> list[Word]:
    """Timed tokens as timed words: a word begins at a blank, and with each character of a script that writes none.

    Parameters
    ----------
    tokens : sequence of int
    edges_s : when each token begins, and the last one ends [shape=(len(tokens) + 1,)]
    decode : gives the text of tokens; a character may need several of them
    """
    words: list[Word] = []
    begin = 0
    for end in range(1, len(tokens) + 1):
        text = decode(tokens[begin:end])
        is_part = (text.endswith(_HALF_CHARACTER) and end - begin < _MOST_BYTES) or not text.strip()
        if is_part and end < len(tokens):
            continue
        timed = spread_words(text, float(edges_s[begin]), float(edges_s[end]))
        if timed and words and not text[0].isspace() and not _IS_UNSPACED.match(timed[0].text):
            last = words[-1]
            if not _IS_UNSPACED.match(last.text.strip()):
                words[-1] = Word(last.text + timed[0].text, last.start_s, timed[0].end_s)
                timed = timed[1:]
        words += timed
        begin = end
    return words


def spread_words(text: str, start_s: float, end_s: float) -> list[Word]:
    """Words of a segment, each with a share of its time as long as the word.

    In scripts that write no blanks each character stands for itself; a blank before one of them is kept.

    Examples
    --------
    >>> spread_words("a long", 1.0, 2.0)
    [Word(text='a', start_s=1.0, end_s=1.2), Word(text='long', start_s=1.2, end_s=2.0)]
    """
    words = []
    for place, part in enumerate(text.split()):
        pieces = _PIECE.findall(part)
        blank = " " if (place or text[0].isspace()) and _IS_UNSPACED.match(part) else ""
        words += [blank + pieces[0], *pieces[1:]]
    sizes = np.cumsum([0, *(len(word.strip()) for word in words)])
    edges = start_s + (end_s - start_s) * sizes / max(1, sizes[-1])
    return [Word(word, round(float(edges[at]), 3), round(float(edges[at + 1]), 3)) for at, word in enumerate(words)]


@cache
def column_names() -> tuple[str, ...]:
    """Names of the columns of any text."""
    return tuple(column.name for column in columns("transcript:describe"))
