"""Write weights as they ship: safetensors, with what a reader must know of them in the header."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from scripts.training import evaluate, loop
from stream.models.compact.nets import EMOTIONS, EmotionNet, SpeakerNet
from stream.types import SAMPLE_RATE_HZ

FOLDER = Path("stream/models/compact")


def _write(net: nn.Module, path: Path, said: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"revision": "1", "sample_rate_hz": str(SAMPLE_RATE_HZ), **said}
    save_file(loop.detached(net.state_dict()), path, metadata=said)
    path.chmod(0o644)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB", said)


def speaker(net: SpeakerNet, path: Path, *, steps: int, classes: int, seed: int) -> None:
    """Measure the threshold at equal error on held-out speakers, 2 s crops, and write."""
    rates = evaluate.speaker_rates(net, evaluate.held_out_power(), seconds=2.0)
    threshold = (rates["an4"].threshold + rates["librispeech"].threshold) / 2
    said = {
        "name": "compact-speaker",
        "threshold": f"{threshold:.4f}",
        "training": f"{steps} steps, {classes} voices of AN4, LibriSpeech, EmoDB, espeak-ng and flite, seed {seed}",
    }
    _write(net, path, said)


def emotion(net: EmotionNet, path: Path, *, steps: int, seed: int) -> None:
    """Write, with the temperature in the header too."""
    said = {
        "name": "compact-emotion",
        "temperature": f"{float(net.temperature):.4f}",
        "labels": ",".join(EMOTIONS),
        "training": f"{steps} steps, 5 actors of EmoDB at five speeds, read speech of AN4 and LibriSpeech, seed {seed}",
    }
    _write(net, path, said)
