"""A checkpoint of the wav2vec 2.0 kind at work: windows in, probabilities or x-vectors out.

Rules:

* A batch holds windows of one length, stacked without padding or mask: the base models' first layer normalises over the
  whole window, so padding would change what they say (cosines down to 0.84).
* An x-vector is the `.embeddings` of its model at unit length, never the logits, which belong to the training's people.
* Probabilities are a softmax in float32, whatever the model computes in; of the people in a frame, who may speak at
  once, each has a sigmoid of his own.
* Models whose backbones are one and the same may answer together (`SharedBackbone`): one pass, and then each one's head.

Refused, with `InferenceError`: mixed or too short windows, what torch cannot compute (out of memory, too), and scores
that are not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stream.errors import InferenceError
from stream.models.fast.net import FastNet, together
from stream.models.preprocessing import prepare
from stream.types import ModelInfo, Scores, Task, Window, WindowSpec


class PretrainedModel:
    """A model as the house knows it; holds nothing between calls, so threads may share it.

    `net` is a model of transformers or the `FastNet` made from one.
    """

    def __init__(self, *, net: nn.Module, info: ModelInfo, spec: WindowSpec, normalise: bool) -> None:
        self._net = net
        self._info = info
        self._spec = spec
        self.normalise = normalise
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

    @property
    def fast(self) -> FastNet | None:
        """The fast forward, where there is one."""
        return self._net if isinstance(self._net, FastNet) else None

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        """Score windows of one length together; one answer a window, in the same order."""
        return [scores for (scores,) in _scored([self], batch, lambda sound: [self._said(sound)])]

    def _said(self, sound: Tensor) -> Tensor:
        if self.fast is not None:
            said: Tensor = self.fast(_onto(sound, self._device))
            return said
        output = self._net(sound.to(device=self._device, dtype=self._dtype))
        answer: Tensor = output.embeddings if self._info.task is Task.SPEAKER else output.logits
        return answer


class SharedBackbone:
    """Models with one backbone and one idea of a window: one pass answers for all. Made by `sharing.share`."""

    def __init__(self, *, models: Sequence[PretrainedModel]) -> None:
        self.models = tuple(models)
        self._nets = [model.fast for model in models if model.fast is not None]
        self._device = next(self._nets[0].parameters()).device

    def infer(self, batch: Sequence[Window]) -> list[tuple[Scores, ...]]:
        """For each window, in order, what each model says of it, in the order of `models`."""
        return _scored(self.models, batch, lambda sound: together(self._nets, _onto(sound, self._device)))


def _scored(
    models: Sequence[PretrainedModel], batch: Sequence[Window], hear: Callable[[Tensor], Sequence[Tensor]]
) -> list[tuple[Scores, ...]]:
    """Windows through `hear`, which makes one tensor a model of the stacked sound (batch, n)."""
    if not batch:
        return []
    name = " and ".join(model.info.name for model in models)
    _check(batch, name=name, minimum_samples=max(model.spec.minimum_samples for model in models))
    sound = prepare([window.samples for window in batch], normalise=models[0].normalise)
    try:
        with torch.inference_mode():
            values = [_told(said, m.info.task) for said, m in zip(hear(torch.from_numpy(sound)), models, strict=True)]
    except (RuntimeError, MemoryError) as error:  # torch's out-of-memory is a RuntimeError
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InferenceError(
            f"{name} failed on {len(batch)} windows ({reason}); try a smaller pool.max_batch or the cpu"
        ) from error
    for array, model in zip(values, models, strict=True):
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array.reshape(len(array), -1)).all(axis=1)).sum())
            raise InferenceError(
                f"{model.info.name} gave no numbers for {bad} of {len(batch)} windows; "
                "check the source's samples, or set dtype to float32"
            )
    return [
        tuple(
            Scores(
                model=model.info.name,
                source_id=window.source_id,
                index=window.index,
                start_sample=window.start_sample,
                end_sample=window.end_sample,
                values=array[place].copy(),  # or one kept score would keep its whole batch
            )
            for array, model in zip(values, models, strict=True)
        )
        for place, window in enumerate(batch)
    ]


def _check(batch: Sequence[Window], *, name: str, minimum_samples: int) -> None:
    lengths = {window.samples.shape for window in batch}
    if len(lengths) != 1:
        raise InferenceError(f"{name} takes windows of one length at a time, not of {sorted(lengths)}")
    if len(shape := lengths.pop()) != 1 or shape[0] < minimum_samples:
        raise InferenceError(f"{name} needs {minimum_samples} samples of one channel or more, not {shape}")


def _onto(sound: Tensor, device: torch.device) -> Tensor:
    """To the device, past the processor's caches where that is a GPU: copies from pinned memory do not wait."""
    if device.type == "cuda":
        return sound.pin_memory().to(device, non_blocking=True)
    return sound.to(device)


def _told(said: Tensor, task: Task) -> NDArray[np.float32]:
    """Logits to probabilities, vectors to unit length, in float32; (batch, …)."""
    if task is Task.SPEAKER:
        values = nn.functional.normalize(said.float(), dim=1)
    else:
        values = torch.sigmoid(said.float()) if task is Task.OVERLAP else torch.softmax(said.float(), 1)
    array: NDArray[np.float32] = values.cpu().numpy()
    return array
