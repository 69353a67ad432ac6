"""A replica: the models of a node in a process of the cluster, which scores the batches that nodes send.

Windows arrive as 16-bit samples with one scale per window (or as float32), one array each, so that Ray sends every one
inside the call; scores leave as one array per model. This module does not depend on Ray.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.errors import InferenceError
from stream.types import Ensemble, ModelInfo, Samples, Window, WindowSpec

Loader = Callable[[], tuple[Sequence[Ensemble], Callable[[int], None]]]
"""Loads models, grouped as they share a lane, and returns them with the setup of a thread; it can be pickled."""

ModelGroups = tuple[tuple[tuple[ModelInfo, WindowSpec], ...], ...]
"""The models of every lane, without their weights."""

SampleArray = NDArray[np.int16] | Samples

_FULL_SCALE = 32_767


@dataclass(frozen=True, slots=True)
class WindowHeader:
    """What a window is besides its samples; `scale` is the value of a sample of 1, or 0 for float32 samples."""

    scale: float
    speech_ratio: float
    speech_samples: int


def encode(window: Window, *, is_exact: bool) -> tuple[WindowHeader, SampleArray]:
    """Return a window as header and samples; unless `is_exact`, as 16 bits relative to the window's peak."""
    samples, scale = window.samples, 0.0
    if not is_exact:
        scale = float(np.abs(samples).max(initial=0.0)) / _FULL_SCALE or 1.0
        samples = np.rint(samples / scale).astype(np.int16)
    return WindowHeader(scale, window.speech_ratio, window.speech_samples), samples


def decode(header: WindowHeader, samples: SampleArray) -> Window:
    """Return the window; its source and position are known only to the node that sent it."""
    values = np.asarray(samples, dtype=np.float32)
    if header.scale:
        values = values * np.float32(header.scale)
    return Window("", 0, 0, values, header.speech_ratio, header.speech_samples)


def describe(ensembles: Sequence[Ensemble]) -> ModelGroups:
    """Return the models of every lane, without their weights."""
    return tuple(tuple((model.info, model.spec) for model in ensemble.models) for ensemble in ensembles)


class Replica:
    """The body of a Ray actor. `threads` is the number of BLAS threads of each of its calls."""

    def __init__(self, load: Loader, threads: int) -> None:
        self._ensembles, self._thread_setup = load()
        self._threads = threads
        self._local = threading.local()

    def describe(self) -> ModelGroups:
        """Return the models of every lane."""
        return describe(self._ensembles)

    def ping(self) -> None:
        """Answer, which shows that the process runs."""

    def infer(self, lane: int, headers: Sequence[WindowHeader], *samples: SampleArray) -> list[Samples]:
        """Score a batch; returns for each model of the lane its values, shape (windows, …)."""
        if not hasattr(self._local, "is_set_up"):
            self._thread_setup(self._threads)
            self._local.is_set_up = True
        batch = [decode(header, array) for header, array in zip(headers, samples, strict=True)]
        results = self._ensembles[lane].infer(batch)
        if len(results) != len(batch):
            raise InferenceError(f"{len(results)} results for {len(batch)} windows; the model is faulty")
        return [np.stack([scores.values for scores in column]) for column in zip(*results, strict=True)]
