"""The base of sinks that only look on: nothing is opened for them and nothing has to be closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from stream.events import Event


class ObserverSink:
    """A sink but for `send`."""

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""


@dataclass(frozen=True, slots=True)
class SinkCounters:
    """What a sink that delivers later knows of its events, beyond the queue before it; counts since the start."""

    dropped: int = 0  # given up: too many, too old, or no room for them
    refused: int = 0  # the other end does not want them
    owed: int = 0  # not delivered yet
    unsaved: int = 0  # owed, and would not survive us


@runtime_checkable
class CountingSink(Protocol):
    """A sink that has more to say in `health`."""

    def account(self) -> SinkCounters:
        """Counts so far."""
        ...


@runtime_checkable
class BatchingSink(Protocol):
    """A sink to which many events at once are cheaper than one after the other."""

    async def send_all(self, told: Sequence[Event]) -> None:
        """Take events in their order; like `send` for each."""
        ...
