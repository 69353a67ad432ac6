"""Windows scored together or one by one, whichever is faster on this machine.

On a graphics processor a batch is always scored together. On a processor it depends on its caches, the model and the
data type: stacked windows may take longer than single ones. So the first batches of each size are scored in turn in
both ways, which costs nothing, and the faster way is used from then on.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

TRIES = 3
"""Batches of one size that are timed in each way; the fastest of each counts, since other programs delay some."""

MIN_GAIN = 1.02
"""Speed-up from which windows are scored together."""

Forward = Callable[[Tensor], Sequence[Tensor]]
"""Maps audio (batch, n) to outputs (batch, …), one for each head."""


class Batches:
    """Runs a forward on batches. Threads may share it.

    Args:
        device: Where it runs.
        singly: Never score windows together: their scores must not depend on each other.
        clock: Time in seconds.
    """

    def __init__(
        self, *, device: torch.device, singly: bool = False, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._is_processor, self._singly, self._clock = device.type == "cpu", singly, clock
        self._times: dict[int, dict[bool, list[float]]] = defaultdict(lambda: {True: [], False: []})
        self._lock = threading.Lock()

    pinned = False
    """Whether audio should be in pinned memory."""

    def run(self, forward: Forward, audio: Tensor) -> Sequence[Tensor]:
        """Return the outputs for audio (batch, n)."""
        size = len(audio)
        if size == 1 or not self._is_processor:
            return forward(audio)
        together = self.together(size)
        began_s = self._clock()
        outputs = forward(audio) if together else _one_by_one(forward, audio)
        took_s = self._clock() - began_s
        with self._lock:
            if len(times := self._times[size][together]) < TRIES:
                times.append(took_s)
        return outputs

    def together(self, size: int) -> bool:
        """Whether the next batch of this size is scored together."""
        if self._singly:
            return False
        with self._lock:
            together, apart = self._times[size][True], self._times[size][False]
            if len(together) < TRIES or len(apart) < TRIES:
                return len(together) < len(apart)
            return min(apart) >= MIN_GAIN * min(together)


def _one_by_one(forward: Forward, audio: Tensor) -> list[Tensor]:
    outputs = [forward(window[None]) for window in audio.unbind()]
    return [torch.cat(parts) for parts in zip(*outputs, strict=True)]
