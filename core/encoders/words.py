"""Words with times in, one transcript and eight columns of any text out. Times in seconds.

A word has a time from the tokens of a decoder (``token_words``), or a share of the time of its segment (``spread_words``);
``join_words`` puts the words of windows that overlap together so that at a seam none is lost and none doubled.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

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


def separate_unspaced(text: str) -> str:
    """A text whose characters of scripts that write no blanks stand between blanks.

    Examples
    --------
    >>> separate_unspaced("so 今天 then").split()
    ['so', '今', '天', 'then']
    """
    return _IS_UNSPACED.sub(r" \g<0> ", text)


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


def words_as_json(words: Sequence[Word]) -> str:
    """Timed words as a text to be stored."""
    return json.dumps([[word.text, round(word.start_s, 3), round(word.end_s, 3)] for word in words], ensure_ascii=False)


def words_from_json(text: str) -> list[Word]:
    """What ``words_as_json`` gave."""
    return [Word(*word) for word in json.loads(text)]
