"""The teacher of the speaker net: Resemblyzer's encoder from its own package; used only in training."""

from __future__ import annotations

import torch
from torch import Tensor

from scripts.training.corpus import Samples
from stream.errors import ModelError
from stream.models.resemblyzer import load
from stream.settings import ModelSettings
from stream.types import Window


class Teacher:
    """Computes d-vectors of whole files."""

    DIMENSIONS = 256

    def __init__(self) -> None:
        try:
            self._model = load(ModelSettings(name="speaker-resemblyzer", window_s=2.0, hop_s=0.5))
        except ModelError as error:
            raise SystemExit(str(error)) from error

    def vector(self, samples: Samples) -> Tensor:
        """Return a d-vector of unit length; (samples,) to (256,)."""
        window = Window("teacher", 0, 0, samples, 1.0, len(samples))
        return torch.from_numpy(self._model.infer([window])[0].values)
