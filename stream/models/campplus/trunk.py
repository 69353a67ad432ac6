"""The trunk of CAM++, with the heads that read it: one forward of a window serves all of them.

A trunk is loaded once a device and type, and kept as long as a model uses it. Models on one trunk whose windows are
equal are scored together (`SharedTrunk`); otherwise each runs the trunk for its own windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from stream.errors import ModelFormatError
from stream.models.bundled import BundledModel, bundled_device
from stream.models.campplus.features import LogMel
from stream.models.campplus.net import CamPlusPlus
from stream.types import ModelInfo, Scores, Window, WindowSpec

if TYPE_CHECKING:
    from stream.models.bundled import Bundle
    from stream.settings import ModelSettings


@dataclass(frozen=True, slots=True)
class Levels:
    """What heads read of one window: its samples (n,), the net, and the rows of three of its layers."""

    samples: Tensor
    net: CamPlusPlus
    rows: tuple[Tensor, Tensor, Tensor]  # (1, frames, 512) each: the second and third block, and the last layer


class CampplusTrunk:
    """Features and net on one device; stateless between calls, so threads may share it."""

    def __init__(self, net: CamPlusPlus, device: torch.device, dtype: torch.dtype) -> None:
        self._net = net.eval().requires_grad_(requires_grad=False).to(device=device, dtype=dtype)
        self._features = LogMel().to(device)
        self._dtype = dtype
        self.device = device

    def __call__(self, samples: Tensor) -> Levels:
        """Map samples (n,) to the rows that heads read."""
        return Levels(samples, self._net, self._net.levels(self._features(samples)[None].to(self._dtype)))


_loaded: WeakValueDictionary[tuple[Path, str, torch.dtype], CampplusTrunk] = WeakValueDictionary()


def load_trunk(bundle: Bundle, settings: ModelSettings) -> CampplusTrunk:
    """Return the trunk of these weights, the loaded one if there is one. Raises `ModelFormatError`."""
    device, dtype = bundled_device(settings)
    key = (bundle.path, str(device), dtype)
    trunk = _loaded.get(key)
    if trunk is None:
        try:
            net = CamPlusPlus(bundle.tensors)
        except (KeyError, RuntimeError) as error:
            raise ModelFormatError(f"{bundle.path} is a different net; install tonewatch again") from error
        trunk = _loaded[key] = CampplusTrunk(net, device, dtype)
    return trunk


class TrunkModel(BundledModel):
    """A model that reads the trunk with `head`."""

    def __init__(
        self, *, info: ModelInfo, spec: WindowSpec, trunk: CampplusTrunk, head: Callable[[Levels], Tensor]
    ) -> None:
        super().__init__(info=info, spec=spec, score=lambda samples: head(trunk(samples)), device=trunk.device)
        self.trunk, self.head = trunk, head


class SharedTrunk:
    """Models on one trunk with equal windows: the trunk runs once a window, then each model's head."""

    def __init__(self, *, models: Sequence[TrunkModel]) -> None:
        self.models = tuple(models)

    def infer(self, batch: Sequence[Window]) -> list[tuple[Scores, ...]]:
        """Score windows one by one; per window, in order, one `Scores` for each of `models`."""
        first = self.models[0]
        with torch.inference_mode():
            return [
                tuple(model.scores(window, model.head(levels)) for model in self.models)
                for window in batch
                for levels in (first.trunk(first.samples(window)),)
            ]


def share_trunks(models: Sequence[object]) -> list[SharedTrunk]:
    """Return the groups of two or more models that share trunk and windows; other models are in none."""
    groups: dict[tuple[int, WindowSpec], list[TrunkModel]] = {}
    for model in models:
        if isinstance(model, TrunkModel):
            groups.setdefault((id(model.trunk), model.spec), []).append(model)
    return [SharedTrunk(models=group) for group in groups.values() if len(group) > 1]
