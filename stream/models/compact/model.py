"""The compact nets as `Model`s: windows in, x-vectors or probabilities out.

The last bits of a matrix product of this size depend on the number of rows, so windows are computed one by one: for a
given number of threads the score of a window depends only on its samples, and a recording gives the same events however
its windows were batched. The nets are small enough for that to cost little.
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
from stream.models.capability import should_pack
from stream.models.compact.folding import fold
from stream.models.compact.nets import EMOTIONS, EmotionNet, FrontEnd, SpeakerNet
from stream.models.compact.tracing import Traced
from stream.models.devices import resolve_device, resolve_dtype
from stream.models.onednn import traceable_linear
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Scores, Task, Window, WindowSpec

if TYPE_CHECKING:
    from stream.settings import ModelSettings

AnyNet = TypeVar("AnyNet", SpeakerNet, EmotionNet)

MIN_SAMPLES = 8_000
"""Half a second: shorter windows characterise a voice too poorly."""

_FOLDER = Path(__file__).parent


class CompactModel:
    """A front end and a net; stateless between calls, so threads may share it."""

    def __init__(
        self, *, info: ModelInfo, spec: WindowSpec, score: Callable[[Tensor], Tensor], device: torch.device
    ) -> None:
        self._info = info
        self._spec = spec
        self._score = Traced(score=score)
        self._device = device

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
            return [self._score_window(window) for window in batch]

    def _score_window(self, window: Window) -> Scores:
        samples = window.samples
        if samples.ndim != 1 or len(samples) < MIN_SAMPLES:
            raise InferenceError(
                f"{self._info.name} needs at least {MIN_SAMPLES} samples of one channel, not shape {samples.shape}"
            )
        if not np.isfinite(samples).all():
            raise InferenceError(f"{self._info.name} received samples that are not finite; check the source")
        # A copy into torch's own memory: rounding of sums may depend on the alignment of memory.
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
    """Load the speaker net, its threshold, calibration and cohort. Raises `ModelFormatError`, `ModelNotFound`."""
    net, metadata, extra = _load_net(SpeakerNet(), weights, settings, extra=("cohort",))
    device, dtype = _device_and_dtype(settings)
    front = FrontEnd().to(device)

    def score(samples: Tensor) -> Tensor:  # (n,) -> (192,)
        vector: Tensor = net(front(samples)[None].to(dtype))[0]
        return vector

    try:
        threshold = float(metadata["threshold"])
        slope, offset, duration = (float(part) for part in metadata["calibration"].split(","))
        cohort = extra["cohort"].numpy()
    except (KeyError, ValueError) as error:
        raise ModelFormatError(
            f"{weights} lacks its threshold, calibration or cohort; install tonewatch again"
        ) from error
    info = ModelInfo(
        name=metadata["name"],
        revision=metadata["revision"],
        task=Task.SPEAKER,
        threshold=threshold,
        calibration=(slope, offset, duration),
        cohort=cohort,
    )
    return CompactModel(info=info, spec=_spec(settings), score=score, device=device)


def load_emotion(settings: ModelSettings, *, weights: Path = _FOLDER / "emotion.safetensors") -> CompactModel:
    """Load the emotion net with its temperature. Raises `ModelFormatError`, `ModelNotFound`."""
    net, metadata, _ = _load_net(EmotionNet(), weights, settings)
    device, dtype = _device_and_dtype(settings)
    front = FrontEnd().to(device)

    def score(samples: Tensor) -> Tensor:  # (n,) -> (4,)
        logits: Tensor = net(front(samples)[None].to(dtype))[0]
        return torch.softmax(logits.float(), dim=0)

    info = ModelInfo(name=metadata["name"], revision=metadata["revision"], task=Task.EMOTION, labels=EMOTIONS)
    return CompactModel(info=info, spec=_spec(settings), score=score, device=device)


def _load_net(
    net: AnyNet, weights: Path, settings: ModelSettings, *, extra: tuple[str, ...] = ()
) -> tuple[AnyNet, dict[str, str], dict[str, Tensor]]:
    """Fill `net` from a file; return it ready for inference, the file's metadata, and the tensors named in `extra`."""
    try:
        with safe_open(weights, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelNotFound(f"{weights} is missing; install tonewatch again, or train it with scripts/train") from error
    except SafetensorError as error:
        raise ModelFormatError(f"{weights} is damaged; install tonewatch again") from error
    if metadata.get("sample_rate_hz") != str(SAMPLE_RATE_HZ) or not {"name", "revision"} <= metadata.keys():
        raise ModelFormatError(f"{weights} is not a compact model for {SAMPLE_RATE_HZ} Hz; install tonewatch again")
    if settings.revision not in ("", metadata["revision"]):
        name, revision = metadata["name"], metadata["revision"]
        raise ModelNotFound(f"{name} is bundled in revision {revision} only; leave its revision empty")
    extras = {name: state.pop(name) for name in extra if name in state}
    try:
        # Batch norms count their batches while training; inference does not need the count.
        missing, unknown = net.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelFormatError(f"{weights} has weights of other shapes; install tonewatch again") from error
    if unknown or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ModelFormatError(f"{weights} is a different net; install tonewatch again")
    device, dtype = _device_and_dtype(settings)
    fold(net.trunk, linear=traceable_linear() if should_pack(device, dtype) else functional.linear)
    return net.eval().requires_grad_(requires_grad=False).to(device=device, dtype=dtype), metadata, extras


def _device_and_dtype(settings: ModelSettings) -> tuple[torch.device, torch.dtype]:
    """Return device and type; `auto` is the processor, since moving a window costs more than scoring it."""
    device = resolve_device("cpu" if settings.device == "auto" else settings.device)
    return device, resolve_dtype(settings.dtype, device)


def _spec(settings: ModelSettings) -> WindowSpec:
    return WindowSpec(
        length_samples=round(settings.window_s * SAMPLE_RATE_HZ),
        hop_samples=round(settings.hop_s * SAMPLE_RATE_HZ),
        minimum_samples=MIN_SAMPLES,
    )
