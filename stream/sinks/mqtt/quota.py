"""Messages that exceeded a quota of the broker, and when to publish them again (pure)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stream.sinks.outbox.messages import Message


class QuotaRetries:
    """Ordered messages that are published again after each of `pauses_s`, and then no more.

    Rolling state is not: a newer one follows.
    """

    def __init__(self, *, pauses_s: Sequence[float], clock: Callable[[], float]) -> None:
        self._pauses_s = pauses_s
        self._clock = clock
        self._times: dict[int, int] = {}  # how often, by the message's number
        self._waiting: list[tuple[float, Message]] = []

    def __len__(self) -> int:
        """Return the number of messages that wait."""
        return len(self._waiting)

    def accept(self, message: Message) -> bool:
        """Keep a message that the broker refused for a quota; False if it was tried often enough."""
        times = self._times.pop(message.number, 0)
        if message.rolling or times >= len(self._pauses_s):
            return False
        self._times[message.number] = times + 1
        self._waiting.append((self._clock() + self._pauses_s[times], message))
        return True

    def due(self) -> list[Message]:
        """Return the messages whose pause is over."""
        now_s = self._clock()
        due = [message for due_s, message in self._waiting if due_s <= now_s]
        self._waiting = [entry for entry in self._waiting if entry[0] > now_s]
        return due

    def answered(self, message: Message) -> None:
        """Forget a message that the broker took or refused for another reason."""
        self._times.pop(message.number, None)

    def restart(self) -> None:
        """Forget who waits, for a new connection on which all messages are published again."""
        self._waiting.clear()
