"""The compact nets as `Model`s: windows in, x-vectors or probabilities out.

Their abilities and limits are on the model cards SPEAKER.md and EMOTION.md. `scripts/train` trains them.

The last bits of a matrix product of this size depend on the number of rows, so windows are computed one by one: for a
given number of threads the score of a window depends only on its samples, and a recording gives the same events however
its windows were batched. The nets are small enough for that to cost little.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from stream.errors import ModelFormatError
from stream.models.bundled import Bundle, BundledModel, bundled_device, read_bundle, window_spec
from stream.models.capability import should_pack
from stream.models.compact.folding import fold
from stream.models.compact.nets import EMOTIONS, EmotionNet, FrontEnd, SpeakerNet
from stream.models.compact.tracing import Traced
from stream.models.onednn import traceable_linear
from stream.types import ModelInfo, Task

if TYPE_CHECKING:
    from stream.settings import ModelSettings

AnyNet = TypeVar("AnyNet", SpeakerNet, EmotionNet)

_FOLDER = Path(__file__).parent


def load_speaker(settings: ModelSettings, *, weights: Path = _FOLDER / "speaker.safetensors") -> BundledModel:
    """Load the speaker net, its threshold, calibration and cohort. Raises `ModelFormatError`, `ModelNotFound`."""
    net, bundle, extra = _load_net(SpeakerNet(), weights, settings, extra=("cohort",))
    device, dtype = bundled_device(settings)
    front = FrontEnd().to(device)

    def score(samples: Tensor) -> Tensor:  # (n,) -> (192,)
        vector: Tensor = net(front(samples)[None].to(dtype))[0]
        return vector

    if "cohort" not in extra:
        raise ModelFormatError(f"{weights} has no cohort; install tonewatch again")
    info = ModelInfo(
        name=bundle.name,
        revision=bundle.revision,
        task=Task.SPEAKER,
        threshold=bundle.numbers("threshold", 1)[0],
        calibration=bundle.calibration(),
        cohort=extra["cohort"].numpy(),
    )
    return BundledModel(info=info, spec=window_spec(settings), score=Traced(score=score), device=device)


def load_emotion(settings: ModelSettings, *, weights: Path = _FOLDER / "emotion.safetensors") -> BundledModel:
    """Load the emotion net with its temperature. Raises `ModelFormatError`, `ModelNotFound`."""
    net, bundle, _ = _load_net(EmotionNet(), weights, settings)
    device, dtype = bundled_device(settings)
    front = FrontEnd().to(device)

    def score(samples: Tensor) -> Tensor:  # (n,) -> (4,)
        logits: Tensor = net(front(samples)[None].to(dtype))[0]
        return torch.softmax(logits.float(), dim=0)

    info = ModelInfo(name=bundle.name, revision=bundle.revision, task=Task.EMOTION, labels=EMOTIONS)
    return BundledModel(info=info, spec=window_spec(settings), score=Traced(score=score), device=device)


def _load_net(
    net: AnyNet, weights: Path, settings: ModelSettings, *, extra: tuple[str, ...] = ()
) -> tuple[AnyNet, Bundle, dict[str, Tensor]]:
    """Fill `net` from a file; return it ready for inference, the file, and the tensors named in `extra`."""
    bundle = read_bundle(weights, settings)
    extras = {name: bundle.tensors.pop(name) for name in extra if name in bundle.tensors}
    try:
        # Batch norms count their batches while training; inference does not need the count.
        missing, unknown = net.load_state_dict(bundle.tensors, strict=False)
    except RuntimeError as error:
        raise ModelFormatError(f"{weights} has weights of other shapes; install tonewatch again") from error
    if unknown or any(not name.endswith("num_batches_tracked") for name in missing):
        raise ModelFormatError(f"{weights} is a different net; install tonewatch again")
    device, dtype = bundled_device(settings)
    fold(net.trunk, linear=traceable_linear() if should_pack(device, dtype) else functional.linear)
    return net.eval().requires_grad_(requires_grad=False).to(device=device, dtype=dtype), bundle, extras
