"""What sinks share: a base without resources, counters for `health`, and optional protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from stream.events import BrokerHealth, Event, SetAside
from stream.settings import AlertsSettings


class ObserverSink:
    """Base of a sink without resources: everything but `send`."""

    async def __aenter__(self) -> Self:
        """Return the sink; there is nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing; there is nothing to close."""


@dataclass(frozen=True, slots=True)
class SinkCounters:
    """Events of a sink that delivers asynchronously, beyond the queue before it; counts since the start."""

    dropped: int = 0  # beyond a bound of the sink's own storage
    refused: int = 0  # rejected by the receiver
    pending: int = 0  # not delivered yet
    not_persisted: int = 0  # pending, and lost if the process ends
    broker: BrokerHealth | None = None
    set_aside: tuple[SetAside, ...] = ()  # by reason, of a sink without a broker


@runtime_checkable
class CountingSink(Protocol):
    """A sink with counters of its own."""

    def counters(self) -> SinkCounters:
        """Counts so far."""
        ...


@runtime_checkable
class LevelSink(Protocol):
    """A sink that publishes input levels."""

    def attach_levels(self, levels: Callable[[], Mapping[str, float]]) -> None:
        """Set the function that returns the current level of each stream in dBFS."""
        ...


@runtime_checkable
class ConditionsSink(Protocol):
    """A sink that publishes the conditions of alerts."""

    def attach_alerts(self, alerts: Callable[[], AlertsSettings]) -> None:
        """Set the function that returns the current conditions of alerts."""
        ...


@runtime_checkable
class NeighbourSink(Protocol):
    """A sink that receives the speaker events of other nodes."""

    def attach_neighbours(self, observe: Callable[[str, Event], None]) -> None:
        """Set the function that takes an event, with the name of its node."""
        ...


@runtime_checkable
class BatchingSink(Protocol):
    """A sink that handles a batch of events faster than single ones."""

    async def send_all(self, batch: Sequence[Event]) -> None:
        """Send events in order; equivalent to `send` for each."""
        ...
