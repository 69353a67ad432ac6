"""Whether a running node is alive (pure).

Alive is a node whose event loop runs (or nobody would be asking here) and whose sound goes forward: a stream that
listens to sound that comes at its own pace must have got further within `stall_timeout_s`. A stream that is paused, that has
ended, or whose device is away (it is being opened again) stands still for a reason; a file may be held back by its
reader.
"""

from __future__ import annotations

from stream.control.commands import NodeStatus


class StallDetector:
    """Remembers how far each stream was, and since when."""

    def __init__(self, *, stall_timeout_s: float) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._reached: dict[str, tuple[float, float]] = {}  # a stream's media time, and when it got there

    def stuck(self, status: NodeStatus, now_s: float) -> tuple[str, ...]:
        """Streams that should have got further by now; `now_s` is monotonic."""
        found = []
        for row in status.streams:
            before = self._reached.get(row.stream)
            moving = before is None or row.audio_s > before[0]
            if moving or not row.paced or row.state != "listening":
                self._reached[row.stream] = (row.audio_s, now_s)
            elif now_s - self._reached[row.stream][1] > self._stall_timeout_s:
                found.append(row.stream)
        return tuple(found)
