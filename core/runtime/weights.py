"""Name of a pretrained model in, the folder with its weights out: from a folder, from what was fetched before, or from the hub.

A model is a folder as ``save_pretrained`` of transformers writes it, or an id of the Hugging Face hub such as
``microsoft/wavlm-base``. Ids are looked for in the folder of
models (``EARMARK_MODELS``, else ``~/.cache/earmark/models``; in it ``microsoft/wavlm-base``), then in the hub's own store on this
machine, then on the hub. Nothing here imports torch.
"""

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ParameterError
from core.runtime.cache import content_hash

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)  # the first counts
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spm.model", "sentencepiece.bpe.model")  # any of them
VOCABULARY = "vocab.json"  # of a model with a CTC head
_TOKENIZER_CONFIG = "tokenizer_config.json"
_WHISPER_TOKENIZERS = ("tokenizer.json", "vocab.json")
_WEIGHTS_OF_HUB = ("model*.safetensors", "pytorch_model*.bin")
_FURTHER = ("*.json", "*.txt", "*.model")  # tokenizers, generation settings
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
WHISPER = "whisper"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that is on this machine.

    Attributes
    ----------
    model : str, as it was asked for
    folder : Path
    revision : str, the same for the same weights and settings, wherever they lie
    config : dict, what ``config.json`` says
    preprocessor : dict, what ``preprocessor_config.json`` says; empty where there is none
    """

    model: str
    folder: Path
    revision: str
    config: dict[str, Any]
    preprocessor: dict[str, Any]

    @property
    def architecture(self) -> str:
        """``model_type`` of the configuration, such as ``wav2vec2`` or ``whisper``."""
        return str(self.config.get("model_type", ""))


def encoder_shape(checkpoint: Checkpoint) -> tuple[int, int]:
    """Layers of an audio encoder, what enters the first one included, and the width of each.

    Raises
    ------
    ParameterError
        The model is no encoder that reads waveforms, nor Whisper.
    """
    config = checkpoint.config
    if checkpoint.architecture == WHISPER:
        layers, width = config.get("encoder_layers"), config.get("d_model")
    else:
        whole = all(isinstance(config.get(name), list) and config[name] for name in ("conv_kernel", "conv_stride", "conv_dim"))
        layers, width = (config.get("num_hidden_layers"), config.get("hidden_size")) if whole else (None, None)
    if not isinstance(layers, int) or not isinstance(width, int):
        raise ParameterError(
            f"{checkpoint.model}: model_type={checkpoint.architecture!r} is no audio encoder that Earmark can run; "
            "it runs those of waveforms (Wav2Vec2, HuBERT, WavLM and their relatives) and Whisper"
        )
    return layers + 1, width


def text_shape(checkpoint: Checkpoint) -> tuple[int, int]:
    """Layers of a text encoder, and the width of what it says of a token.

    Raises
    ------
    ParameterError
        It is none, or its tokenizer is missing.
    """
    config = checkpoint.config
    layers = config.get("num_hidden_layers", config.get("n_layers"))
    width = config.get("hidden_size", config.get("dim"))
    of_sound = "conv_kernel" in config or checkpoint.architecture == WHISPER
    if not isinstance(layers, int) or not isinstance(width, int) or "vocab_size" not in config or of_sound:
        raise ParameterError(
            f"{checkpoint.model}: model_type={checkpoint.architecture!r} is no encoder of text, as DistilBERT is one"
        )
    if not any((checkpoint.folder / name).is_file() for name in TOKENIZERS):
        raise ParameterError(
            f"{checkpoint.model}: {checkpoint.folder} has no tokenizer; bring tokenizer.json too (or vocab.txt of a BERT)"
        )
    return layers, width


def require_recogniser(checkpoint: Checkpoint) -> None:
    """Refuse what is no Whisper with its tokenizer.

    Raises
    ------
    ParameterError
    """
    if checkpoint.architecture != WHISPER:
        raise ParameterError(f"{checkpoint.model}: model_type={checkpoint.architecture!r} is no Whisper, which transcripts need")
    if not any((checkpoint.folder / name).is_file() for name in _WHISPER_TOKENIZERS):
        raise ParameterError(
            f"{checkpoint.model}: {checkpoint.folder} has no tokenizer; bring tokenizer.json too (or vocab.json and merges.txt)"
        )


def require_ctc(checkpoint: Checkpoint) -> None:
    """Refuse what is no encoder of waveforms with a CTC head of letters, with its vocabulary.

    Raises
    ------
    ParameterError
    """
    architectures = checkpoint.config.get("architectures") or []
    if not any(str(name).endswith("ForCTC") for name in architectures) or "conv_kernel" not in checkpoint.config:
        raise ParameterError(
            f"{checkpoint.model}: architectures={architectures} has no CTC head over letters; pronunciation needs one, such as "
            "facebook/wav2vec2-base-960h"
        )
    if not (checkpoint.folder / VOCABULARY).is_file():
        raise ParameterError(f"{checkpoint.model}: {checkpoint.folder} has no {VOCABULARY}; bring it too")
    settings = checkpoint.folder / _TOKENIZER_CONFIG
    if settings.is_file() and "Phoneme" in str(_json(checkpoint.model, settings).get("tokenizer_class")):
        raise ParameterError(
            f"{checkpoint.model} recognises phonemes, which letters do not tell; pronunciation needs a model of letters, such as "
            "facebook/wav2vec2-base-960h"
        )


def is_fetched(model: str) -> bool:
    """Whether the hub will be asked for a model: its name is an id, and no folder of it is here, whole or not."""
    return _ID.fullmatch(model) is not None and _folder(model) is None


def find(model: str) -> Checkpoint:
    """A model that is on this machine already; the network is not asked.

    Raises
    ------
    ParameterError
        It is not here, or what is here is not whole: one sentence says which files to bring and where to put them.
    """
    folder = _folder(model)
    if folder is None:
        hub = "it is fetched from the Hugging Face hub when it is first used; without a network, " if _ID.fullmatch(model) else ""
        raise ParameterError(f"{model} is not on this machine; {hub}{_bring(model)}")
    return _read(model, folder, _state(folder))


def fetch(model: str) -> Checkpoint:
    """A model, from the hub where it is not on this machine yet.

    Raises
    ------
    ParameterError
        As ``find``, with what the hub answered.
    """
    if _folder(model) is None:
        try:
            _download(model)
        except ImportError:
            raise ParameterError(f"{model}: pip install 'earmark[deep]' brings what fetches it; or {_bring(model)}") from None
        except (OSError, ValueError) as error:  # errors of the hub and of the network are among them
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise ParameterError(f"{model} is not on this machine and could not be fetched ({reason}); {_bring(model)}") from None
    return find(model)


def is_here(model: str) -> bool:
    """Whether a model can be used without the network."""
    try:
        find(model)
    except ParameterError:
        return False
    return True


@contextmanager
def loading(checkpoint: Checkpoint) -> Iterator[None]:
    """Where transformers reads weights: without its notes on the console, and with its errors in words.

    Raises
    ------
    ParameterError
        What is in the folder cannot be loaded.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging

    shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # heads that were trained with an encoder and are not used here
    logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ParameterError(f"{checkpoint.model}: the weights in {checkpoint.folder} cannot be loaded ({reason})") from None
    finally:
        logging.set_verbosity(shown[0])
        if shown[1]:
            logging.enable_progress_bar()


