"""Fine-tuning with frames of the audio encoder that were computed once, beside computing them anew in every epoch.

The encoder has the size of wav2vec2-base and random weights, the text encoder is tiny: what is compared is the audio.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import RATE_HZ, in_turn, sounds

CLIPS, CLIP_S, BATCH = 8, 10, 4


def section(source: Path, folder: Path) -> list[str]:
    """Lines of bench.md."""
    clips = np.stack([y[: CLIP_S * RATE_HZ] for y, _ in zip(sounds(source, CLIP_S), range(CLIPS), strict=False)])
    np.save(folder / "short.npy", clips.astype(np.float32))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench.finetuning", str(folder)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    ratio = found["anew"] / found["kept"]
    return [
        f"## Fine-tuning: an epoch of clips of {CLIP_S} s, a frozen audio encoder of wav2vec2-base's size",
        "",
        f"Samples a second of training steps of {BATCH} clips on the processor, PyTorch {found['torch']}, with a tiny text encoder",
        "and the default fusion. The frames are kept in half precision on the disk, and read from there.",
        "",
        "| frames computed anew in each epoch | frames kept | faster | aim |",
        "|---|---|---|---|",
        f"| {1 / found['anew']:.2f} | {1 / found['kept']:.1f} | **{ratio:.0f} times** | 5 |",
    ]


def measure(folder: Path) -> dict[str, Any]:
    """Seconds of a sample in a training step, both ways in turn."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    from core.encoders.pretrained import Extractor, normalise
    from core.multimodal.config import FinetuneSettings
    from core.multimodal.data import Collator, make_examples
    from core.multimodal.fitted import build_network, find_encoders
    from core.multimodal.model import standardise
    from core.runtime.pool import cores
    from core.runtime.weights import find
    from tests.tiny_models import tiny_text_encoder

    torch.set_num_threads(cores())
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder / "audio")
    text = tiny_text_encoder("distilbert", folder / "text")
    settings = FinetuneSettings(audio_model=str(folder / "audio"), text_model=str(text))
    encoders = find_encoders(settings)
    encoder = Extractor(find(str(folder / "audio")), device="cpu")
    clips = [normalise(y) for y in np.load(folder / "short.npy")]
    paths = [folder / f"audio_{number}.npy" for number in range(len(clips))]
    labels = np.arange(len(clips), dtype=float)
    texts = [f"{number} pauses, mean pitch {100 + number} hz" for number in range(len(clips))]
    examples = make_examples(texts, labels.tolist(), list(paths), encoders.text, encoders.tokenizer)
    network = build_network(settings, standardise(labels), encoders).train()
    optimizer = torch.optim.AdamW([one for one in network.parameters() if one.requires_grad], lr=1e-4)
    collator = Collator(waveforms=False)

    def encode(numbers: range) -> None:
        for number, frames in zip(numbers, encoder.frames([clips[number] for number in numbers]), strict=True):
            np.save(paths[number], frames.astype(np.float16))

    def epoch(anew: bool) -> None:
        for start in range(0, len(clips), BATCH):
            numbers = range(start, min(start + BATCH, len(clips)))
            if anew:
                encode(numbers)
            network(**collator([examples[number] for number in numbers]))["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()

    encode(range(len(clips)))
    seconds = in_turn({"kept": (lambda: epoch(False), len(clips)), "anew": (lambda: epoch(True), len(clips))})
    return {"torch": torch.__version__} | seconds


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
