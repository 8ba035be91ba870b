"""Clips and the texts that they should say in, how well a Whisper expects the text out: log-probabilities in nats.

The decoder is given the text word for word (teacher forcing), and says of each token how likely it is after the clip and the text
before it. Fluent, clear and faithful speech makes the text likely; what is slurred, left out or misread makes it surprising.
Whisper reads 30 s: of a longer clip, and of a text of more tokens than the decoder reads, nothing is said (NaN). To split such a
text among windows one would have to know where each word is said, which a text that is misread does not tell. Waveforms are mono
float32 at 16 kHz.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from core.encoders import whisper
from core.encoders.source import Load, library_versions
from core.encoders.spoken import Spoken, SpokenReader
from core.runtime.weights import Checkpoint

# Raise it whenever windows, tokens or columns change: stored vectors are then computed anew.
VERSION = 1
SURPRISING = (-1.0, -3.0)  # nats: tokens below are counted


class Likelihoods(NamedTuple):
    """What the decoder says of a text.

    Attributes
    ----------
    tokens : np.ndarray [shape=(n,)], log-probability of each token, in nats
    ranks : np.ndarray [shape=(n,)], int, how many tokens are likelier, and this one; 1 is the likeliest
    entropies : np.ndarray [shape=(n,)], of the distribution at each token, in nats
    end : float, log-probability that the text ends behind its last token
    words : np.ndarray [shape=(w,)], log-probability of each word, the sum over its tokens
    """

    tokens: np.ndarray
    ranks: np.ndarray
    entropies: np.ndarray
    end: float
    words: np.ndarray


# Name, unit and definition of each column.
COLUMNS = (
    ("token_logp_mean", "nat", "mean log-probability of the tokens of the text"),
    ("token_logp_min", "nat", "log-probability of the least likely token"),
    ("token_logp_median", "nat", "median log-probability of the tokens"),
    ("token_logp_std", "nat", "standard deviation of the log-probabilities of the tokens"),
    ("token_share_below_1", "1", "share of tokens with a log-probability below -1"),
    ("token_share_below_3", "1", "share of tokens with a log-probability below -3"),
    ("token_logp_sum", "nat", "log-probability of the whole text, without its end"),
    ("end_logp", "nat", "log-probability that the text ends where it does"),
    ("token_log_rank_mean", "1", "mean natural logarithm of the rank of the tokens, the likeliest has rank 1"),
    ("token_entropy_mean", "nat", "mean entropy of the decoder's distribution at the tokens"),
    ("tokens_per_s", "1/s", "tokens over the length of the clip"),
    ("words_per_s", "1/s", "words, as blanks separate them, over the length of the clip"),
    ("word_logp_mean", "nat", "mean log-probability of the words, each the sum over its tokens"),
    ("word_logp_min", "nat", "log-probability of the least likely word"),
)


def definition(checkpoint: Checkpoint, *, precision: str, to_clip: bool, language: str | None = None) -> dict[str, Any]:
    """Everything besides the audio and the text that the numbers depend on."""
    told = {} if language is None else {"language": language}
    what = {"reading": VERSION, "revision": checkpoint.revision, "precision": precision, "libraries": library_versions()}
    return what | {"columns": [list(column) for column in COLUMNS]} | whisper.definition(to_clip=to_clip) | told


def plain_text(text: str) -> str:
    """A text as the decoder reads it: runs of blanks are one, and what is all in capitals is read in small letters.

    Examples
    --------
    >>> plain_text(" WE CALL  IT BEAR "), plain_text("I call NASA")
    ('we call it bear', 'I call NASA')
    """
    text = " ".join(text.split())
    return text.lower() if text.isupper() else text


def summarise(likelihoods: Likelihoods, *, seconds: float) -> np.ndarray:
    """The columns of a reading.

    Parameters
    ----------
    likelihoods : Likelihoods of one token at least
    seconds : float > 0, length of the clip

    Returns
    -------
    values : np.ndarray [shape=(14,)], float32, as ``COLUMNS`` names them
    """
    tokens, words = likelihoods.tokens.astype(np.float64), likelihoods.words.astype(np.float64)
    values = [
        tokens.mean(),
        tokens.min(),
        np.median(tokens),
        tokens.std(),
        *((tokens < limit).mean() for limit in SURPRISING),
        tokens.sum(),
        likelihoods.end,
        np.log(likelihoods.ranks).mean(),
        likelihoods.entropies.mean(),
        len(tokens) / seconds,
        len(words) / seconds,
        words.mean(),
        words.min(),
    ]
    return np.array(values, np.float32)


class Reader(SpokenReader):
    """A loaded Whisper that reads along. Parameters as ``SpokenReader``."""

    width = len(COLUMNS)

    def _vectors(self, items: Sequence[Spoken], *, samples: int) -> list[np.ndarray | None]:
        read = self._read(items, samples=samples)
        return [
            None if likelihoods is None else summarise(likelihoods, seconds=self.seconds(item))
            for item, likelihoods in zip(items, read, strict=True)
        ]

    def _read(self, items: Sequence[Spoken], *, samples: int) -> list[Likelihoods | None]:
        """What the decoder says of the texts of clips that are read at one length; None of a text that is too long."""
        import torch

        encoded, languages = self._encode(items, samples=samples)
        with torch.inference_mode():
            words = [self._tokens(item.text) for item in items]
            end = self._model.config.eos_token_id
            ids = [
                [*self._prefix(languages[at] if languages else None), *(token for word in said for token in word), end]
                for at, said in enumerate(words)
            ]
            most = self._model.config.max_target_positions
            fitting = [at for at, of in enumerate(ids) if len(of) <= most]
            longest = max((len(ids[at]) for at in fitting), default=1)
            padded = [of[:longest] + [end] * (longest - len(of)) for of in ids]  # what stands behind changes nothing before it
            decoder_ids = torch.tensor(padded, device=self.device)
            logits = self._model(encoder_outputs=encoded, decoder_input_ids=decoder_ids, use_cache=False).logits
            skip = len(self._prefix(languages[0] if languages else None))
            return [
                _likelihoods(logits[at, skip - 1 : len(of) - 1], of[skip:], words[at]) if at in fitting else None
                for at, of in enumerate(ids)
            ]

    def _tokens(self, text: str) -> list[list[int]]:
        """Tokens of each word, with the blank before it."""
        return [list(self._tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) for word in plain_text(text).split()]


def load(checkpoint: Checkpoint, how: Load, *, to_clip: bool, language: str | None = None) -> Reader:
    """A reader in the precision of its device."""
    device = how.device
    options: dict[str, Any] = {"device": device.kind, "precision": device.precision, "batch": how.batch, "halved": how.halved}
    options["encoded"] = how.encoded
    return Reader(checkpoint, to_clip=to_clip, language=language, **options)


def _likelihoods(logits: Any, ids: Sequence[int], words: Sequence[Sequence[int]]) -> Likelihoods:
    """Of the rows of a decoder [shape=(tokens + 1, vocabulary)], each about the token that follows, the last about the end."""
    import torch

    logp = torch.log_softmax(logits.float(), dim=-1)
    said = logp.gather(1, torch.tensor(ids, device=logp.device)[:, None])  # (tokens + 1, 1)
    ranks = 1 + (logp > said).sum(dim=1)
    entropies = -(logp.exp() * logp).sum(dim=1)
    tokens = said[:, 0].double().cpu().numpy()
    starts = np.cumsum([0, *(len(word) for word in words[:-1])])
    return Likelihoods(
        tokens[:-1], ranks[:-1].cpu().numpy(), entropies[:-1].double().cpu().numpy(), float(tokens[-1]),
        np.add.reduceat(tokens[:-1], starts),
    )  # fmt: skip
