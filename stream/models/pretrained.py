"""Inference with a wav2vec 2.0 checkpoint: windows in, probabilities or x-vectors out; loaded by `loading.py`.

Rules:

* A batch holds windows of equal length, stacked without padding or mask: the base models' first layer normalises over
  the whole window, so padding would change its output (cosines down to 0.84).
* An x-vector is the model's `.embeddings` at unit length, never the logits, which are classes of training speakers.
* Probabilities are a softmax in float32, whatever type the model computes in. For frame classifiers each speaker has
  an independent sigmoid, since several may speak at once.
* Models with identical backbones can be evaluated together (`SharedBackbone`): one pass, then each model's head.

Raises `InferenceError` for windows of different lengths or too short ones, failures of torch (out of memory included),
and scores that are not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stream.errors import InferenceError
from stream.models.batches import Batches
from stream.models.fast.net import FastNet, forward_shared
from stream.models.graphs import CudaForward
from stream.models.preprocessing import prepare
from stream.types import ModelInfo, Scores, Task, Window, WindowSpec


class PretrainedModel:
    """The `Model` of a checkpoint; stateless between calls, so threads may share it.

    `net` is a transformers model or the `FastNet` converted from one; `singly`: never score windows together.
    """

    def __init__(
        self, *, net: nn.Module, info: ModelInfo, spec: WindowSpec, normalise: bool, singly: bool = False
    ) -> None:
        self._net = net
        self._info = info
        self._spec = spec
        self.normalise = normalise
        weight = next(net.parameters())
        self._device, self._dtype = weight.device, weight.dtype
        self.batches = _batches(self._device, singly=singly)

    @property
    def info(self) -> ModelInfo:
        """Name, revision, task and labels."""
        return self._info

    @property
    def spec(self) -> WindowSpec:
        """Length, hop and minimum of its windows, in samples."""
        return self._spec

    @property
    def fast(self) -> FastNet | None:
        """The fast forward, or None if the library's forward is used."""
        return self._net if isinstance(self._net, FastNet) else None

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        """Score a batch of windows of equal length; one `Scores` per window, in the same order."""
        return [
            scores
            for (scores,) in _score_batch(
                [self], batch, lambda audio: self.batches.run(lambda part: [self._forward(part)], audio)
            )
        ]

    def _forward(self, audio: Tensor) -> Tensor:
        if self.fast is not None:
            values: Tensor = self.fast(audio.to(self._device))
            return values
        output = self._net(audio.to(device=self._device, dtype=self._dtype))
        raw: Tensor = output.embeddings if self._info.task is Task.SPEAKER else output.logits
        return raw


class SharedBackbone:
    """Models with identical backbones and windows, evaluated in one pass. Built by `sharing.share_backbones`."""

    def __init__(self, *, models: Sequence[PretrainedModel]) -> None:
        self.models = tuple(models)
        self._nets = [model.fast for model in models if model.fast is not None]
        self._device = next(self._nets[0].parameters()).device
        self._batches = _batches(self._device, singly=False)

    def infer(self, batch: Sequence[Window]) -> list[tuple[Scores, ...]]:
        """Score a batch; per window, in order, one `Scores` for each of `models`."""
        return _score_batch(self.models, batch, lambda audio: self._batches.run(self._forward, audio))

    def _forward(self, audio: Tensor) -> Sequence[Tensor]:
        return forward_shared(self._nets, audio.to(self._device))


def _batches(device: torch.device, *, singly: bool) -> Batches | CudaForward:
    return CudaForward(device=device) if device.type == "cuda" else Batches(device=device, singly=singly)


def _score_batch(
    models: Sequence[PretrainedModel], batch: Sequence[Window], forward: Callable[[Tensor], Sequence[Tensor]]
) -> list[tuple[Scores, ...]]:
    """Score windows with `forward`, which maps stacked audio (batch, n) to one output tensor per model."""
    if not batch:
        return []
    name = " and ".join(model.info.name for model in models)
    _check_windows(batch, name=name, minimum_samples=max(model.spec.minimum_samples for model in models))
    # pinned memory: copies to a GPU do not wait
    audio = torch.empty(len(batch), len(batch[0].samples), pin_memory=models[0].batches.pinned)
    prepare([window.samples for window in batch], normalise=models[0].normalise, out=audio.numpy())
    try:
        with torch.inference_mode():
            outputs = forward(audio)
            values = [_to_scores(output, model.info) for output, model in zip(outputs, models, strict=True)]
    except (RuntimeError, MemoryError) as error:  # out of memory is a RuntimeError in torch
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InferenceError(
            f"{name} failed on {len(batch)} windows ({reason}); reduce pool.max_batch or set device to cpu"
        ) from error
    for array, model in zip(values, models, strict=True):
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array.reshape(len(array), -1)).all(axis=1)).sum())
            raise InferenceError(
                f"{model.info.name} returned scores that are not finite for {bad} of {len(batch)} windows; "
                "check the source, or set dtype to float32"
            )
    return [
        tuple(
            Scores(
                model=model.info.name,
                source_id=window.source_id,
                index=window.index,
                start_sample=window.start_sample,
                end_sample=window.end_sample,
                values=array[position].copy(),  # a view would keep the whole batch in memory
            )
            for array, model in zip(values, models, strict=True)
        )
        for position, window in enumerate(batch)
    ]


def _check_windows(batch: Sequence[Window], *, name: str, minimum_samples: int) -> None:
    lengths = {window.samples.shape for window in batch}
    if len(lengths) != 1:
        raise InferenceError(f"{name} needs windows of equal length, not {sorted(lengths)}")
    if len(shape := lengths.pop()) != 1 or shape[0] < minimum_samples:
        raise InferenceError(f"{name} needs at least {minimum_samples} samples of one channel, not shape {shape}")


def _to_scores(output: Tensor, info: ModelInfo) -> NDArray[np.float32]:
    """Turn logits into probabilities, limit dimensions to 0…1, or scale vectors to unit length; float32, (batch, …)."""
    if info.task is Task.SPEAKER:
        values = nn.functional.normalize(output.float(), dim=1)
    elif info.dimensions:  # of a regression head, which has no other outputs
        values = output.float().clamp(0.0, 1.0)
    else:
        values = torch.sigmoid(output.float()) if info.task is Task.OVERLAP else torch.softmax(output.float(), 1)
    array: NDArray[np.float32] = values.cpu().numpy()
    return array
