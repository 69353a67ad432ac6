"""Emotion from the trunk of CAM++: four labels and arousal of each window. Card: EMOTION.md.

The head is linear. It reads mean and deviation over time of three layers of the trunk, and quantiles of pitch, which
the trunk does not keep well and which rises with arousal in every language that was tried. A further output detects
sounds outside the labels (laughter, sobbing, noise): the more likely it is, the closer the labels come to chance, so
that such a sound gives no firm label.

Where the speaker model has the same windows, both read one forward of the trunk.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from stream.errors import ModelFormatError
from stream.models.bundled import Bundle, read_bundle, window_spec
from stream.models.campplus import model
from stream.models.campplus.net import statistics
from stream.models.campplus.trunk import Levels, TrunkModel, load_trunk
from stream.models.compact.features import Correlogram, pitch_lags
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Task

if TYPE_CHECKING:
    from stream.settings import ModelSettings

WEIGHTS = Path(__file__).parent / "emotion.safetensors"

LABELS: Final = ("neutral", "happy", "angry", "sad")
DIMENSIONS: Final = ("arousal",)
QUANTILES: Final = (0.1, 0.5, 0.9)
INPUTS: Final = 3 * 1024 + len(QUANTILES)
OUTPUTS: Final = len(LABELS) + 2
"""A logit for each label, one for sounds outside the labels, and one for arousal."""

REFERENCE_S: Final = 3.0
"""Duration of speech for which the temperature is 1; shorter windows know less."""

_FRAME_SAMPLES: Final = 640  # of the correlogram
_FRAME_HOP_SAMPLES: Final = 320
_VOICED: Final = 0.45
_MIN_VOICED: Final = 5
_RANGE_DB: Final = 35.0


class PitchQuantiles(nn.Module):
    """Samples (n,) to quantiles of the pitch of voiced frames, in semitones above 1 Hz."""

    semitones: Tensor
    quantiles: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.correlogram = Correlogram()
        self.register_buffer("semitones", 12.0 * torch.log2(SAMPLE_RATE_HZ / pitch_lags().float()), persistent=False)
        self.register_buffer("quantiles", torch.tensor(QUANTILES), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Compute the quantiles; of the louder half of the frames where hardly any is voiced."""
        peak, lag = self.correlogram(samples).max(dim=1)  # (frames,)
        level = samples.unfold(0, _FRAME_SAMPLES, _FRAME_HOP_SAMPLES).square().mean(dim=1)[: len(peak)]
        level_db = 10.0 * torch.log10(level + 1e-9)
        voiced = (peak > _VOICED) & (level_db > level_db.max() - _RANGE_DB)
        if int(voiced.sum()) < _MIN_VOICED:
            voiced = level_db >= level_db.median()
        return torch.quantile(self.semitones[lag[voiced]], self.quantiles)


def inputs(levels: Levels, pitch: PitchQuantiles) -> Tensor:
    """Return what the head reads of a window, (INPUTS,)."""
    pooled = [statistics(rows.float())[0] for rows in levels.rows]
    return torch.cat((*pooled, pitch(levels.samples)))


class EmotionHead:
    """The trained head of a file of weights: a window's levels to probabilities of labels, then arousal."""

    def __init__(self, bundle: Bundle, device: torch.device) -> None:
        weight, bias = bundle.tensors.get("weight"), bundle.tensors.get("bias")
        if weight is None or bias is None or weight.shape != (OUTPUTS, INPUTS) or bias.shape != (OUTPUTS,):
            raise ModelFormatError(f"{bundle.path} is a different net; install tonewatch again")
        self._weight, self._bias = weight.to(device), bias.to(device)
        self._temperature, self._shortness = bundle.numbers("temperature", 2)
        self._pitch = PitchQuantiles().to(device)

    def __call__(self, levels: Levels) -> Tensor:
        """Return probabilities of LABELS and the value of DIMENSIONS, (5,)."""
        logits = torch.mv(self._weight, inputs(levels, self._pitch)) + self._bias
        return probabilities(logits, self.temperature(len(levels.samples) / SAMPLE_RATE_HZ))

    def temperature(self, duration_s: float) -> float:
        """Return the divisor of the logits of a window of that duration."""
        return self._temperature * math.pow(max(1.0, REFERENCE_S / duration_s), self._shortness)


def probabilities(logits: Tensor, temperature: float) -> Tensor:
    """Turn OUTPUTS logits (…, 6) into probabilities of LABELS, which sum to 1, and arousal; (…, 5)."""
    count = len(LABELS)
    labels = torch.softmax(logits[..., :count] / temperature, dim=-1)
    outside = torch.sigmoid(logits[..., count : count + 1])
    arousal = torch.sigmoid(logits[..., count + 1 :] / temperature)
    return torch.cat((labels * (1.0 - outside) + outside / count, arousal + (0.5 - arousal) * outside), dim=-1)


def emotion(settings: ModelSettings, *, weights: Path = WEIGHTS, trunk: Path = model.WEIGHTS) -> TrunkModel:
    """Load the emotion model; it gives the probabilities of four labels and arousal, 0 (calm) to 1 (excited).

    Raises `ModelNotFound` and `ModelFormatError` when weights are missing, damaged or of another revision.
    """
    bundle = read_bundle(weights, settings)
    loaded = load_trunk(read_bundle(trunk, settings.model_copy(update={"revision": ""})), settings)
    info = ModelInfo(
        name=bundle.name, revision=bundle.revision, task=Task.EMOTION, labels=LABELS, dimensions=DIMENSIONS
    )
    return TrunkModel(info=info, spec=window_spec(settings), trunk=loaded, head=EmotionHead(bundle, loaded.device))
