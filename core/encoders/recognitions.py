"""Clips and the texts that they should say in, what a Whisper recognises instead out: word errors, certainty, pauses.

The decoder is not told the text: it takes the likeliest token at each step. What it makes of the clip is compared with the text
(``word_errors``); what its heads attend to meanwhile tells when each word is said (``alignment``), and so the pauses between words
(``pauses``). A window that is cut to a clip keeps 5 s of silence behind it: with less, Whisper often does not find the end and
says the last words again and again. Waveforms are mono float32 at 16 kHz.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.encoders import pauses, whisper, word_errors
from core.encoders.alignment import FRAME_S
from core.encoders.source import SAMPLE_RATE_HZ, Load, library_versions, minor_version
from core.encoders.spoken import Spoken, SpokenReader
from core.encoders.words import Word, token_words
from core.runtime.cache import content_hash
from core.runtime.weights import Checkpoint, loading

# Raise it whenever windows, tokens or columns change: stored vectors are then computed anew.
VERSION = 1
SILENCE_S = 5.0
TOKENS_PER_S, FURTHER_TOKENS = 10, 10  # that are decoded at most: speech has about 5 tokens a second
_FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE_HZ)

# Name, unit and definition of each column.
COLUMNS = (
    *word_errors.COLUMNS,
    ("words_per_s", "1/s", "recognised words over the length of the clip"),
    ("token_logp_mean", "nat", "mean log-probability of the tokens that are recognised"),
    ("token_logp_min", "nat", "log-probability of the least likely token that is recognised"),
    *pauses.COLUMNS,
)


@dataclass(frozen=True, slots=True)
class Recognised:
    """What is recognised in a clip.

    Attributes
    ----------
    text : str
    language : str, code
    logp : np.ndarray [shape=(n,)], log-probability of each token, in nats
    words : tuple of Word, with times of the clip; empty where the checkpoint does not tell times
    """

    text: str
    language: str
    logp: np.ndarray
    words: tuple[Word, ...]


def definition(checkpoint: Checkpoint, *, precision: str, to_clip: bool, language: str | None = None) -> dict[str, Any]:
    """Everything besides the audio and the text that the numbers depend on."""
    told = {} if language is None else {"language": language}
    spellings = checkpoint.folder / word_errors.SPELLINGS
    what = {
        "recognition": VERSION,
        "revision": checkpoint.revision,
        "precision": precision,
        "libraries": library_versions() | {"jiwer": minor_version("jiwer")},
        "spellings": content_hash(spellings).hex() if spellings.is_file() else "",
        "tokens": [TOKENS_PER_S, FURTHER_TOKENS],
        "columns": [list(column) for column in COLUMNS],
    }
    return what | whisper.definition(to_clip=to_clip, silence_s=SILENCE_S) | told


class FreeReader(SpokenReader):
    """A loaded Whisper that recognises clips and compares them with texts. Parameters as ``SpokenReader``."""

    width = len(COLUMNS)
    silence_s = SILENCE_S

    def __init__(self, checkpoint: Checkpoint, **others: Any):
        super().__init__(checkpoint, **others)
        import torch

        with loading(checkpoint):
            self._spellings = word_errors.read_spellings(checkpoint.folder)
        settings, end = self._model.generation_config, self._model.config.eos_token_id
        self._never = torch.zeros(self._model.config.vocab_size, dtype=torch.bool, device=self.device)
        self._never[self._text_end :] = True  # times, languages, tasks
        self._never[end] = False
        self._never[list(settings.suppress_tokens or ())] = True
        self._not_first = self._never.clone()
        self._not_first[list(settings.begin_suppress_tokens or ())] = True

    def recognise(self, sounds: Sequence[np.ndarray], *, samples: int) -> list[Recognised]:
        """What is said in clips.

        Parameters
        ----------
        sounds : of what ``transcripts.prepare_clip`` gives, each np.ndarray [shape=(n,)], n <= samples
        samples : int, length of the windows that are read
        """
        import torch

        encoded, languages = self._encode([Spoken(y, "") for y in sounds], samples=samples)
        prefixes = [self._prefix(languages[at] if languages else None) for at in range(len(sounds))]
        skip, end = len(prefixes[0]), self._model.config.eos_token_id
        room = self._model.config.max_target_positions - skip - 1
        most = [min(room, FURTHER_TOKENS + math.ceil(TOKENS_PER_S * len(y) / SAMPLE_RATE_HZ)) for y in sounds]
        with torch.inference_mode():
            said = self._decode_greedily(encoded, prefixes, most)
            longest = max(map(len, said))
            padded = [
                [*prefix, *tokens, end] + [end] * (longest - len(tokens)) for prefix, tokens in zip(prefixes, said, strict=True)
            ]
            states, weights = self._attend(torch.tensor(padded, device=self.device), encoded.last_hidden_state)
            recognised = []
            for at, tokens in enumerate(said):
                logits = self._model.proj_out(states[at, skip - 1 : skip - 1 + len(tokens)])
                logp = torch.log_softmax(logits.float(), dim=-1).cpu().double().numpy()[np.arange(len(tokens)), tokens]
                words: list[Word] = []
                if weights is not None and tokens:
                    own = weights[at, :, : skip + len(tokens) + 1]
                    edges_s = self._edges_of(own, skip=skip - 1, frames=max(1, len(sounds[at]) // _FRAME_SAMPLES))
                    words = pauses.trim_words(token_words(tokens, edges_s, self._decode), sounds[at])
                language = languages[at].strip("<|>") if languages else word_errors.ENGLISH
                recognised.append(Recognised(self._decode(tokens).strip(), language, logp, tuple(words)))
        return recognised

    def _vectors(self, items: Sequence[Spoken], *, samples: int) -> list[np.ndarray | None]:
        heard = self.recognise([item.y for item in items], samples=samples)
        return [self._compare(item, recognised) for item, recognised in zip(items, heard, strict=True)]

    def _compare(self, item: Spoken, recognised: Recognised) -> np.ndarray:
        how: dict[str, Any] = {"language": recognised.language, "spellings": self._spellings}
        plain = word_errors.normalise(recognised.text, **how)
        logp = recognised.logp
        values = [
            *word_errors.compare_texts(word_errors.normalise(item.text, **how), plain),
            len(plain.split()) / self.seconds(item),
            *((logp.mean(), logp.min()) if len(logp) else (np.nan, np.nan)),
            *pauses.summarise_times(recognised.words),
        ]
        return np.array(values, np.float32)

    def _decode_greedily(self, encoded: Any, prefixes: Sequence[Sequence[int]], most: Sequence[int]) -> list[list[int]]:
        """The likeliest token at each step, of each window up to the end of its text or so many tokens."""
        import torch

        end = self._model.config.eos_token_id
        said: list[list[int]] = [[] for _ in prefixes]
        is_open = [True] * len(prefixes)
        ids, past = torch.tensor(prefixes, device=self.device), None
        for step in range(max(most)):
            read = self._model(encoder_outputs=encoded, decoder_input_ids=ids, past_key_values=past, use_cache=True)
            past = read.past_key_values
            never = self._never if step else self._not_first
            chosen = read.logits[:, -1].float().masked_fill(never, -torch.inf).argmax(dim=-1)
            for at, token in enumerate(chosen.tolist()):
                is_open[at] = is_open[at] and token != end and step < most[at]
                if is_open[at]:
                    said[at].append(token)
            if not any(is_open):
                break
            ids = chosen[:, None]
        return said


def load(checkpoint: Checkpoint, how: Load, *, to_clip: bool, language: str | None = None) -> FreeReader:
    """A recogniser in the precision of its device."""
    device = how.device
    options: dict[str, Any] = {"device": device.kind, "precision": device.precision, "batch": how.batch, "halved": how.halved}
    return FreeReader(checkpoint, to_clip=to_clip, language=language, **options)
