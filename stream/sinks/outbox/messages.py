"""Messages waiting for a receiver, usually a broker (pure; used by one event loop).

Rolling state is conflated: one message per topic, the newest. All of it is published again after a reconnect, as long
as it has not expired, counted from the time it was added. State that has ended is cleared by an empty payload and then
forgotten, so that memory does not grow with the number of past streams.

Ordered messages (turns, streams) stay in order until they are acknowledged, bounded by number, size and age; beyond a
bound the oldest is dropped and counted. A message that was taken but not acknowledged is taken again after
`requeue_unacknowledged`, so that delivery is at least once.

With `recorded`, state is published on a topic only once the caller has recorded that topic, so that a later process can
clear what this one leaves. Lasting state that has an expiry is renewed as long as the process lives.

Times are seconds of one monotonic clock of the caller.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
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
    renewed_s: float | None = None  # lasting state: its time to expiry, counted anew

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

    def __init__(
        self,
        *,
        capacity: int,
        capacity_bytes: float = float("inf"),
        max_age_s: float = float("inf"),
        recorded: bool = False,
    ) -> None:
        self._capacity, self._capacity_bytes, self._max_age_s = capacity, capacity_bytes, max_age_s
        self._ordered: deque[Message] = deque()
        self._bytes = 0
        self._taken = 0  # number of ordered messages in flight, counted from the left
        self._pending_state: OrderedDict[str, Message] = OrderedDict()
        self._retained: dict[str, Message] = {}
        self._published: set[str] = set()  # topics for which the broker may hold a retained message
        self._is_recorded = recorded
        self._recorded: set[str] = set()
        self._unrecorded: set[str] = set()
        self._next_number = self._sent = self._dropped = self._refused = self._conflated = self._expired = 0

    def restore(self, messages: list[Message]) -> list[Message]:
        """Add the messages of an earlier process, oldest first; returns those dropped beyond a bound."""
        for message in messages:
            self._ordered.append(message)
            self._bytes += message.size
            self._next_number = max(self._next_number, message.number + 1)
        return self._trim(max((message.added_s for message in messages), default=0.0))

    def restore_published(self, topics: Iterable[str]) -> None:
        """Add recorded topics of an earlier process, for which the broker may hold a retained message."""
        self._published.update(topics)
        self._recorded.update(topics)

    def unrecorded(self) -> set[str]:
        """Return the topics that have to be recorded before state is published on them."""
        return set(self._unrecorded)

    def mark_recorded(self, topics: Iterable[str]) -> None:
        """Permit state on these topics."""
        self._recorded.update(topics)
        self._unrecorded.difference_update(topics)

    def put(self, topic: str, payload: str, *, now_s: float = 0.0) -> tuple[Message, list[Message]]:
        """Add an ordered message; returns it and the messages dropped for it."""
        message = Message(topic, payload, rolling=False, number=self._next_number, added_s=now_s)
        self._next_number += 1
        self._ordered.append(message)
        self._bytes += message.size
        return message, self._trim(now_s)

    def put_state(
        self,
        topic: str,
        payload: str,
        *,
        now_s: float = 0.0,
        expires_after_s: float | None = None,
        lasting: bool = False,
    ) -> None:
        """Add rolling state in place of the topic's previous state; if `lasting`, its expiry is renewed."""
        if topic in self._pending_state:
            self._conflated += 1
            del self._pending_state[topic]
        expires_at_s = None if expires_after_s is None else now_s + expires_after_s
        renewed_s = expires_after_s if lasting else None
        message = Message(topic, payload, rolling=True, added_s=now_s, expires_at_s=expires_at_s, renewed_s=renewed_s)
        if self._is_recorded and topic not in self._recorded:
            self._unrecorded.add(topic)
        self._pending_state[topic] = self._retained[topic] = message

    def renew(self, *, now_s: float) -> bool:
        """Make lasting state pending again of which half the time to expiry is over; returns whether there is any."""
        due = [
            message
            for message in self._retained.values()
            if message.renewed_s is not None and now_s - message.added_s >= message.renewed_s / 2
        ]
        for message in due:
            self.put_state(message.topic, message.payload, now_s=now_s, expires_after_s=message.renewed_s, lasting=True)
        return bool(due)

    def clear(self, topic: str) -> None:
        """Remove a topic's rolling state here and, if it may have been published, at the broker."""
        if topic in self._published:
            self.put_state(topic, "")
        else:
            self._pending_state.pop(topic, None)
            self._retained.pop(topic, None)
            self._unrecorded.discard(topic)

    def take(self, *, now_s: float = 0.0) -> Message | None:
        """Return the next message to publish, ordered messages before rolling state; None if there is none."""
        if self._taken < len(self._ordered):
            self._taken += 1
            return self._ordered[self._taken - 1]
        while (topic := next((one for one in self._pending_state if one not in self._unrecorded), None)) is not None:
            message = self._pending_state.pop(topic)
            if message.expires_at_s is None or now_s < message.expires_at_s:
                self._published.add(topic)
                return message
            self._retained.pop(topic, None)
            self._expired += 1
        return None

    def acknowledge(self, message: Message) -> bool:
        """Count a message as sent; one that was dropped while in flight stays counted as dropped only.

        Returns whether it cleared its topic for good.
        """
        cleared = message.rolling and self._forget_cleared(message)
        if message.rolling or self._remove(message):
            self._sent += 1
        return cleared

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

    def _forget_cleared(self, message: Message) -> bool:
        """Forget the topic of an acknowledged clearing message, unless it has new state; returns whether it did."""
        if message.payload or self._retained.get(message.topic, message) is not message:
            return False
        self._retained.pop(message.topic, None)
        self._published.discard(message.topic)
        self._recorded.discard(message.topic)
        return True

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
