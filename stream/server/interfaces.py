"""What a connection depends on: the transport that carries it and the gateway that owns it."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

from stream.events import CallChange
from stream.pipeline.pipeline import Pipeline
from stream.server.buffers import BufferBudget
from stream.server.call_legs import CallLegs, PartyTracks
from stream.server.sockets import SocketSlot
from stream.settings import ServeSettings
from stream.sinks.clients import ClientsSink


class Transport(Protocol):
    """A bidirectional message channel: a WebSocket or a TCP socket."""

    @property
    def slot(self) -> SocketSlot:
        """The place of its socket in the listener's budget."""
        ...

    async def receive(self) -> str | bytes | None:
        """Return the next message; None after the peer has closed. Raises `ConnectionError` if it has not."""
        ...

    async def send(self, data: str | bytes) -> None:
        """Send a message; waits while the peer does not read. Raises `ConnectionError` if the connection is lost."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close with a closing handshake."""
        ...

    def abort(self) -> None:
        """Close immediately; unsent data is lost."""
        ...


class ConnectionContext(Protocol):
    """What a connection needs from its gateway."""

    @property
    def settings(self) -> ServeSettings:
        """Limits of connections."""
        ...

    @property
    def clients(self) -> ClientsSink:
        """Subscriptions to events."""
        ...

    @property
    def buffers(self) -> BufferBudget:
        """How much audio of a track may wait."""
        ...

    @property
    def pipeline(self) -> Pipeline | None:
        """The running pipeline; None before the run starts."""
        ...

    def connections_of(self, peer: str) -> int:
        """Count the open connections of an address that have proved who they are."""
        ...

    def streams_of(self, peer: str) -> int:
        """Count the tracks of an address."""
        ...

    @property
    def is_draining(self) -> bool:
        """Whether no more calls are taken."""
        ...

    def total_streams(self) -> int:
        """Count the tracks of all connections."""
        ...

    def describe(self, key: str, labels: Mapping[str, str], change: CallChange | None = None) -> bool:
        """Set labels of a call, and put it on hold, retrieve or transfer it; returns whether it is connected."""
        ...

    def labels_of(self, key: str, labels: Mapping[str, str]) -> dict[str, str]:
        """Return the labels of a call: what its own connection says, and what was announced."""
        ...

    def find_call(self, key: str) -> CallLegs | None:
        """Return the call that connections joined under `key`."""
        ...

    def unique_name(self, requested: str) -> str:
        """Return an unused name for a call or a stream."""
        ...

    def register(self, tracks: PartyTracks, *, peer: str, key: str, name: str) -> None:
        """Add the tracks of a connection."""
        ...

    def unregister(self, tracks: PartyTracks, *, peer: str, key: str) -> None:
        """Remove the tracks of a connection."""
        ...

    def note_refusal(self, protocol: str, *, peer: str, reason: str, message: str) -> None:
        """Log a connection that was refused or ended, and keep it for `health` events."""
        ...

    def schedule_close(self, closing: Coroutine[Any, Any, None]) -> None:
        """Run `closing` as a task of its own."""
        ...
