"""A forward on a CUDA device: small batches as graphs, copies beside kernels.

A forward of these nets is some 400 kernels, and starting each takes longer than computing it for a few windows: 9 ms
instead of 2 for one window of the large net on an H200. A CUDA graph is started as a whole. It has fixed shapes, so a
batch is padded to the next power of two; windows do not affect each other. Batches above `MAX_GRAPH_BATCH` keep the
device busy by themselves and run without a graph. A graph is captured when its shape is needed for the `USES`th time,
and the `MAX_GRAPHS` last used ones are kept; they share their memory, since only one runs at a time.

Each net has a stream of its own, so that nets overlap, and one for copies: the windows of the next batch are copied
from pinned memory while the kernels of the last one run.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MAX_GRAPH_BATCH = 32
MAX_GRAPHS = 160
"""Windows of up to 3 s have 24 lengths (`ONSET_GRID_SAMPLES`), and batches six sizes."""
USES = 2
_WARM_UPS = 3  # libraries choose their kernels in the first calls, which must not be captured

Forward = Callable[[Tensor], Sequence[Tensor]]
"""Maps audio (batch, n) on the device to outputs (batch, …), one for each head."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    audio: Tensor  # (batch, n), read by the graph
    outputs: tuple[Tensor, ...]  # written by it


class CudaForward:
    """Runs a forward on a CUDA device. Threads may share it."""

    pinned = True
    """Whether audio should be in pinned memory."""

    def __init__(self, *, device: torch.device) -> None:
        self._device = device
        streams: list[torch.cuda.Stream] = [torch.cuda.Stream(device) for _ in range(2)]  # type: ignore[no-untyped-call]
        self._computing, self._copying = streams
        self._graphs: OrderedDict[tuple[int, int], _Graph] = OrderedDict()
        self._uses: Counter[tuple[int, int]] = Counter()
        self._pool = torch.cuda.graph_pool_handle()
        self._captures = True
        self._lock = threading.Lock()

    def run(self, forward: Forward, audio: Tensor) -> list[Tensor]:
        """Return the outputs for audio (batch, n) in the host's memory; they are ready when this returns."""
        with torch.cuda.stream(self._copying):
            windows = audio.pin_memory().to(self._device, non_blocking=True)
            copied = self._copying.record_event()
        with self._lock, torch.cuda.stream(self._computing):
            self._computing.wait_event(copied)
            windows.record_stream(self._computing)
            graph = self._graph(forward, windows)
            outputs = list(forward(windows)) if graph is None else _replayed(graph, windows)
            computed = self._computing.record_event()
        computed.synchronize()
        return outputs

    def _graph(self, forward: Forward, windows: Tensor) -> _Graph | None:
        """Return the graph for a batch of this size, captured if need be; None if it runs without one."""
        size, length = windows.shape
        if size > MAX_GRAPH_BATCH or not self._captures:
            return None
        key = (1 << (size - 1).bit_length(), length)
        if key not in self._graphs:
            self._uses[key] += 1
            if self._uses[key] < USES:
                return None
            try:
                self._graphs[key] = self._captured(forward, windows.new_zeros(key))
            except RuntimeError as error:  # an operation that cannot be captured, or too little memory
                reason = str(error).partition("\n")[0]
                log.warning("no CUDA graphs (%s); small batches take longer", reason)
                self._captures = False
                return None
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key]

    def _captured(self, forward: Forward, audio: Tensor) -> _Graph:
        for _ in range(_WARM_UPS):
            forward(audio)
        self._computing.synchronize()
        graph = torch.cuda.CUDAGraph()
        # other threads may allocate meanwhile
        with torch.cuda.graph(graph, pool=self._pool, stream=self._computing, capture_error_mode="thread_local"):
            outputs = tuple(forward(audio))
        return _Graph(graph, audio, outputs)


def _replayed(graph: _Graph, windows: Tensor) -> list[Tensor]:
    """Run a graph on a batch no larger than its own; the next run overwrites its outputs, so they are copied."""
    graph.audio[: len(windows)].copy_(windows)
    graph.graph.replay()
    return [output[: len(windows)].clone() for output in graph.outputs]
