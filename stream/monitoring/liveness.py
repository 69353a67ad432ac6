"""Liveness of a running node (pure).

A node is alive if its event loop runs (otherwise this code would not) and its audio advances: a listening stream whose
audio arrives at its own pace must have advanced within the stall timeout. A stream that is paused, has ended, or whose
device is being reopened has a reason not to advance, and a file may be held back by a slow sink.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from stream.pipeline.live_stream import Progress, StreamState


class MonitoredStream(Protocol):
    """What is read of a stream; `LiveStream` is one."""

    @property
    def name(self) -> str:
        """Its name in events."""
        ...

    @property
    def paced(self) -> bool:
        """Whether audio arrives at its own pace."""
        ...

    @property
    def state(self) -> StreamState:
        """What the stream does now."""
        ...

    @property
    def progress(self) -> Progress:
        """How far it has been processed."""
        ...


class StallDetector:
    """Finds streams that have not advanced for `stall_timeout_s`."""

    def __init__(self, *, stall_timeout_s: float) -> None:
        self._stall_timeout_s = stall_timeout_s

    def stalled(self, streams: Iterable[MonitoredStream], now_s: float) -> tuple[str, ...]:
        """Return the names of stalled streams; `now_s` is monotonic."""
        return tuple(
            stream.name
            for stream in streams
            if stream.paced
            and stream.state == "listening"
            and now_s - stream.progress.advanced_s > self._stall_timeout_s
        )
