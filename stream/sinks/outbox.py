"""What still has to reach the broker (pure; one event loop's).

Rolling state is kept once a topic: the newest replaces the one before, and all of it is owed again after a reconnect.
Ordered messages (turns, streams) are kept in order until they are acknowledged, at most `capacity` of them; beyond
that the oldest is dropped and counted. A message that was handed out but not acknowledged is handed out again after
`rewind`, so that the broker sees it at least once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One publication. `number` orders the ordered ones; rolling ones carry -1."""

    topic: str
    payload: str
    rolling: bool
    number: int = -1


@dataclass(frozen=True, slots=True)
class OutboxStatistics:
    """Counts since the start."""

    sent: int
    dropped: int
    conflated: int
    waiting: int


class Outbox:
    """Messages that wait for a broker."""

    def __init__(self, *, capacity: int) -> None:
        self._capacity = capacity
        self._ordered: deque[Message] = deque()
        self._handed_out = 0  # of the ordered ones, from the left
        self._due: OrderedDict[str, Message] = OrderedDict()
        self._retained: dict[str, Message] = {}
        self._numbers = self._sent = self._dropped = self._conflated = 0

    def put(self, topic: str, payload: str, *, rolling: bool) -> None:
        """Owe one more message."""
        if rolling:
            self._conflated += topic in self._due
            self._due.pop(topic, None)
            self._due[topic] = self._retained[topic] = Message(topic, payload, rolling=True)
            return
        if len(self._ordered) >= self._capacity:
            self._ordered.popleft()
            self._handed_out = max(0, self._handed_out - 1)
            self._dropped += 1
        self._ordered.append(Message(topic, payload, rolling=False, number=self._numbers))
        self._numbers += 1

    def take(self) -> Message | None:
        """The next message to publish: ordered ones first, then rolling ones; None when nothing is owed."""
        if self._handed_out < len(self._ordered):
            self._handed_out += 1
            return self._ordered[self._handed_out - 1]
        return self._due.popitem(last=False)[1] if self._due else None

    def acknowledge(self, message: Message) -> None:
        """The broker has it. What was dropped while in flight stays counted as dropped, and only as that."""
        if message.rolling:
            self._sent += 1
            return
        place = next((place for place, kept in enumerate(self._ordered) if kept.number == message.number), None)
        if place is not None:
            self._sent += 1
            del self._ordered[place]
            self._handed_out -= place < self._handed_out

    def rewind(self) -> None:
        """The connection was lost: what was not acknowledged is owed again, and so is all rolling state."""
        self._handed_out = 0
        self._due = OrderedDict(self._retained)

    @property
    def empty(self) -> bool:
        """Whether everything has been acknowledged."""
        return not self._ordered and not self._due

    def statistics(self) -> OutboxStatistics:
        """Counts so far."""
        return OutboxStatistics(
            sent=self._sent,
            dropped=self._dropped,
            conflated=self._conflated,
            waiting=len(self._ordered) + len(self._due),
        )
