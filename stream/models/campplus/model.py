"""CAM++ as a model: windows in, x-vectors of unit length out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from stream.models.bundled import read_bundle, window_spec
from stream.models.campplus.net import statistics
from stream.models.campplus.trunk import Levels, TrunkModel, load_trunk
from stream.types import ModelInfo, Task

if TYPE_CHECKING:
    from stream.settings import ModelSettings

WEIGHTS = Path(__file__).parent / "speaker.safetensors"


def speaker(settings: ModelSettings, *, weights: Path = WEIGHTS) -> TrunkModel:
    """Load the speaker model; it gives an x-vector of 192 numbers a window.

    Raises `ModelNotFound` and `ModelFormatError` when the weights are missing, damaged or of another revision.
    """
    bundle = read_bundle(weights, settings)
    cohort = bundle.tensors.pop("cohort", None)
    fitted = "calibration" in bundle.header  # not yet, while `scripts/train campplus` fits it
    info = ModelInfo(
        name=bundle.name,
        revision=bundle.revision,
        task=Task.SPEAKER,
        threshold=bundle.numbers("threshold", 1)[0] if fitted else None,
        calibration=bundle.calibration() if fitted else None,
        cohort=None if cohort is None else cohort.numpy(),
        telephone_shift=bundle.numbers("telephone_shift", 1)[0] if fitted else 0.0,
    )
    return TrunkModel(info=info, spec=window_spec(settings), trunk=load_trunk(bundle, settings), head=x_vector)


def x_vector(levels: Levels) -> Tensor:
    """Return the x-vector of a window, (192,)."""
    vector: Tensor = levels.net.project(statistics(levels.rows[-1]))[0]
    return functional.normalize(vector.float(), dim=0)
