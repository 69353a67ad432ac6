"""Write the bundled weights as safetensors, with their metadata in the header."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from scripts.training import calibration, corpus, evaluate, loop
from stream.models.compact.model import load_speaker
from stream.models.compact.nets import EMOTIONS, EmotionNet, SpeakerNet
from stream.settings import load
from stream.tracking.scoring import Cohort
from stream.types import SAMPLE_RATE_HZ

FOLDER = Path("stream/models/compact")


def _write(net: nn.Module, path: Path, metadata: dict[str, str], **extra: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"sample_rate_hz": str(SAMPLE_RATE_HZ), **metadata}
    save_file({**loop.detached(net.state_dict()), **extra}, path, metadata=metadata)
    path.chmod(0o644)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB", metadata)


def cohort(net: SpeakerNet, people: list[list[Tensor]]) -> Tensor:
    """Return one x-vector per training voice for AS-norm; (voices, 192)."""
    with torch.inference_mode():
        means = torch.stack(
            [torch.cat([net(corpus.features(file)[None]) for file in files]).mean(dim=0) for files in people]
        )
    return functional.normalize(means, dim=1).half()


def speaker(net: SpeakerNet, path: Path, *, people: list[list[Tensor]], steps: int, classes: int, seed: int) -> None:
    """Measure threshold and calibration on held-out speakers, compute the cohort, and write."""
    held_out = evaluate.held_out_files()
    rates = evaluate.speaker_rates(net, held_out, seconds=2.0)
    threshold = (rates["an4"].threshold + rates["librispeech"].threshold) / 2
    metadata = {
        "name": "compact-speaker",
        "revision": "3",
        "threshold": f"{threshold:.4f}",
        "calibration": "1.0,0.0,0.0",
        "training": f"{steps} steps, {classes} voices of AN4, LibriSpeech, speechocean762, CREMA-D and EmoDB, "
        f"distilled from CAM++, seed {seed}",
        "notice": "Contains information from CREMA-D, made available under the Open Database License (ODbL)",
    }
    vectors = cohort(net, people)
    _write(net, path, metadata, cohort=vectors)
    model = load_speaker(load(preset="tiny").models.speaker, weights=path)
    conversations = calibration.embed_conversations(model, calibration.held_out())
    fitted = calibration.fit(Cohort(vectors.float().numpy()), conversations)
    metadata["calibration"] = f"{fitted.slope:.4f},{fitted.threshold:.4f},{fitted.reliability_s:.4f}"
    _write(net, path, metadata, cohort=vectors)


def emotion(net: EmotionNet, path: Path, *, steps: int, seed: int) -> None:
    """Write the emotion net, with the temperature in the header as well."""
    metadata = {
        "name": "compact-emotion",
        "revision": "3",
        "temperature": f"{float(net.temperature):.4f}",
        "labels": ",".join(EMOTIONS),
        "training": f"{steps} steps, 7 actors of EmoDB at seven speeds, read speech of AN4 and LibriSpeech, "
        f"distilled from heads on compact-speaker, seed {seed}",
    }
    _write(net, path, metadata)
