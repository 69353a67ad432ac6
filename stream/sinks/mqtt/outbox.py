"""What still has to reach the broker (pure; one event loop's).

Rolling state is kept once a topic: the newest replaces the one before, and all of it is owed again after a reconnect,
each as long as it is worth anything, counted from when it was told. State that is over is taken back (`clear`) by an
empty payload and then forgotten, or memory would grow with every stream that comes and goes. Ordered messages (turns,
streams) are kept in order until they are acknowledged, within bounds of number, size and age; beyond them the oldest is
dropped and counted. A message that was handed out but not acknowledged is handed out again after `rewind`, so that the
broker sees it at least once.

Times are seconds of one clock of the caller's, which never goes back.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """One publication. `number` orders the ordered ones; rolling ones carry -1 and `until_s` (None: for ever)."""

    topic: str
    payload: str
    rolling: bool
    number: int = -1
    told_s: float = 0.0
    until_s: float | None = None

    @property
    def size(self) -> int:
        """About what it takes, in bytes."""
        return len(self.topic) + len(self.payload)


@dataclass(frozen=True, slots=True)
class OutboxStatistics:
    """Counts since the start. `dropped`: ordered ones that were too many or too old; `refused`: by the broker."""

    sent: int
    dropped: int
    refused: int
    conflated: int
    expired: int
    waiting: int


class Outbox:
    """Messages that wait for a broker."""

    def __init__(self, *, capacity: int, capacity_bytes: float = float("inf"), age_s: float = float("inf")) -> None:
        self._capacity, self._capacity_bytes, self._age_s = capacity, capacity_bytes, age_s
        self._ordered: deque[Message] = deque()
        self._bytes = 0
        self._handed_out = 0  # of the ordered ones, from the left
        self._due: OrderedDict[str, Message] = OrderedDict()
        self._retained: dict[str, Message] = {}
        self._published: set[str] = set()  # topics of which the broker may hold something
        self._numbers = self._sent = self._dropped = self._refused = self._conflated = self._expired = 0

    def restore(self, messages: list[Message]) -> list[Message]:
        """Owe what an earlier process still owed, in the order given; returns what did not fit and was dropped."""
        for message in messages:
            self._ordered.append(message)
            self._bytes += message.size
            self._numbers = max(self._numbers, message.number + 1)
        return self._trim(max((message.told_s for message in messages), default=0.0))

    def put(self, topic: str, payload: str, *, now_s: float = 0.0) -> tuple[Message, list[Message]]:
        """Owe one more ordered message; returns it and those that were dropped for it."""
        message = Message(topic, payload, rolling=False, number=self._numbers, told_s=now_s)
        self._numbers += 1
        self._ordered.append(message)
        self._bytes += message.size
        return message, self._trim(now_s)

    def put_state(self, topic: str, payload: str, *, now_s: float = 0.0, lasts_s: float | None = None) -> None:
        """Owe rolling state, in place of the topic's former one; it is worth nothing after `lasts_s`."""
        self._conflated += topic in self._due
        self._due.pop(topic, None)
        until_s = None if lasts_s is None else now_s + lasts_s
        self._due[topic] = self._retained[topic] = Message(topic, payload, True, told_s=now_s, until_s=until_s)

    def clear(self, topic: str) -> None:
        """Take rolling state back: from the broker, if it may have some, and from here."""
        if topic in self._published:
            self.put_state(topic, "")
        else:
            self._due.pop(topic, None)
            self._retained.pop(topic, None)

    def take(self, *, now_s: float = 0.0) -> Message | None:
        """The next message to publish: ordered ones first, then rolling ones; None when nothing is owed."""
        if self._handed_out < len(self._ordered):
            self._handed_out += 1
            return self._ordered[self._handed_out - 1]
        while self._due:
            topic, message = self._due.popitem(last=False)
            if message.until_s is None or now_s < message.until_s:
                self._published.add(topic)
                return message
            self._retained.pop(topic, None)
            self._expired += 1
        return None

    def acknowledge(self, message: Message) -> None:
        """The broker has it. What was dropped while in flight stays counted as dropped, and only as that."""
        if message.rolling:
            self._forget_cleared(message)
        if message.rolling or self._remove(message):
            self._sent += 1

    def refuse(self, message: Message) -> None:
        """The broker will never take it: it is not tried again, and counted."""
        if message.rolling:
            self._retained.pop(message.topic, None)
            self._forget_cleared(message)
            self._refused += 1
        elif self._remove(message):
            self._refused += 1

    def rewind(self) -> None:
        """The connection was lost: what was not acknowledged is owed again, and so is all rolling state."""
        self._handed_out = 0
        self.remind()

    def remind(self) -> None:
        """Owe all rolling state again."""
        self._due = OrderedDict(self._retained)

    def expire(self, *, now_s: float) -> list[Message]:
        """Drop ordered messages that are too old; returns them."""
        return self._trim(now_s)

    @property
    def empty(self) -> bool:
        """Whether everything has been acknowledged."""
        return not self._ordered and not self._due

    def statistics(self) -> OutboxStatistics:
        """Counts so far."""
        return OutboxStatistics(
            sent=self._sent,
            dropped=self._dropped,
            refused=self._refused,
            conflated=self._conflated,
            expired=self._expired,
            waiting=len(self._ordered) + len(self._due),
        )

    def _forget_cleared(self, message: Message) -> None:
        """A topic whose state was taken back is done with, unless it has state again."""
        if not message.payload and self._retained.get(message.topic, message) is message:
            self._retained.pop(message.topic, None)
            self._published.discard(message.topic)

    def _remove(self, message: Message) -> bool:
        place = next((place for place, kept in enumerate(self._ordered) if kept.number == message.number), None)
        if place is None:
            return False
        del self._ordered[place]
        self._bytes -= message.size
        self._handed_out -= place < self._handed_out
        return True

    def _trim(self, now_s: float) -> list[Message]:
        """Let the oldest go until the bounds hold; the newest is always kept, or nothing would ever be told."""
        gone = []
        while len(self._ordered) > 1 and (
            len(self._ordered) > self._capacity
            or self._bytes > self._capacity_bytes
            or now_s - self._ordered[0].told_s > self._age_s
        ):
            message = self._ordered.popleft()
            self._bytes -= message.size
            self._handed_out = max(0, self._handed_out - 1)
            self._dropped += 1
            gone.append(message)
        return gone
