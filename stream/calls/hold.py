"""How long a call was on hold, and how often it was transferred (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.events import StreamEvent


@dataclass(slots=True)
class Hold:
    """The time on hold by the clock, since no audio tells it: both parties' tracks say the same."""

    since_ms: float | None = None
    held_s: float = 0.0
    transfers: int = 0
    _transferred: dict[str, int] = field(default_factory=dict)  # by source

    def apply(self, event: StreamEvent) -> None:
        """Apply an event of one of the tracks."""
        now_ms = event.time.timestamp() * 1000
        if event.call_change == "hold" and self.since_ms is None:
            self.since_ms = now_ms
        elif self.since_ms is not None and event.state in ("resumed", "ended"):
            self.held_s += max(0.0, now_ms - self.since_ms) / 1000
            self.since_ms = None
        if event.call_change == "transfer":
            self._transferred[event.source] = self._transferred.get(event.source, 0) + 1
            self.transfers = max(self._transferred.values())
