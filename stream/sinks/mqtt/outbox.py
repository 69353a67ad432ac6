"""Messages waiting for the broker (pure; used by one event loop).

Rolling state is conflated: one message per topic, the newest. All of it is published again after a reconnect, as long
as it has not expired, counted from the time it was added. State that has ended is cleared by an empty payload and then
forgotten, so that memory does not grow with the number of past streams.

Ordered messages (turns, streams) stay in order until they are acknowledged, bounded by number, size and age; beyond a
bound the oldest is dropped and counted. A message that was taken but not acknowledged is taken again after
`requeue_unacknowledged`, so that delivery is at least once.

Times are seconds of one monotonic clock of the caller.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One publication, added at `added_s`.

    Ordered messages are numbered in sequence. Rolling state is numbered -1 and expires at `expires_at_s` (None: never).
    """

    topic: str
    payload: str
    rolling: bool
    number: int = -1
    added_s: float = 0.0
    expires_at_s: float | None = None

    @property
    def size(self) -> int:
        """Approximate size in bytes."""
        return len(self.topic) + len(self.payload)


@dataclass(frozen=True, slots=True)
class OutboxStatistics:
    """Counts since the start. `dropped`: ordered messages beyond a bound; `refused`: rejected by the broker."""

    sent: int
    dropped: int
    refused: int
    conflated: int
    expired: int
    waiting: int


class Outbox:
    """Ordered messages and rolling state that the broker has not acknowledged."""

    def __init__(self, *, capacity: int, capacity_bytes: float = float("inf"), max_age_s: float = float("inf")) -> None:
        self._capacity, self._capacity_bytes, self._max_age_s = capacity, capacity_bytes, max_age_s
        self._ordered: deque[Message] = deque()
        self._bytes = 0
        self._taken = 0  # number of ordered messages in flight, counted from the left
        self._pending_state: OrderedDict[str, Message] = OrderedDict()
        self._retained: dict[str, Message] = {}
        self._published: set[str] = set()  # topics for which the broker may hold a retained message
        self._next_number = self._sent = self._dropped = self._refused = self._conflated = self._expired = 0

    def restore(self, messages: list[Message]) -> list[Message]:
        """Add the messages of an earlier process, oldest first; returns those dropped beyond a bound."""
        for message in messages:
            self._ordered.append(message)
            self._bytes += message.size
            self._next_number = max(self._next_number, message.number + 1)
        return self._trim(max((message.added_s for message in messages), default=0.0))

    def put(self, topic: str, payload: str, *, now_s: float = 0.0) -> tuple[Message, list[Message]]:
        """Add an ordered message; returns it and the messages dropped for it."""
        message = Message(topic, payload, rolling=False, number=self._next_number, added_s=now_s)
        self._next_number += 1
        self._ordered.append(message)
        self._bytes += message.size
        return message, self._trim(now_s)

    def put_state(self, topic: str, payload: str, *, now_s: float = 0.0, expires_after_s: float | None = None) -> None:
        """Add rolling state in place of the topic's previous state."""
        if topic in self._pending_state:
            self._conflated += 1
            del self._pending_state[topic]
        expires_at_s = None if expires_after_s is None else now_s + expires_after_s
        message = Message(topic, payload, rolling=True, added_s=now_s, expires_at_s=expires_at_s)
        self._pending_state[topic] = self._retained[topic] = message

    def clear(self, topic: str) -> None:
        """Remove a topic's rolling state here and, if it may have been published, at the broker."""
        if topic in self._published:
            self.put_state(topic, "")
        else:
            self._pending_state.pop(topic, None)
            self._retained.pop(topic, None)

    def take(self, *, now_s: float = 0.0) -> Message | None:
        """Return the next message to publish, ordered messages before rolling state; None if there is none."""
        if self._taken < len(self._ordered):
            self._taken += 1
            return self._ordered[self._taken - 1]
        while self._pending_state:
            topic, message = self._pending_state.popitem(last=False)
            if message.expires_at_s is None or now_s < message.expires_at_s:
                self._published.add(topic)
                return message
            self._retained.pop(topic, None)
            self._expired += 1
        return None

    def acknowledge(self, message: Message) -> None:
        """Count a message as sent; one that was dropped while in flight stays counted as dropped only."""
        if message.rolling:
            self._forget_cleared(message)
        if message.rolling or self._remove(message):
            self._sent += 1

    def refuse(self, message: Message) -> None:
        """Remove and count a message that the broker rejected; it is not retried."""
        if message.rolling:
            self._retained.pop(message.topic, None)
            self._forget_cleared(message)
            self._refused += 1
        elif self._remove(message):
            self._refused += 1

    def requeue_unacknowledged(self) -> None:
        """Make messages in flight and all rolling state pending again, after a lost connection."""
        self._taken = 0
        self.requeue_retained()

    def requeue_retained(self) -> None:
        """Make all rolling state pending again."""
        self._pending_state = OrderedDict(self._retained)

    def expire(self, *, now_s: float) -> list[Message]:
        """Drop ordered messages that are too old; returns them."""
        return self._trim(now_s)

    @property
    def empty(self) -> bool:
        """Whether every message has been acknowledged."""
        return not self._ordered and not self._pending_state

    def statistics(self) -> OutboxStatistics:
        """Counts so far."""
        return OutboxStatistics(
            sent=self._sent,
            dropped=self._dropped,
            refused=self._refused,
            conflated=self._conflated,
            expired=self._expired,
            waiting=len(self._ordered) + len(self._pending_state),
        )

    def _forget_cleared(self, message: Message) -> None:
        """Forget the topic of an acknowledged clearing message, unless it has new state."""
        if not message.payload and self._retained.get(message.topic, message) is message:
            self._retained.pop(message.topic, None)
            self._published.discard(message.topic)

    def _remove(self, message: Message) -> bool:
        """Remove an ordered message; returns whether it was still there."""
        position = next((i for i, kept in enumerate(self._ordered) if kept.number == message.number), None)
        if position is None:
            return False
        del self._ordered[position]
        self._bytes -= message.size
        if position < self._taken:
            self._taken -= 1
        return True

    def _trim(self, now_s: float) -> list[Message]:
        """Drop the oldest messages until the bounds hold; the newest is always kept."""
        dropped = []
        while len(self._ordered) > 1 and (
            len(self._ordered) > self._capacity
            or self._bytes > self._capacity_bytes
            or now_s - self._ordered[0].added_s > self._max_age_s
        ):
            message = self._ordered.popleft()
            self._bytes -= message.size
            self._taken = max(0, self._taken - 1)
            self._dropped += 1
            dropped.append(message)
        return dropped
