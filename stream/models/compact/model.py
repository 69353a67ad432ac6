"""The compact pair as models of the house: windows in, x-vectors or probabilities out.

A matrix product of this size gives other last bits when more rows stand beside it, so windows go through the net one
by one: at a given number of threads, what a window scores depends on nothing but its samples, and a recording gives
the same events however its windows were batched. The nets are small enough for that to cost little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional

from stream.errors import InferenceError, ModelFormatError, ModelNotFound
from stream.models.capability import packs
from stream.models.compact.folding import fold
from stream.models.compact.nets import EMOTIONS, EmotionNet, Front, SpeakerNet
from stream.models.compact.tracing import Traced
from stream.models.devices import resolve_device, resolve_dtype
from stream.models.onednn import traceable
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Scores, Task, Window, WindowSpec

if TYPE_CHECKING:
    from stream.settings import ModelSettings

AnyNet = TypeVar("AnyNet", SpeakerNet, EmotionNet)

MINIMUM_SAMPLES = 8_000
"""Half a second: less tells too little of a voice."""

_FOLDER = Path(__file__).parent


class CompactModel:
    """A front end and a net; holds nothing between calls, so threads may share it."""

    def __init__(
        self, *, info: ModelInfo, spec: WindowSpec, score: Callable[[Tensor], Tensor], device: torch.device
    ) -> None:
        self._info = info
        self._spec = spec
        self._score = Traced(score=score)
        self._device = device

    @property
    def info(self) -> ModelInfo:
        """Name, revision, task, labels and threshold, as the weights' header says."""
        return self._info

    @property
    def spec(self) -> WindowSpec:
        """Windows as the settings ask for them, from half a second on."""
        return self._spec

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        """One window after the other, so that a score depends on nothing beside it."""
        with torch.inference_mode():
            return [self._scored(window) for window in batch]

    def _scored(self, window: Window) -> Scores:
        samples = window.samples
        if samples.ndim != 1 or len(samples) < MINIMUM_SAMPLES:
            raise InferenceError(
                f"{self._info.name} needs at least {MINIMUM_SAMPLES} samples of one channel, not {samples.shape}"
            )
        if not np.isfinite(samples).all():
            raise InferenceError(f"{self._info.name} was handed samples that are not numbers; check the source")
        # A copy into torch's own memory: sums may round otherwise where memory is aligned otherwise.
        values = self._score(torch.tensor(samples, dtype=torch.float32).to(self._device))
        return Scores(
            model=self._info.name,
            source_id=window.source_id,
            index=window.index,
            start_sample=window.start_sample,
            end_sample=window.end_sample,
            values=values.float().cpu().numpy(),
        )


def load_speaker(settings: ModelSettings, *, weights: Path = _FOLDER / "speaker.safetensors") -> CompactModel:
    """The speaker net with its weights."""
    net, said, beside = _filled(SpeakerNet(), weights, settings, beside=("cohort",))
    device, dtype = _place(settings)
    front = Front().to(device)

    def score(samples: Tensor) -> Tensor:  # (n,) -> (192,)
        vector: Tensor = net(front(samples)[None].to(dtype))[0]
        return vector

    try:
        threshold = float(said["threshold"])
        slope, offset, duration = (float(part) for part in said["calibration"].split(","))
        cohort = beside["cohort"].numpy()
    except (KeyError, ValueError) as error:
        raise ModelFormatError(
            f"{weights} lacks its threshold, calibration or cohort; install tonewatch again"
        ) from error
    info = ModelInfo(
        name=said["name"],
        revision=said["revision"],
        task=Task.SPEAKER,
        threshold=threshold,
        calibration=(slope, offset, duration),
        cohort=cohort,
    )
    return CompactModel(info=info, spec=_spec(settings), score=score, device=device)


def load_emotion(settings: ModelSettings, *, weights: Path = _FOLDER / "emotion.safetensors") -> CompactModel:
    """The emotion net with its weights and temperature."""
    net, said, _ = _filled(EmotionNet(), weights, settings)
    device, dtype = _place(settings)
    front = Front().to(device)

    def score(samples: Tensor) -> Tensor:  # (n,) -> (4,)
        logits: Tensor = net(front(samples)[None].to(dtype))[0]
        return torch.softmax(logits.float(), dim=0)

    info = ModelInfo(name=said["name"], revision=said["revision"], task=Task.EMOTION, labels=EMOTIONS)
    return CompactModel(info=info, spec=_spec(settings), score=score, device=device)


def _filled(
    net: AnyNet, weights: Path, settings: ModelSettings, *, beside: tuple[str, ...] = ()
) -> tuple[AnyNet, dict[str, str], dict[str, Tensor]]:
    """The net with the file's weights, ready to score, what the file's header says, and the tensors beside the net."""
    try:
        with safe_open(weights, framework="pt") as file:
            said: dict[str, str] = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelNotFound(f"{weights} is missing; install tonewatch again, or train it with scripts/train") from error
    except SafetensorError as error:
        raise ModelFormatError(f"{weights} is damaged; install tonewatch again") from error
    if said.get("sample_rate_hz") != str(SAMPLE_RATE_HZ) or not {"name", "revision"} <= said.keys():
        raise ModelFormatError(f"{weights} does not say that it is a compact model for {SAMPLE_RATE_HZ} Hz")
    if settings.revision not in ("", said["revision"]):
        raise ModelNotFound(f"{said['name']} ships in revision {said['revision']} only; leave its revision empty")
    others = {name: state.pop(name) for name in beside if name in state}
    try:
        # Batch norms count their batches while training; nothing here needs the count.
        missing, unknown = net.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelFormatError(f"{weights} holds a net of another shape; install tonewatch again") from error
    if unknown or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ModelFormatError(f"{weights} holds another net; install tonewatch again")
    device, dtype = _place(settings)
    fold(net.trunk, linear=traceable() if packs(device, dtype) else functional.linear)
    return net.eval().requires_grad_(requires_grad=False).to(device=device, dtype=dtype), said, others


def _place(settings: ModelSettings) -> tuple[torch.device, torch.dtype]:
    """Where asked; left alone it stays on the processor, since moving a window would cost more than scoring it."""
    device = resolve_device("cpu" if settings.device == "auto" else settings.device)
    return device, resolve_dtype(settings.dtype, device)


def _spec(settings: ModelSettings) -> WindowSpec:
    return WindowSpec(
        length_samples=round(settings.window_s * SAMPLE_RATE_HZ),
        hop_samples=round(settings.hop_s * SAMPLE_RATE_HZ),
        minimum_samples=MINIMUM_SAMPLES,
    )
