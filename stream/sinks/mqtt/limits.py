"""Time limits of the delivery to a broker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream.sinks.mqtt.connection import SHUTDOWN_TIMEOUT_S
from stream.sinks.mqtt.refusals import SETTLE_S


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """Time limits of a delivery, in seconds."""

    flush_timeout_s: float = 5.0
    """Longest wait of a close; before the first connection it counts from the start of the delivery."""

    idle_timeout_s: float = 1.0
    """Longest wait of a close without an acknowledgement."""

    abort_timeout_s: float = 0.5
    """Longest wait of a close after an error."""

    min_backoff_s: float = 0.5
    """Pause before the first reconnect, and the longest one while closing."""

    stable_s: float = 30.0
    """A connection that lasted so long ends the doubling of the backoff."""

    settle_s: float = SETTLE_S
    """Time that a connection must outlive the acknowledgement of a suspect."""

    trial_s: float = 0.02
    """A broker that answers within this time gets the first message of each topic alone: where it closes the connection
    for a denied topic, it loses no acknowledgements of others, which would arrive twice."""

    quota_pauses_s: Sequence[float] = (1.0, 4.0, 16.0, 60.0)
    """Pauses before a message that exceeded a quota is published again; after the last it is refused."""

    ack_timeout_s: float = 10.0
    """A connection with messages in flight and no acknowledgement for so long is replaced."""

    housekeeping_s: float = 1.0
    """Period of housekeeping."""

    shutdown_timeout_s: float = SHUTDOWN_TIMEOUT_S
    """Longest wait for the acknowledgement of `offline`."""
