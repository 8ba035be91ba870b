"""Clips in, timed words out, as a Whisper checkpoint recognises them.

A recogniser hears 30 s at a time; windows overlap by 5 s, and ``words.join_words`` puts their words together. A word has its time
from what the decoder attends to (``alignment``); where a checkpoint does not name the heads that tell, the words of a segment
share its time. Times in seconds; waveforms are mono float32 at 16 kHz.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from core.data.audio import Clip
from core.encoders.alignment import FRAME_S, word_edges
from core.encoders.source import SAMPLE_RATE_HZ, Load, WindowModel, library_versions, to_16_khz
from core.encoders.words import Heard, Word, join_words, spread_words, token_words
from core.errors import ParameterError
from core.runtime.device import require_torch
from core.runtime.weights import Checkpoint, loading, require_recogniser

# Raise it whenever windows, joining or columns change: stored transcripts are then made anew.
VERSION = 2
WINDOW_S = 30.0
OVERLAP_S = 5.0
ENGLISH = "en"  # what a checkpoint of one language was made for
_CPU_WINDOWS, _GPU_WINDOWS = 2, 32
_TASK = "transcribe"
_FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE_HZ)
_GENERATION = "generation_config.json"


def definition(checkpoint: Checkpoint, *, precision: str, language: str | None = None) -> dict[str, Any]:
    """Everything besides the audio that a transcript depends on."""
    windows = {"window_s": WINDOW_S, "overlap_s": OVERLAP_S}
    told = {} if language is None else {"language": language}
    what = {"transcript": VERSION, "revision": checkpoint.revision, "precision": precision, "libraries": library_versions()}
    return what | windows | told


def prepare_clip(clip: Clip) -> np.ndarray:
    """Waveform at 16 kHz [shape=(n,)], float32."""
    return np.ascontiguousarray(to_16_khz(clip), dtype=np.float32)


def window_starts(samples: int) -> list[int]:
    """First sample of each window of 30 s: each begins 5 s before the one before it ends, and the last reaches the end of the clip.

    Examples
    --------
    >>> [start / SAMPLE_RATE_HZ for start in window_starts(70 * SAMPLE_RATE_HZ)]
    [0.0, 25.0, 50.0]
    """
    length, step = round(WINDOW_S * SAMPLE_RATE_HZ), round((WINDOW_S - OVERLAP_S) * SAMPLE_RATE_HZ)
    return [0, *range(step, max(step, samples - length + step), step)] if samples > length else [0]


def require_language(checkpoint: Checkpoint, language: str) -> None:
    """Refuse a language that a recogniser does not know, before its weights are loaded.

    Raises
    ------
    ParameterError
        It names the languages that the checkpoint knows.
    """
    try:
        settings = json.loads((checkpoint.folder / _GENERATION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # loading it says what is wrong with that file
    several = settings.get("is_multilingual", True)
    _check_language(checkpoint.model, language, settings.get("lang_to_id") or {} if several else {})


def _check_language(model: str, language: str, tokens: Iterable[str]) -> None:
    """Tokens of languages are such as ``<|en|>``; a checkpoint without any was made for English."""
    known = sorted(token.strip("<|>") for token in tokens)
    if language not in (known or [ENGLISH]):
        raise ParameterError(f"language={language!r}: {model} knows {', '.join(known) or 'only the one language it was made for'}")


class SpokenModel(WindowModel):
    """A loaded Whisper with its tokenizer, and the languages that it knows.

    Parameters
    ----------
    checkpoint : Checkpoint, with its tokenizer
    device : str, cpu or cuda
    precision : str, fp32 or bf16
    batch : int >= 1, windows at once; None takes a usual number
    halved : told the new number where memory runs out
    language : str, such as en or english; None leaves it to the checkpoint, which detects it in each window unless it has one

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
        self.device, self._dtype = device, dtype
        super().__init__(batch or (_GPU_WINDOWS if device == "cuda" else _CPU_WINDOWS), halved)

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
        self._text_end = min(self._no_times, config.eos_token_id)  # the end of the text is the first token that is no text
        of_all = getattr(settings, "lang_to_id", None) or {}
        self._languages: dict[str, int] = of_all if getattr(settings, "is_multilingual", True) else {}
        self._task: dict[str, int] = (getattr(settings, "task_to_id", None) or {}) if self._languages else {}
        wanted = language or (getattr(settings, "language", None) if self._languages else None)
        self._language = None
        if wanted:
            code = TO_LANGUAGE_CODE.get(wanted.lower(), wanted.lower()).strip("<|>")
            _check_language(name, code, self._languages)
            self._language = f"<|{code}|>" if self._languages else None
        heads = [(int(layer), int(head)) for layer, head in getattr(settings, "alignment_heads", None) or []]
        there = all(layer < config.decoder_layers and head < config.decoder_attention_heads for layer, head in heads)
        self._heads = heads if there else []  # those of another model, of more layers, tell nothing

    def _languages_of(self, windows: int, **heard: Any) -> list[str]:
        """Language token of each window, by its ``input_features`` or ``encoder_outputs``; none of a model of one language."""
        if not self._languages:
            return []
        if self._language:
            return [self._language] * windows
        token_of = {number: token for token, number in self._languages.items()}
        return [token_of[number] for number in self._model.detect_language(**heard).tolist()]

    def _prefix(self, language: str | None) -> list[int]:
        """The tokens before a text without times."""
        prefix = [self._model.generation_config.decoder_start_token_id]
        prefix += [self._languages[language]] if language else []
        prefix += [self._task[_TASK]] if _TASK in self._task else []
        return [*prefix, self._no_times]

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _attend(self, ids: Any, hidden: Any) -> tuple[Any, Any]:
        """What the decoder makes of texts, and what the heads that tell times attend to meanwhile.

        The decoder reads texts without timestamps, as in ``find_alignment`` of openai/whisper (timing.py). Its row at a token is
        about the token that follows: that of the last one is about the end, and that of the end about nothing.

        Parameters
        ----------
        ids : torch.Tensor [shape=(b, tokens)], int
        hidden : torch.Tensor [shape=(b, frames, width)], of the encoder

        Returns
        -------
        states : torch.Tensor [shape=(b, tokens, width)]
        weights : torch.Tensor [shape=(b, heads, tokens, frames)]; None where the checkpoint does not name the heads
        """
        import torch

        usual = self._model.config._attn_implementation
        self._model.set_attn_implementation("eager")  # the others keep no weights
        try:
            read = self._model.model.decoder(input_ids=ids, encoder_hidden_states=hidden, output_attentions=True, use_cache=False)
        finally:
            self._model.set_attn_implementation(usual)
        weights = [read.cross_attentions[layer][:, head] for layer, head in self._heads]
        return read.last_hidden_state, torch.stack(weights, dim=1) if weights else None

    def _edges_of(self, weights: Any, *, skip: int, frames: int) -> np.ndarray:
        """When tokens begin, from the weights of one text [shape=(heads, rows, frames)]; ``skip`` as of ``word_edges``."""
        cut = weights[..., :frames].float().cpu().numpy()
        return word_edges(cut, skip=skip, width=self._model.config.median_filter_width)


