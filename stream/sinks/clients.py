"""Events for network clients: each subscription receives the events of one call or stream.

A subscription's queue is bounded: for a slow client rolling state is conflated, then the oldest event is dropped. A
slow client never delays another one.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from stream import events
from stream.events import CallEvent, Event, StreamEvent
from stream.queues import EventQueue, QueueClosed

MAX_QUEUED_EVENTS = 256
"""Events that may wait for one subscription."""


class Subscription:
    """The events of one call or stream, up to the last one."""

    def __init__(self, *, name: str, is_call: bool) -> None:
        self._queue: EventQueue[Event] = EventQueue(
            capacity=MAX_QUEUED_EVENTS,
            conflate=lambda event: (event.type, event.source) if events.is_rolling(event) else None,
        )
        self.name = name
        self._is_call = is_call

    def __aiter__(self) -> Self:
        """Iterate over the events in order."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event; stops after the last one."""
        try:
            return await self._queue.take()
        except QueueClosed:
            raise StopAsyncIteration from None

    async def put(self, event: Event) -> None:
        """Queue an event; the final event of a call, or the end of a stream, closes the subscription."""
        await self._queue.put(event, policy="drop_oldest")
        ended = isinstance(event, StreamEvent) and event.state == "ended" and not self._is_call
        if ended or (isinstance(event, CallEvent) and event.phase == "final"):
            self.close()

    def close(self) -> None:
        """Accept no more events; queued ones are still delivered."""
        self._queue.close()


class ClientsSink:
    """All subscriptions, by the name of their call or stream."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, set[Subscription]] = {}

    def subscribe(self, name: str, *, is_call: bool) -> Subscription:
        """Subscribe to the future events of a stream, or of a call including its tracks."""
        subscription = Subscription(name=name, is_call=is_call)
        self._subscriptions.setdefault(name, set()).add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Close and remove a subscription."""
        subscription.close()
        remaining = self._subscriptions.get(subscription.name, set())
        remaining.discard(subscription)
        if not remaining:
            self._subscriptions.pop(subscription.name, None)

    async def __aenter__(self) -> Self:
        """Return the sink; there is nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all subscriptions."""
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.close()

    async def send(self, event: Event) -> None:
        """Queue an event for the subscriptions of its call or stream."""
        for subscription in tuple(self._subscriptions.get(event.call or event.source, ())):
            try:
                await subscription.put(event)
            except QueueClosed:  # it has received its last event
                continue
