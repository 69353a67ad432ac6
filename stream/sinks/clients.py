"""Events back to those who brought the sound: each subscriber gets those of one call or stream.

A subscriber's queue is bounded: when he reads too slowly rolling state is conflated, and then the oldest event is lost.
He never holds up anybody else.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from stream import events
from stream.events import CallEvent, Event, StreamEvent
from stream.queues import EventQueue, QueueClosed

QUEUE_EVENTS = 256
"""Events that may wait for one subscriber."""


class Subscription:
    """The events of one name, until the last word about it."""

    def __init__(self, *, name: str, is_call: bool) -> None:
        self._queue: EventQueue[Event] = EventQueue(
            capacity=QUEUE_EVENTS,
            conflate=lambda event: (event.type, event.source) if events.is_rolling(event) else None,
        )
        self.name = name
        self._is_call = is_call

    def __aiter__(self) -> Self:
        """Events in order."""
        return self

    async def __anext__(self) -> Event:
        """The next event; ends when there will be no more."""
        try:
            return await self._queue.take()
        except QueueClosed:
            raise StopAsyncIteration from None

    async def put(self, event: Event) -> None:
        """Take an event; the summary of a call, or the end of a stream, is the last."""
        await self._queue.put(event, policy="drop_oldest")
        ended = isinstance(event, StreamEvent) and event.state == "ended" and not self._is_call
        if ended or (isinstance(event, CallEvent) and event.phase == "final"):
            self.close()

    def close(self) -> None:
        """No more; what waits is still given."""
        self._queue.close()


class ClientsSink:
    """All subscribers, by name."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, set[Subscription]] = {}

    def subscribe(self, name: str, *, is_call: bool) -> Subscription:
        """The events of a call (its tracks' included) or of a stream from now on."""
        made = Subscription(name=name, is_call=is_call)
        self._subscriptions.setdefault(name, set()).add(made)
        return made

    def leave(self, subscription: Subscription) -> None:
        """No more events for him."""
        subscription.close()
        left = self._subscriptions.get(subscription.name, set())
        left.discard(subscription)
        if not left:
            self._subscriptions.pop(subscription.name, None)

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nobody waits for more."""
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.close()

    async def send(self, event: Event) -> None:
        """Pass an event on."""
        for subscription in tuple(self._subscriptions.get(event.call or event.source, ())):
            try:
                await subscription.put(event)
            except QueueClosed:  # he has had the last word
                continue
