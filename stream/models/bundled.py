"""Models that ship inside the package: their files of weights, and inference on one window at a time.

A matrix product rounds differently when more rows stand beside it. Windows therefore go through a net one by one: a
score depends on the window's samples only, and a recording gives the same events however its windows were batched. On
a GPU that would cost too much: a net that can scores a batch together there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stream.errors import InferenceError, ModelFormatError, ModelNotFound
from stream.models.devices import resolve_device, resolve_dtype
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Scores, Window, WindowSpec

if TYPE_CHECKING:
    from stream.settings import ModelSettings

MIN_SAMPLES = 8_000
"""Half a second: shorter windows characterise a voice too poorly."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The tensors of a file, as float32, and its header."""

    path: Path
    header: Mapping[str, str]
    tensors: dict[str, Tensor]

    @property
    def name(self) -> str:
        """The model's name."""
        return self.header["name"]

    @property
    def revision(self) -> str:
        """The revision of the weights."""
        return self.header["revision"]

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """Return `count` numbers of the header, parted by commas. Raises `ModelFormatError`."""
        try:
            found = tuple(float(part) for part in self.header[key].split(","))
        except (KeyError, ValueError) as error:
            raise ModelFormatError(
                f"{self.path} has no valid {key!r} in its header; install tonewatch again"
            ) from error
        if len(found) != count:
            raise ModelFormatError(f"{self.path} has no valid {key!r} in its header; install tonewatch again")
        return found

    def calibration(self) -> tuple[float, float, float]:
        """Return slope, threshold and reliability of a speaker model's calibration. Raises `ModelFormatError`."""
        slope, threshold, reliability_s = self.numbers("calibration", 3)
        return slope, threshold, reliability_s


def read_bundle(path: Path, settings: ModelSettings) -> Bundle:
    """Read a file of weights and check that it is what the settings ask for.

    Raises `ModelNotFound` for a file that is missing or of another revision, and `ModelFormatError` for a damaged one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelNotFound(f"{path} is missing; install tonewatch again") from error
    except SafetensorError as error:
        raise ModelFormatError(f"{path} is damaged; install tonewatch again") from error
    if header.get("sample_rate_hz") != str(SAMPLE_RATE_HZ) or not {"name", "revision"} <= header.keys():
        raise ModelFormatError(f"{path} is not a bundled model for {SAMPLE_RATE_HZ} Hz; install tonewatch again")
    if settings.revision not in ("", header["revision"]):
        raise ModelNotFound(
            f"{header['name']} is bundled in revision {header['revision']} only; leave its revision empty"
        )
    return Bundle(path, header, tensors)


class BundledModel:
    """A front end and a net; stateless between calls, so threads may share it.

    `score` maps a window (n,) to scores (…), `score_batch` windows of equal length (B, n) to (B, …).
    """

    def __init__(
        self,
        *,
        info: ModelInfo,
        spec: WindowSpec,
        score: Callable[[Tensor], Tensor],
        device: torch.device,
        score_batch: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._info = info
        self._spec = spec
        self._score = score
        self._device = device
        self.score_batch = score_batch

    @property
    def info(self) -> ModelInfo:
        """Name, revision, task, labels and threshold, from the header of the weights."""
        return self._info

    @property
    def spec(self) -> WindowSpec:
        """Windows as configured, of half a second or more."""
        return self._spec

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        """Score windows one by one, so that a score does not depend on its batch. Raises `InferenceError`."""
        with torch.inference_mode():
            if self.score_batch is None or self._device.type != "cuda":
                return [self._score_window(window) for window in batch]
            values = self.score_batch(torch.stack([self.samples(window) for window in batch])).float().cpu()
            return [self.scores(window, row) for window, row in zip(batch, values, strict=True)]

    def _score_window(self, window: Window) -> Scores:
        return self.scores(window, self._score(self.samples(window)))

    def samples(self, window: Window) -> Tensor:
        """Return the samples of a window on the model's device. Raises `InferenceError` if they cannot be scored."""
        samples = window.samples
        if samples.ndim != 1 or len(samples) < self._spec.minimum_samples:
            needed = f"at least {self._spec.minimum_samples} samples of one channel"
            raise InferenceError(f"{self._info.name} needs {needed}, not shape {samples.shape}")
        if not np.isfinite(samples).all():
            raise InferenceError(f"{self._info.name} received samples that are not finite; check the source")
        # A copy into torch's own memory: rounding of sums may depend on the alignment of memory.
        return torch.tensor(samples, dtype=torch.float32).to(self._device)

    def scores(self, window: Window, values: Tensor) -> Scores:
        """Return the scores of a window from the net's output."""
        return Scores(
            model=self._info.name,
            source_id=window.source_id,
            index=window.index,
            start_sample=window.start_sample,
            end_sample=window.end_sample,
            values=values.float().cpu().numpy(),
        )


def bundled_device(settings: ModelSettings) -> tuple[torch.device, torch.dtype]:
    """Return device and type; `auto` is the processor, since moving a window costs more than scoring it."""
    device = resolve_device("cpu" if settings.device == "auto" else settings.device)
    return device, resolve_dtype(settings.dtype, device)


def window_spec(settings: ModelSettings, *, min_samples: int = MIN_SAMPLES) -> WindowSpec:
    """Return the windows that the settings ask for."""
    return WindowSpec(
        length_samples=round(settings.window_s * SAMPLE_RATE_HZ),
        hop_samples=round(settings.hop_s * SAMPLE_RATE_HZ),
        minimum_samples=min_samples,
    )
