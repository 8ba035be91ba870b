"""Clips and the texts that they should say in, how well each letter fits its stretch of the clip out: log-probabilities in nats.

A model with a CTC head (Wav2Vec2, HuBERT, WavLM and their relatives) says of each frame how likely each letter is, or none (blank).
The likeliest path through the letters of the text, in order, aligns them with the frames (``torchaudio.functional.forced_align``).
The goodness of pronunciation of a letter is the mean over its frames of its log-probability, less that of the likeliest letter of
each frame (Witt and Young 2000, with letters in place of phones): 0 where the model hears that very letter, and the lower the surer
it is of another one. Letters of such a model are short peaks among blanks; a pause is what lies between the last peak of a word
and the first one of the next. Waveforms are mono float32 at 16 kHz.
"""

import json
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from core.encoders import pauses, pretrained
from core.encoders.pretrained import Window, cut_windows, own_frames
from core.encoders.source import SAMPLE_RATE_HZ, Load, WindowModel, minor_version
from core.encoders.spoken import Spoken
from core.encoders.words import Word
from core.errors import ParameterError
from core.runtime.cache import content_hash
from core.runtime.device import require_torch
from core.runtime.weights import VOCABULARY, Checkpoint, loading, require_ctc

# Raise it whenever windows, letters or columns change: stored vectors are then computed anew.
VERSION = 1
DELIMITER = "|"  # between words
POOR = -1.0  # nats: letters below are counted
_CPU_WINDOWS, _GPU_WINDOWS = 2, 32

# Name, unit and definition of each column.
COLUMNS = (
    ("gop_mean", "nat", "mean goodness of pronunciation of the letters of the text"),
    ("gop_min", "nat", "goodness of pronunciation of the worst letter"),
    ("gop_median", "nat", "median goodness of pronunciation of the letters"),
    ("gop_std", "nat", "standard deviation of the goodness of pronunciation of the letters"),
    ("gop_share_below_1", "1", "share of letters with a goodness of pronunciation below -1"),
    ("word_gop_mean", "nat", "mean over words of the mean goodness of pronunciation of their letters"),
    ("word_gop_min", "nat", "goodness of pronunciation of the worst word"),
    ("letter_logp_mean", "nat", "mean over letters of the mean log-probability over their frames"),
    ("letter_logp_min", "nat", "mean log-probability over its frames of the least likely letter"),
    ("path_logp_mean", "nat", "mean over all frames of the log-probability along the path, blanks included"),
    ("path_gop_mean", "nat", "the same, less the log-probability of what is likeliest in each frame"),
    ("words_per_s", "1/s", "words of the text over the length of the clip"),
    *pauses.COLUMNS,
)


class Span(NamedTuple):
    """Frames of a letter, or of a blank between words: first, and the one behind the last."""

    start: int
    end: int


def definition(checkpoint: Checkpoint, *, precision: str) -> dict[str, Any]:
    """Everything besides the audio and the text that the numbers depend on."""
    read = pretrained.definition(checkpoint, precision=precision)
    return read | {
        "pronunciation": VERSION,
        "vocabulary": content_hash(checkpoint.folder / VOCABULARY).hex(),
        "torchaudio": minor_version("torchaudio"),
        "columns": [list(column) for column in COLUMNS],
    }


def read_vocabulary(checkpoint: Checkpoint) -> dict[str, int]:
    """Number of each letter of a model.

    Raises
    ------
    ParameterError
        The file is no such list.
    """
    path = checkpoint.folder / VOCABULARY
    try:
        vocabulary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError(f"{checkpoint.model}: {path} cannot be read ({error}); bring the file again") from None
    if not isinstance(vocabulary, dict) or not all(isinstance(number, int) for number in vocabulary.values()):
        raise ParameterError(f"{checkpoint.model}: {path} should give one number for each letter, of one language")
    return vocabulary


def letters_of(text: str, vocabulary: Mapping[str, int]) -> list[list[int]]:
    """Numbers of the letters of each word; what a model does not know is left out, and so are words without any letter.

    Parameters
    ----------
    text : str
    vocabulary : as ``read_vocabulary`` gives it; a letter that it has in capitals alone is taken so, and the other way round

    Examples
    --------
    >>> letters_of("A cab - 42!", {"|": 0, "A": 1, "B": 2, "C": 3})
    [[1], [3, 1, 2]]
    """
    text = unicodedata.normalize("NFC", text).replace("\u2019", "'")
    words = []
    for word in text.replace(DELIMITER, " ").split():
        spelt = [next((vocabulary[way] for way in (one, one.lower(), one.upper()) if way in vocabulary), None) for one in word]
        if known := [number for number in spelt if number is not None]:
            words.append(known)
    return words


def align(logp: np.ndarray, letters: Sequence[int], *, blank: int) -> tuple[np.ndarray, list[Span]] | None:
    """The likeliest path of CTC through letters (Graves et al. 2006).

    Parameters
    ----------
    logp : np.ndarray [shape=(t, v)], float32, log-probabilities of each frame
    letters : sequence of int, none of them the blank, at least one
    blank : int

    Returns
    -------
    path : np.ndarray [shape=(t,)], int, letter or blank of each frame
    spans : list of Span, of each letter
    None where there are fewer frames than letters, with a blank between two that are alike
    """
    import torch
    from torchaudio.functional import forced_align, merge_tokens

    least = len(letters) + sum(one == other for one, other in pairwise(letters))
    if len(logp) < least:
        return None
    emissions, targets = torch.from_numpy(logp)[None], torch.tensor([list(letters)], dtype=torch.int32)
    paths, scores = forced_align(emissions, targets, blank=blank)
    spans = [Span(span.start, span.end) for span in merge_tokens(paths[0], scores[0], blank=blank)]
    return paths[0].numpy(), spans