def list_models() -> list[str]:
    """Models on this machine, as ``find`` takes them: folders below the folder of models, and what the hub's own store holds."""
    folder = models_folder()
    brought = sorted(path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{CONFIG}"))
    names = [path.relative_to(folder).as_posix() for path in brought]
    models = [name if _ID.fullmatch(name) else str(path.absolute()) for name, path in zip(names, brought, strict=True)]
    return list(dict.fromkeys([*models, *_fetched()]))


def _fetched() -> list[str]:
    """Ids of models in the hub's own store."""
    try:
        from huggingface_hub import scan_cache_dir
        from huggingface_hub.errors import CacheNotFound
    except ImportError:
        return []
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return sorted(found.repo_id for found in repositories if found.repo_type == "model" and is_here(found.repo_id))


def models_folder() -> Path:
    """Where models that were brought by hand are looked for."""
    return Path(os.environ.get("EARMARK_MODELS") or Path.home() / ".cache" / "earmark" / "models")


def _bring(model: str) -> str:
    files = f"{CONFIG}, {PREPROCESSOR} (a text model has its tokenizer's files instead) and {WEIGHTS[0]} (or {WEIGHTS[2]})"
    if not _ID.fullmatch(model):
        return f"name a folder with {files}, or an id of the Hugging Face hub such as microsoft/wavlm-base"
    return f"put {files} of https://huggingface.co/{model} into {models_folder() / model}"


def _folder(model: str) -> Path | None:
    """The folder of a model, whole or not; None where there is none."""
    path = Path(model).expanduser()
    if path.is_dir():
        return path.absolute()
    if not _ID.fullmatch(model):
        return None
    if (brought := models_folder() / model).is_dir():
        return brought
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    for name in WEIGHTS:
        found = try_to_load_from_cache(model, name)
        if isinstance(found, str) and (Path(found).parent / CONFIG).is_file():
            return Path(found).parent
    return None


def _download(model: str) -> None:
    if not _ID.fullmatch(model):
        raise ValueError("no such folder, and not an id of the hub")
    from huggingface_hub import snapshot_download

    for weights in _WEIGHTS_OF_HUB:  # the second kind only where the first is not there: each holds the whole model
        folder = Path(snapshot_download(model, allow_patterns=[weights, *_FURTHER]))
        if any(folder.glob(weights)):
            return
    raise ValueError(f"the hub's repository has none of {', '.join(WEIGHTS)}")


def _state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the files of a folder: equal while nothing in it changes."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@functools.lru_cache(maxsize=32)
def _read(model: str, folder: Path, state: tuple[tuple[str, int, int], ...]) -> Checkpoint:
    config = _json(model, folder / CONFIG)
    names = {name for name, _, _ in state}
    weights = next((name for name in WEIGHTS if name in names), None)
    if weights is None:
        raise ParameterError(f"{model}: {folder} has no {WEIGHTS[0]} or {WEIGHTS[2]}; {_bring(model)}")
    parts = [weights]
    if weights.endswith(".index.json"):
        parts += sorted(set(_json(model, folder / weights).get("weight_map", {}).values()))
    parts += [name for name in (CONFIG, PREPROCESSOR) if name in names]
    digest = hashlib.blake2b(digest_size=16)
    for name in parts:
        try:
            digest.update(name.encode() + content_hash(folder / name))
        except OSError as error:
            raise ParameterError(f"{model}: {folder / name} cannot be read ({error.strerror}); {_bring(model)}") from None
    preprocessor = _json(model, folder / PREPROCESSOR) if PREPROCESSOR in names else {}
    return Checkpoint(model, folder, digest.hexdigest(), config, preprocessor)


def _json(model: str, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"{model}: {path} cannot be read ({error.strerror}); {_bring(model)}") from None
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"{model}: {path} is not JSON ({error}); bring the file again") from None
    if not isinstance(record, dict):
        raise ParameterError(f"{model}: {path} is not an object of JSON; bring the file again")
    return record
