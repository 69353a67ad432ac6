"""CAM++ as a model: windows in, x-vectors of unit length out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from stream.errors import ModelFormatError
from stream.models.bundled import BundledModel, bundled_device, read_bundle, window_spec
from stream.models.campplus.features import LogMel
from stream.models.campplus.net import CamPlusPlus
from stream.types import ModelInfo, Task

if TYPE_CHECKING:
    from stream.settings import ModelSettings

WEIGHTS = Path(__file__).parent / "speaker.safetensors"


def speaker(settings: ModelSettings, *, weights: Path = WEIGHTS) -> BundledModel:
    """Load the speaker model; it gives an x-vector of 192 numbers a window.

    Raises `ModelNotFound` and `ModelFormatError` when the weights are missing, damaged or of another revision.
    """
    bundle = read_bundle(weights, settings)
    device, dtype = bundled_device(settings)
    cohort = bundle.tensors.pop("cohort", None)
    try:
        net = CamPlusPlus(bundle.tensors)
    except (KeyError, RuntimeError) as error:
        raise ModelFormatError(f"{weights} is a different net; install tonewatch again") from error
    net.eval().requires_grad_(requires_grad=False).to(device=device, dtype=dtype)
    features = LogMel().to(device)

    def score(samples: Tensor) -> Tensor:  # (n,) -> (192,)
        vector: Tensor = net(features(samples)[None].to(dtype))[0]
        return functional.normalize(vector.float(), dim=0)

    fitted = "calibration" in bundle.header  # not yet, while `scripts/train campplus` fits it
    info = ModelInfo(
        name=bundle.name,
        revision=bundle.revision,
        task=Task.SPEAKER,
        threshold=bundle.numbers("threshold", 1)[0] if fitted else None,
        calibration=bundle.calibration() if fitted else None,
        cohort=None if cohort is None else cohort.numpy(),
    )
    return BundledModel(info=info, spec=window_spec(settings), score=score, device=device)
