"""Tiny pretrained encoders of the real classes, with random weights, saved as the real ones are."""

import json
from pathlib import Path
from typing import Any

import numpy as np

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
KINDS = ("wav2vec2", "hubert", "wavlm")


def tiny_encoder(kind: str, folder: Path, *, seed: int = 0, do_normalize: bool = True, **config: Any) -> Path:
    """Save an encoder of 3 layers of 16 units."""
    import torch
    import transformers

    name = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}[kind]
    torch.manual_seed(seed)
    model = getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**SMALL | config))
    model.save_pretrained(folder)
    settings = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": do_normalize, "sampling_rate": 16000}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def tiny_ctc(folder: Path, *, seed: int = 0) -> Path:
    """Save a Wav2Vec2 with a CTC head over the capitals A to C, with its vocabulary."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    torch.manual_seed(seed)
    vocabulary = {"<pad>": 0, "|": 1, "A": 2, "B": 3, "C": 4}
    Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, vocab_size=len(vocabulary), pad_token_id=0)).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    settings = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True, "sampling_rate": 16000}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def tiny_whisper(folder: Path, *, seed: int = 0) -> Path:
    """Save a Whisper of 2 layers of 16 units, with its feature extractor."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(seed)
    config = WhisperConfig(
        d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    WhisperModel(config).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    return folder


def voice(seconds: float, *, seed: int = 0, sr: int = 16_000) -> np.ndarray:
    """Harmonics under a slow envelope, with noise: no two frames are alike."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * sr)) / sr
    pitch = 2 * np.pi * (110 + 20 * seed) * (t + 0.01 * np.sin(3 * t))
    tone = sum(np.sin(harmonic * pitch) / harmonic for harmonic in range(1, 6))
    return (0.1 * tone * (1.2 + np.sin(5 * t)) + 0.01 * rng.normal(size=len(t))).astype(np.float32)


def tiny_recogniser(folder: Path, *, seed: int = 0) -> Path:
    """Save a Whisper that recognises, with a tokenizer of letters: what it says is nonsense, with times."""
    import torch
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )

    folder.mkdir(parents=True, exist_ok=True)
    letters = [*"abcdefghijklmnopqrstuvwxyz", "\u0120", "\u0120a", "\u0120b", "\u0120c"]
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    named = "endoftext startoftranscript en translate transcribe startoflm startofprev nospeech notimestamps"
    special = [f"<|{name}|>" for name in named.split()]
    vocabulary |= {name: len(vocabulary) + at for at, name in enumerate(special)}
    times = len(vocabulary)
    vocabulary |= {f"<|{0.02 * step:.2f}|>": times + step for step in range(1501)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n\u0120 a\n\u0120 b\n\u0120 c\n")
    tokenizer = WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), language="en", task="transcribe")
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    size = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    ids = {"pad_token_id": vocabulary["<|endoftext|>"], "bos_token_id": vocabulary["<|endoftext|>"]}
    ids |= {"eos_token_id": vocabulary["<|endoftext|>"], "decoder_start_token_id": vocabulary["<|startoftranscript|>"]}
    config = WhisperConfig(
        **size, **ids, encoder_ffn_dim=32, decoder_ffn_dim=32, vocab_size=len(vocabulary), max_target_positions=64
    )
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        **ids, max_length=40, no_timestamps_token_id=vocabulary["<|notimestamps|>"], is_multilingual=False, return_timestamps=True,
        max_initial_timestamp_index=50, suppress_tokens=[], begin_suppress_tokens=[],
        prev_sot_token_id=vocabulary["<|startofprev|>"],
    )  # fmt: skip
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    return folder


WORDS = (
    "the a mean pitch of s hz semitones range pause pauses no on average silent voiced runs per second onsets level dbfs dynamic db"
)
TEXT_KINDS = ("bert", "distilbert", "roberta", "deberta-v2")


def tiny_text_encoder(kind: str, folder: Path, *, seed: int = 0, words: str = WORDS) -> Path:
    """Save a text encoder of 2 layers of 16 units, with a tokenizer of whole words, digits and letters."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [letter for character in "abcdefghijklmnopqrstuvwxyz0123456789" for letter in (character, f"##{character}")]
    vocabulary = {token: at for at, token in enumerate(dict.fromkeys([*special, *"%.,-", *letters, *words.split()]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    name = {"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta", "deberta-v2": "DebertaV2"}[kind]
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "distilbert":
        size = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    torch.manual_seed(seed)
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(vocabulary), max_position_embeddings=130, pad_token_id=vocabulary["[PAD]"], **size
    )
    getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
    return folder
