"""A replica: the models of a node in a process of the cluster, which scores the batches that nodes send.

Windows arrive as 16-bit samples with one scale per window (or as float32), each as bytes of its own: Ray sends each
inside the call, and copies bytes with half the effort of arrays. Scores leave as one array per model. This module does
not depend on Ray.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from stream.errors import InferenceError
from stream.types import Ensemble, ModelInfo, Samples, Window, WindowSpec

Loader = Callable[[], tuple[Sequence[Ensemble], Callable[[int], None]]]
"""Loads models, grouped as they share a lane, and returns them with the setup of a thread; it can be pickled."""

ModelGroups = tuple[tuple[tuple[ModelInfo, WindowSpec], ...], ...]
"""The models of every lane, without their weights."""

_FULL_SCALE = 32_767


class WindowHeader(NamedTuple):
    """What a window is besides its samples; `scale` is the value of a 16-bit sample of 1, or 0 for float32 samples."""

    scale: float
    speech_ratio: float
    speech_samples: int


def encode(window: Window, *, is_exact: bool) -> tuple[WindowHeader, bytes]:
    """Return a window as header and samples; unless `is_exact`, as 16 bits relative to the window's peak."""
    samples, scale = window.samples, 0.0
    if is_exact:
        content = samples.astype("<f4").tobytes()
    else:
        scale = float(max(samples.max(initial=0.0), -samples.min(initial=0.0))) / _FULL_SCALE or 1.0
        content = np.rint(samples / np.float32(scale)).astype("<i2").tobytes()
    return WindowHeader(scale, window.speech_ratio, window.speech_samples), content


def decode(header: WindowHeader, content: bytes) -> Window:
    """Return the window; its source and position are known only to the node that sent it."""
    if header.scale:
        samples = np.frombuffer(content, "<i2") * np.float32(header.scale)
    else:
        samples = np.frombuffer(content, "<f4").astype(np.float32)
    return Window("", 0, 0, samples, header.speech_ratio, header.speech_samples)


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

    def infer(self, lane: int, headers: Sequence[WindowHeader], *samples: bytes) -> list[Samples]:
        """Score a batch; returns for each model of the lane its values, shape (windows, …)."""
        if not hasattr(self._local, "is_set_up"):
            self._thread_setup(self._threads)
            self._local.is_set_up = True
        batch = [decode(header, content) for header, content in zip(headers, samples, strict=True)]
        results = self._ensembles[lane].infer(batch)
        if len(results) != len(batch):
            raise InferenceError(f"{len(results)} results for {len(batch)} windows; the model is faulty")
        return [np.stack([scores.values for scores in column]) for column in zip(*results, strict=True)]
