"""A checkpoint of the wav2vec 2.0 kind at work: windows in, probabilities or x-vectors out.

Rules:

* A batch holds windows of one length, stacked without padding or mask: the base models' first layer normalises over the
  whole window, so padding would change what they say (cosines down to 0.84).
* An x-vector is the `.embeddings` of its model at unit length, never the logits, which belong to the training's people.
* Probabilities are a softmax in float32, whatever the model computes in.

Refused, with `InferenceError`: mixed or too short windows, what torch cannot compute (out of memory, too), and scores
that are not finite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stream.errors import InferenceError
from stream.models.preprocessing import prepare
from stream.types import ModelInfo, Scores, Task, Window, WindowSpec


class Pretrained:
    """A model as the house knows it; holds nothing between calls, so threads may share it."""

    def __init__(self, *, net: nn.Module, info: ModelInfo, spec: WindowSpec, normalise: bool) -> None:
        self._net = net
        self._info = info
        self._spec = spec
        self._normalise = normalise
        weight = next(net.parameters())
        self._device, self._dtype = weight.device, weight.dtype

    @property
    def info(self) -> ModelInfo:
        """Name, revision, task and labels."""
        return self._info

    @property
    def spec(self) -> WindowSpec:
        """The windows it wants."""
        return self._spec

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        """Score windows of one length together; one answer a window, in the same order."""
        if not batch:
            return []
        self._check(batch)
        sound = prepare([window.samples for window in batch], normalise=self._normalise)  # (batch, n)
        try:
            values = self._values(torch.from_numpy(sound))
        except (RuntimeError, MemoryError) as error:  # torch's out-of-memory is a RuntimeError
            reason = str(error).partition("\n")[0].rstrip(".")
            raise InferenceError(
                f"{self._info.name} failed on {len(batch)} windows ({reason}); try a smaller pool.max_batch or the cpu"
            ) from error
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values).all(axis=1)).sum())
            raise InferenceError(
                f"{self._info.name} gave no numbers for {bad} of {len(batch)} windows; "
                "check the source's samples, or set dtype to float32"
            )
        return [
            Scores(
                model=self._info.name,
                source_id=window.source_id,
                index=window.index,
                start_sample=window.start_sample,
                end_sample=window.end_sample,
                values=row.copy(),  # or one kept score would keep its whole batch
            )
            for window, row in zip(batch, values, strict=True)
        ]

    @torch.inference_mode()
    def _values(self, sound: Tensor) -> NDArray[np.float32]:
        """(batch, n) to (batch, labels) or (batch, dimensions)."""
        output = self._net(sound.to(device=self._device, dtype=self._dtype))
        if self._info.task is Task.SPEAKER:
            values = nn.functional.normalize(output.embeddings.float(), dim=1)
        else:
            values = torch.softmax(output.logits.float(), dim=1)
        array: NDArray[np.float32] = values.cpu().numpy()
        return array

    def _check(self, batch: Sequence[Window]) -> None:
        lengths = {window.samples.shape for window in batch}
        if len(lengths) != 1:
            raise InferenceError(f"{self._info.name} takes windows of one length at a time, not of {sorted(lengths)}")
        if len(shape := lengths.pop()) != 1 or shape[0] < self._spec.minimum_samples:
            raise InferenceError(
                f"{self._info.name} needs {self._spec.minimum_samples} samples of one channel or more, not {shape}"
            )
