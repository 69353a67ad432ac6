"""Tracing of a small net: recurring window lengths run as one traced call, without Python in between.

A window takes a compact net a hundred small operations. Each releases and re-acquires the interpreter's lock, so with
dozens of streams a process's threads spend more time on passing the lock than on computing. A traced net takes it once.

Rules: a length is traced at its call number `TRACE_AFTER_CALLS` (so short runs never pay for it), by the thread that
makes that call, while other threads go on untraced. The traced net must give bit-identical output for that window, else
the length stays untraced; likewise if torch cannot trace. At most `MAX_TRACED_LENGTHS` lengths are traced.
"""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

TRACE_AFTER_CALLS = 24
MAX_TRACED_LENGTHS = 40

_tracing = threading.Lock()  # one at a time in the whole process

Score = Callable[[Tensor], Tensor]


class Traced:
    """A wrapper around `score` that traces recurring lengths; (n,) to the output of `score`. Threads may share it."""

    def __init__(self, *, score: Score) -> None:
        self._score = score
        self._seen: Counter[int] = Counter()
        self._by_length: dict[int, Score] = {}

    def __call__(self, samples: Tensor) -> Tensor:
        """Score one window, inside `torch.inference_mode`."""
        length = len(samples)
        decided = self._by_length.get(length)
        if decided is not None:
            with _without_optimisation():
                return decided(samples)
        expected = self._score(samples)
        self._seen[length] += 1
        is_due = self._seen[length] >= TRACE_AFTER_CALLS and len(self._by_length) < MAX_TRACED_LENGTHS
        if is_due and _tracing.acquire(blocking=False):
            try:
                self._by_length.setdefault(length, self._trace(samples, expected))
            finally:
                _tracing.release()
        return expected

    @property
    def lengths(self) -> int:
        """Number of lengths for which tracing was decided, either way."""
        return len(self._by_length)

    def _trace(self, samples: Tensor, expected: Tensor) -> Score:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # sizes are constant on purpose, and torch.jit is deprecated
                traced: Score = torch.jit.trace(self._score, (samples,), check_trace=False)  # type: ignore[no-untyped-call]
                with _without_optimisation():
                    actual = traced(samples)
        except (RuntimeError, AttributeError, TypeError, ValueError):  # not traceable with this torch or this Python
            return self._score
        return traced if torch.equal(actual, expected) else self._score


def _without_optimisation() -> AbstractContextManager[None]:
    """Run operations as traced, on this thread: fused operations would give other last bits."""
    plain: AbstractContextManager[None] = torch.jit.optimized_execution(False)  # type: ignore[attr-defined]
    return plain
