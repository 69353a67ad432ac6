"""Network statistics, by protocol."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from stream.events import ProtocolHealth, Refusal


@dataclass(slots=True)
class ProtocolCounters:
    """Totals over all connections of one protocol since the start."""

    accepted: int = 0
    open: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    bytes: int = 0
    gaps: int = 0
    lost_s: float = 0.0
    malformed: int = 0

    def health(self, protocol: str, refusals: tuple[Refusal, ...] = ()) -> ProtocolHealth:
        """Return the protocol's row of `health` events."""
        return ProtocolHealth(
            protocol=protocol,
            open=self.open,
            accepted=self.accepted,
            refused=dict(self.rejected),
            messages=self.messages,
            bytes=self.bytes,
            gaps=self.gaps,
            lost_s=round(self.lost_s, 3),
            malformed=self.malformed,
            refusals=refusals,
        )