def summarise(logp: np.ndarray, words: Sequence[Sequence[int]], *, blank: int, delimiter: int | None, seconds: float) -> np.ndarray:
    """The columns of a clip and a text.

    Parameters
    ----------
    logp : np.ndarray [shape=(t, v)], float32, log-probabilities of each frame
    words : of the letters of each word, as ``letters_of`` gives them
    blank : int
    delimiter : int, what stands between words; None where the model has no such letter
    seconds : float > 0, length of the clip

    Returns
    -------
    values : np.ndarray [shape=(20,)], float32, as ``COLUMNS`` names them; NaN where nothing can be aligned
    """
    between = [] if delimiter is None else [delimiter]
    letters = [letter for word in words for letter in (*between, *word)][len(between) :]
    aligned = align(logp, letters, blank=blank) if letters else None
    if aligned is None:
        return np.full(len(COLUMNS), np.nan, np.float32)
    path, spans = aligned
    logp = logp.astype(np.float64)
    on_path = logp[np.arange(len(path)), path]
    gap = on_path - logp.max(axis=1)
    at, of_words = 0, []
    for word in words:
        of_words.append(spans[at : at + len(word)])
        at += len(word) + len(between)
    gops = [[gap[slice(*span)].mean() for span in of_word] for of_word in of_words]
    likely = np.array([on_path[slice(*span)].mean() for of_word in of_words for span in of_word])
    flat, word_gops = np.concatenate(gops), [np.mean(gop) for gop in gops]
    frame_s = seconds / len(logp)
    timed = [
        Word("x" * len(word), of_word[0].start * frame_s, of_word[-1].end * frame_s)
        for word, of_word in zip(words, of_words, strict=True)
    ]
    values = [
        flat.mean(),
        flat.min(),
        np.median(flat),
        flat.std(),
        (flat < POOR).mean(),
        np.mean(word_gops),
        min(word_gops),
        likely.mean(),
        likely.min(),
        on_path.mean(),
        gap.mean(),
        len(words) / seconds,
        *pauses.summarise_times(timed),
    ]
    return np.array(values, np.float32)


class Aligner(WindowModel):
    """A loaded model with a CTC head.

    Parameters
    ----------
    checkpoint : Checkpoint, with its vocabulary
    device : str, cpu or cuda
    precision : str, fp32 or bf16
    batch : int >= 1, windows at once; None takes a usual number
    halved : told the new number where memory runs out

    Raises
    ------
    ParameterError
        torch is not installed, or the folder holds no such model.
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
        require_ctc(checkpoint)
        import torch
        from transformers import AutoModelForCTC

        self.checkpoint, self.device = checkpoint, device
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._vocabulary = read_vocabulary(checkpoint)
        with loading(checkpoint):
            model: Any = AutoModelForCTC.from_pretrained(checkpoint.folder, local_files_only=True, dtype=self._dtype)
            self._model = model.to(device).eval()
        self._blank = int(self._model.config.pad_token_id)
        super().__init__(batch or (_GPU_WINDOWS if device == "cuda" else _CPU_WINDOWS), halved)

    def seconds(self, item: Spoken) -> float:  # type: ignore[override]
        """Length of an item."""
        return len(item.y) / SAMPLE_RATE_HZ

    def __call__(self, items: Sequence[Spoken]) -> list[np.ndarray]:
        """Goodness of pronunciation of clips.

        Parameters
        ----------
        items : sequence of Spoken, whose waveforms are what ``pretrained.prepare_clip`` gives

        Returns
        -------
        vectors : list of np.ndarray [shape=(20,)], float32; NaN where a text has no letter of the model, or too many for its clip
        """
        vectors = []
        delimiter = self._vocabulary.get(DELIMITER)
        for item, logp in zip(items, self.log_probabilities([item.y for item in items]), strict=True):
            words = letters_of(item.text, self._vocabulary)
            vectors.append(summarise(logp, words, blank=self._blank, delimiter=delimiter, seconds=self.seconds(item)))
        return vectors

    def log_probabilities(self, sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Of each frame of clips, in windows of 10 s [shape=(t, v)], float32.

        Parameters
        ----------
        sounds : of what ``pretrained.prepare_clip`` gives, each np.ndarray [shape=(n,)]
        """
        alike: dict[int, list[Window]] = defaultdict(list)
        for index, y in enumerate(sounds):
            for window in cut_windows(self.checkpoint, index, len(y)):
                alike[window.length].append(window)
        parts: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
        for same in alike.values():
            for window, logp in zip(same, self.in_batches(lambda some: self._read(sounds, some), same), strict=True):
                parts[window.clip].append((window.start, logp[own_frames(self.checkpoint, window, len(logp))]))
        return [np.concatenate([part for _, part in sorted(parts[at], key=itemgetter(0))]) for at in range(len(sounds))]

    def _read(self, sounds: Sequence[np.ndarray], windows: Sequence[Window]) -> list[np.ndarray]:
        import torch

        stacked = np.stack([sounds[window.clip][window.start : window.start + window.length] for window in windows])
        with torch.inference_mode():
            logits = self._model(torch.from_numpy(stacked).to(self.device, self._dtype)).logits
            return list(torch.log_softmax(logits.float(), dim=-1).cpu().numpy())


def load(checkpoint: Checkpoint, how: Load) -> Aligner:
    """An aligner in the precision of its device."""
    device = how.device
    return Aligner(checkpoint, device=device.kind, precision=device.precision, batch=how.batch, halved=how.halved)
