"""segmentation-3.0 as an overlap model: windows in, the activity of up to three local speakers a frame out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stream.errors import ModelFormatError
from stream.models.bundled import BundledModel, bundled_device, read_bundle, window_spec
from stream.models.segmentation.net import (
    FRAME_HOP_SAMPLES,
    FRAME_SAMPLES,
    LOCAL_SPEAKERS,
    POWERSET,
    Segmentation,
)
from stream.types import OVERLAP_FRAME_SAMPLES, ModelInfo, Task

if TYPE_CHECKING:
    from stream.settings import ModelSettings

MIN_WINDOW_SAMPLES = 16_000
"""One second: the net needs context to tell two speakers apart."""

WEIGHTS = Path(__file__).parent / "segmentation.safetensors"


def overlap(settings: ModelSettings, *, weights: Path = WEIGHTS) -> BundledModel:
    """Load the segmentation model; it gives the probability of each local speaker in each frame, shape (frames, 3).

    A frame lasts OVERLAP_FRAME_SAMPLES. Local speakers mean nothing beyond their window. Raises `ModelNotFound` and
    `ModelFormatError` when the weights are missing, damaged or of another revision.
    """
    bundle = read_bundle(weights, settings)
    device, dtype = bundled_device(settings)
    try:
        net = Segmentation(bundle.tensors)
    except (KeyError, RuntimeError) as error:
        raise ModelFormatError(f"{weights} is a different net; install tonewatch again") from error
    net.eval().requires_grad_(requires_grad=False).to(device=device, dtype=dtype)
    members = torch.tensor(
        [[float(speaker in active) for speaker in range(LOCAL_SPEAKERS)] for active in POWERSET], device=device
    )  # (7, 3)

    def score_batch(samples: Tensor) -> Tensor:  # (B, n) -> (B, frames, 3)
        classes: Tensor = net(samples.to(dtype)).float().exp()  # (B, net frames, 7)
        active: Tensor = (classes @ members)[:, nearest_frames(samples.shape[1], classes.shape[1])]
        return active

    return BundledModel(
        info=ModelInfo(name=bundle.name, revision=bundle.revision, task=Task.OVERLAP),
        spec=replace(window_spec(settings, min_samples=MIN_WINDOW_SAMPLES), from_onset=False, any_speech=True),
        score=lambda samples: score_batch(samples[None])[0],
        device=device,
        score_batch=score_batch,
    )


def nearest_frames(samples: int, frames: int) -> Tensor:
    """For each frame of OVERLAP_FRAME_SAMPLES in a window, the net's frame with the nearest centre; shape (n,)."""
    centres = torch.arange(samples // OVERLAP_FRAME_SAMPLES) * OVERLAP_FRAME_SAMPLES + OVERLAP_FRAME_SAMPLES // 2
    nearest = torch.round((centres - FRAME_SAMPLES / 2) / FRAME_HOP_SAMPLES).long()
    return nearest.clamp(0, frames - 1)
