"""How closely two forwards of one net agree, on windows of the bundled conversation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from stream.demo.conversation import AUDIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How closely the outputs of two forwards agree over many windows."""

    largest_difference: float
    least_cosine: float
    same_argmax: float


def speech_windows(windows: int, *, samples: int) -> Tensor:
    """Return windows spread evenly over the bundled conversation, shape (windows, samples).

    Speech rather than noise, because outputs for windows of noise hardly differ from each other.
    """
    audio, _ = soundfile.read(AUDIO, dtype="float32", always_2d=True)
    mono = np.resize(audio[:, 0], max(len(audio), samples))
    starts = np.linspace(0, len(mono) - samples, windows).astype(int)
    return torch.from_numpy(np.stack([mono[start : start + samples] for start in starts]))


def all_outputs(forward: Callable[[Tensor], Tensor], audio: Tensor, *, batch: int) -> Tensor:
    """Return the outputs for all windows in float32, computed `batch` at a time."""
    with torch.inference_mode():
        return torch.cat([forward(audio[at : at + batch]).float() for at in range(0, len(audio), batch)])


def agreement(ours: Tensor, theirs: Tensor) -> Agreement:
    """Compare outputs of equal shape (windows, …)."""
    ours, theirs = ours.flatten(1), theirs.flatten(1)
    return Agreement(
        largest_difference=float(f"{(ours - theirs).abs().max():.2e}"),
        least_cosine=round(float(nn.functional.cosine_similarity(ours, theirs).min()), 6),
        same_argmax=round(float((ours.argmax(dim=1) == theirs.argmax(dim=1)).float().mean()), 4),
    )
