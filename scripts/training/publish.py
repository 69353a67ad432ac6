"""Write weights as they ship: safetensors, with what a reader must know of them in the header."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from scripts.training import calibration, corpus, evaluate, loop
from stream.models.compact.nets import EMOTIONS, EmotionNet, SpeakerNet
from stream.types import SAMPLE_RATE_HZ

FOLDER = Path("stream/models/compact")


def _write(net: nn.Module, path: Path, said: dict[str, str], **beside: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"sample_rate_hz": str(SAMPLE_RATE_HZ), **said}
    save_file({**loop.detached(net.state_dict()), **beside}, path, metadata=said)
    path.chmod(0o644)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB", said)


def cohort(net: SpeakerNet, people: list[list[Tensor]]) -> Tensor:
    """One x-vector for each voice that was learned from, synthetic ones too, for AS-norm; (voices, 192)."""
    with torch.inference_mode():
        means = torch.stack([torch.cat([net(corpus.features(h)[None]) for h in heard]).mean(dim=0) for heard in people])
    return functional.normalize(means, dim=1).half()


def speaker(net: SpeakerNet, path: Path, *, people: list[list[Tensor]], steps: int, classes: int, seed: int) -> None:
    """Measure threshold and calibration on held-out speakers, gather the cohort, and write."""
    held_out = evaluate.held_out_power()
    rates = evaluate.speaker_rates(net, held_out, seconds=2.0)
    threshold = (rates["an4"].threshold + rates["librispeech"].threshold) / 2
    said = {
        "name": "compact-speaker",
        "revision": "2",
        "threshold": f"{threshold:.4f}",
        "calibration": "1.0,0.0,0.0",
        "training": f"{steps} steps, {classes} voices of AN4, LibriSpeech, EmoDB, espeak-ng and flite, "
        f"taught by Resemblyzer 0.1.4, seed {seed}",
    }
    strangers = cohort(net, people)
    _write(net, path, said, cohort=strangers)
    fitted = calibration.fit(*calibration.heard(path))
    said["calibration"] = f"{fitted.slope:.4f},{fitted.threshold:.4f},{fitted.reliability_s:.4f}"
    _write(net, path, said, cohort=strangers)


def emotion(net: EmotionNet, path: Path, *, steps: int, seed: int) -> None:
    """Write, with the temperature in the header too."""
    said = {
        "name": "compact-emotion",
        "revision": "3",
        "temperature": f"{float(net.temperature):.4f}",
        "labels": ",".join(EMOTIONS),
        "training": f"{steps} steps, 7 actors of EmoDB at seven speeds, read speech of AN4 and LibriSpeech, "
        f"taught by heads on compact-speaker, seed {seed}",
    }
    _write(net, path, said)
