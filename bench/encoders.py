"""Pretrained encoders and ``torch200``: batches beside a plain loop over files, on the processor and on a GPU where there is one.

The encoder has the size of wav2vec2-base and random weights: how fast it is does not depend on what it has learnt.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bench.common import RATE_HZ, in_turn, sounds
from core.data.audio import Clip

CLIP_S = 60
CPU_CLIPS, GPU_CLIPS, LOOP_CLIPS = 1, 512, 32
NOT_MEASURED = "not measured"


def section(source: Path, folder: Path) -> list[str]:
    """Lines of bench.md."""
    clips = np.stack([y for y, _ in zip(sounds(source, CLIP_S), range(LOOP_CLIPS), strict=False)]).astype(np.float32)
    np.save(folder / "clips.npy", clips)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench.encoders", str(folder)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    gpu = found["gpu"] or {}

    def cell(name: str, digits: int = 2) -> str:
        return f"{gpu[name]:.{digits}f}" if name in gpu else NOT_MEASURED

    def times(slow: str, fast: str) -> str:
        return f"**{gpu[slow] / gpu[fast]:.1f} times**" if slow in gpu and fast in gpu else NOT_MEASURED

    cpu = found["cpu"]
    clips_per_s = f"{1 / gpu['encoder']:.0f}" if gpu else NOT_MEASURED
    return [
        f"## Encoders: clips of {CLIP_S} s, wav2vec2-base's size, random weights",
        "",
        f"Processor: {found['cores']} cores, PyTorch {found['torch']}. GPU: {found['device']}. Seconds a clip, from memory, mean",
        "and standard deviation of every layer; the plain loop takes file after file whole, in fp32, with transformers alone.",
        "",
        "| | plain loop | Earmark | faster | aim |",
        "|---|---|---|---|---|",
        f"| processor, fp32 | {cpu['loop']:.2f} | {cpu['encoder']:.2f} | **{cpu['loop'] / cpu['encoder']:.2f} times** | 1.1 |",
        f"| GPU, bf16 beside fp32 | {cell('loop', 4)} | {cell('encoder', 4)} | {times('loop', 'encoder')} | 8 |",
        "",
        f"Clips a second on the GPU: {clips_per_s} (aim 200).",
        "",
        "| from decoded clips, all cores | `ultra` + `mfcc` | `torch200` | faster | aim |",
        "|---|---|---|---|---|",
        f"| processor | {cpu['handcrafted']:.3f} | {cpu['torch200']:.3f} | {cpu['handcrafted'] / cpu['torch200']:.2f} | |",
        f"| GPU | {cell('handcrafted', 4)} | {cell('torch200', 4)} | {times('handcrafted', 'torch200')} | 10 |",
    ]


def measure(folder: Path) -> dict:
    """All times, in seconds a clip."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    from core.runtime.pool import cores

    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder / "encoder")
    clips = np.load(folder / "clips.npy")
    has_gpu = torch.cuda.is_available()
    return {
        "torch": torch.__version__,
        "cores": cores(),
        "device": torch.cuda.get_device_name(0) if has_gpu else NOT_MEASURED,
        "cpu": _sides(folder, clips[:CPU_CLIPS], clips[:CPU_CLIPS], "cpu", "fp32"),
        "gpu": _sides(folder, np.concatenate([clips] * (GPU_CLIPS // len(clips))), clips, "cuda", "bf16") if has_gpu else None,
    }


def _sides(folder: Path, clips: np.ndarray, few: np.ndarray, device: str, precision: str) -> dict[str, float]:
    from core.encoders.pretrained import Extractor
    from core.runtime.weights import find

    encoder = Extractor(find(str(folder / "encoder")), device=device, precision=precision)
    loop = _plain_loop(folder / "encoder", device)
    return in_turn(
        {
            "loop": (lambda: loop(few), len(few)),
            "encoder": (lambda: encoder(list(clips)), len(clips)),
        }
    ) | in_turn(
        {
            "handcrafted": (_handcrafted(few), len(few)),
            "torch200": (_torch200(device, few), len(few)),
        }
    )


def _plain_loop(folder: Path, device: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    """What a notebook does: file after file, whole, all layers kept, then pooled."""
    import torch
    from transformers import AutoModel, Wav2Vec2FeatureExtractor

    model = AutoModel.from_pretrained(folder).eval().to(device)
    features = Wav2Vec2FeatureExtractor()

    def run(clips: np.ndarray) -> list[np.ndarray]:
        vectors = []
        with torch.inference_mode():
            for y in clips:
                read = features(y, sampling_rate=RATE_HZ, return_tensors="pt")["input_values"].to(device)
                states = torch.cat(model(read, output_hidden_states=True).hidden_states)
                vectors.append(torch.stack([states.mean(dim=1), states.std(dim=1, correction=0)], dim=1).cpu().numpy())
        return vectors

    return run


def _torch200(device: str, clips: np.ndarray) -> Callable[[], object]:
    """``torch200`` from decoded clips: all cores prepare them (voice and level), the device does the rest."""
    from core.encoders import torch200

    extractor, pool = torch200.Extractor(device=device), _pool()
    return lambda: extractor(list(pool.map(_prepare_one, list(clips))))


def _handcrafted(clips: np.ndarray) -> Callable[[], object]:
    """``ultra`` and ``mfcc`` on all cores; the processes have started."""
    pool = _pool()
    return lambda: list(pool.map(_extract_one, list(clips)))


def _pool() -> ProcessPoolExecutor:
    from core.runtime.pool import cores

    return ProcessPoolExecutor(cores(), mp_context=get_context("spawn"))


def _clip(y: np.ndarray) -> Clip:
    return Clip(Path("clip.wav"), y[:, None], RATE_HZ, CLIP_S, 0)


def _prepare_one(y: np.ndarray) -> object:
    from core.encoders import torch200

    return torch200.prepare_clip(_clip(y))


def _extract_one(y: np.ndarray) -> np.ndarray:
    from core import features

    return features.extract(_clip(y), ("ultra", "mfcc"))["ultra"]


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
