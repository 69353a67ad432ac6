"""A small net as one call: traced once for each length of window that keeps coming, and run without Python in between.

A window takes a compact net a hundred small operations. Each lets go of the interpreter's lock and asks for it again,
so that where dozens of streams are heard a process's threads spend more time on handing it around than on computing.
A traced net asks once.

Rules: a length is traced when it has come `OFTEN` times (a short run never pays for it), by whoever holds it then,
while other threads go on as before. The traced net must give the same bits for that very window, or the length stays
as it was; so it does where torch cannot trace. At most `LENGTHS` lengths are traced.
"""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

OFTEN = 24
LENGTHS = 40

_tracing = threading.Lock()  # one at a time in the whole process

Score = Callable[[Tensor], Tensor]


class Traced:
    """`score`, sooner or later in one call; (n,) in, what `score` says out. Threads may share it."""

    def __init__(self, *, score: Score) -> None:
        self._score = score
        self._seen: Counter[int] = Counter()
        self._by_length: dict[int, Score] = {}

    def __call__(self, samples: Tensor) -> Tensor:
        """Score one window, inside `torch.inference_mode`."""
        length = len(samples)
        known = self._by_length.get(length)
        if known is not None:
            with _as_it_is():
                return known(samples)
        said = self._score(samples)
        self._seen[length] += 1
        if self._seen[length] >= OFTEN and len(self._by_length) < LENGTHS and _tracing.acquire(blocking=False):
            try:
                self._by_length.setdefault(length, self._trace(samples, said))
            finally:
                _tracing.release()
        return said

    @property
    def lengths(self) -> int:
        """Lengths that have been decided on."""
        return len(self._by_length)

    def _trace(self, samples: Tensor, said: Tensor) -> Score:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # it warns of sizes it takes for constant, which they are, and of its age
                traced: Score = torch.jit.trace(self._score, (samples,), check_trace=False)  # type: ignore[no-untyped-call]
                with _as_it_is():
                    again = traced(samples)
        except (RuntimeError, AttributeError, TypeError, ValueError):  # this torch, or this Python, cannot
            return self._score
        return traced if torch.equal(again, said) else self._score


def _as_it_is() -> AbstractContextManager[None]:
    """Operations are run as they were traced, by this thread: put together they would give other last bits."""
    plain: AbstractContextManager[None] = torch.jit.optimized_execution(False)  # type: ignore[attr-defined]
    return plain
