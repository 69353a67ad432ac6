"""The teacher of the small speaker net: CAM++, the bundled model `speaker-campplus`; used only in training."""

from __future__ import annotations

import torch
from torch import Tensor

from scripts.training.corpus import Samples
from stream.models.campplus.model import speaker
from stream.settings import ModelSettings
from stream.types import Window


class Teacher:
    """Computes x-vectors of whole files."""

    DIMENSIONS = 192

    def __init__(self) -> None:
        self._model = speaker(ModelSettings(name="speaker-campplus", window_s=2.0, hop_s=0.5))

    def vector(self, samples: Samples) -> Tensor:
        """Return an x-vector of unit length; (samples,) to (192,)."""
        window = Window("teacher", 0, 0, samples, 1.0, len(samples))
        return torch.from_numpy(self._model.infer([window])[0].values)