class Recogniser(SpokenModel):
    """A loaded Whisper that recognises what is said. Parameters as ``SpokenModel``."""

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
        by_clip: dict[int, list[Heard]] = {}
        for (index, _), heard in zip(windows, self.in_batches(lambda some: self._hear(items, some), windows), strict=True):
            by_clip.setdefault(index, []).append(heard)
        return [join_words(by_clip[index]) for index in range(len(items))]

    def _hear(self, items: Sequence[np.ndarray], windows: Sequence[tuple[int, int]]) -> list[Heard]:
        import torch

        length = round(WINDOW_S * SAMPLE_RATE_HZ)
        sounds = [items[index][start : start + length] for index, start in windows]
        features = self._features(sounds, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")["input_features"]
        features = features.to(self.device, self._dtype)
        with torch.inference_mode():
            languages = self._languages_of(len(features), input_features=features)
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

    def _words(self, segments: Sequence[dict[str, Any]], features: Any, *, samples: int, language: str | None) -> list[Word]:
        """Words of a window, with times from its beginning; one window at a time, so that its neighbours change none of them."""
        seconds = samples / SAMPLE_RATE_HZ
        texts = []
        for segment in segments:
            tokens = [token for token in segment["tokens"].tolist() if token < self._text_end]
            start_s, end_s = (float(segment[name]) for name in ("start", "end"))
            if tokens and start_s < seconds:  # behind the end of the clip nothing was said
                texts.append((tokens, start_s, min(max(start_s, end_s), seconds)))
        prefix = self._prefix(language)
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

    def _edges(self, prefix: Sequence[int], tokens: Sequence[int], features: Any, *, frames: int) -> np.ndarray:
        """When each token begins, and the last one ends [shape=(len(tokens) + 1,)]; the decoder reads its own text once more."""
        import torch

        ids = torch.tensor([[*prefix, *tokens, self._model.config.eos_token_id]], device=self.device)
        _, weights = self._attend(ids, self._model.model.encoder(features).last_hidden_state)
        return self._edges_of(weights[0], skip=len(prefix) - 1, frames=frames)


def load(checkpoint: Checkpoint, how: Load, *, language: str | None = None) -> Recogniser:
    """A recogniser in the precision of its device."""
    device = how.device
    return Recogniser(
        checkpoint, device=device.kind, precision=device.precision, batch=how.batch, halved=how.halved, language=language
    )
