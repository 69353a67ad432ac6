"""The task that empties the outbox of a webhook: in order within each stream, repeated until it is answered.

Events of several streams are sent at once, those of one stream one by one. An event that the receiver refuses is set
aside, and so is one over which it stumbles again and again while others are accepted: it would otherwise get no others.
Whatever else fails is repeated, with growing pauses, from the outbox on disk.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from stream.events import SetAside
from stream.sinks.outbox.journal import Journal
from stream.sinks.outbox.messages import Message, Outbox
from stream.sinks.outbox.set_aside import SetAsideCounts
from stream.sinks.pauses import pause
from stream.sinks.webhook.answers import Answer

MIN_PAUSE_S = 1.0
"""Pause after the first failure; it doubles with each further one."""

SUSPECT_ATTEMPTS = 8
"""Times that a receiver may stumble over an event; after them it is set aside if another one is accepted beside it."""

MAX_IN_FLIGHT = 8
"""Requests at the same time, each of another stream."""

MAX_REASONS = 32
"""Reasons for setting events aside that are logged, each once."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CloseLimits:
    """How long a close may wait for the receiver, in seconds."""

    flush_s: float = 5.0
    after_error_s: float = 0.5


class WebhookDelivery:
    """Sends what the outbox has; `post` makes one attempt and raises nothing.

    Args:
        name: The receiver in messages.
        post: Sends one message.
        outbox: What waits.
        journal: The outbox on disk.
        retry_max_s: Longest pause between two attempts.
        clock: Monotonic time in seconds.
        sleep: Waits for a number of seconds.
        on_expired: Called with events that became too old.
    """

    def __init__(
        self,
        *,
        name: str,
        post: Callable[[Message], Awaitable[Answer]],
        outbox: Outbox,
        journal: Journal,
        retry_max_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_expired: Callable[[list[Message]], None] = lambda expired: None,  # noqa: ARG005
    ) -> None:
        self._name, self._post = name, post
        self._outbox, self._journal = outbox, journal
        self._retry_max_s = retry_max_s
        self._clock, self._sleep = clock, sleep
        self._on_expired = on_expired
        self._wake, self._closing = asyncio.Event(), asyncio.Event()
        self._pause_s = MIN_PAUSE_S
        self._failing_since_s: float | None = None
        self._failures: Counter[int] = Counter()  # how often the receiver stumbled over a message, by number
        self._reasons: set[str] = set()
        self._set_aside = SetAsideCounts()
        self._task: asyncio.Task[None] | None = None

    def set_aside(self) -> tuple[SetAside, ...]:
        """Return what the receiver refused, by reason, the newest first."""
        return self._set_aside.newest_first()

    def start(self) -> None:
        """Start sending in the background."""
        self._task = asyncio.create_task(self._run(), name=f"webhook {self._name}")

    def wake(self) -> None:
        """Signal that the outbox has messages. Raises the error that ended the delivery, if one did."""
        if self._task is not None and self._task.done():
            self._task.result()
        self._wake.set()

    async def close(self, *, timeout_s: float) -> None:
        """Send what waits, each event once more at most, and stop."""
        self._closing.set()
        self._wake.set()
        if self._task is None:
            return
        try:
            await asyncio.wait([self._task], timeout=timeout_s)
        finally:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            expired = self._outbox.expire(now_s=self._clock())
            self._on_expired(expired)
            await self._journal.write(obsolete=expired)
            batch = self._take_batch()
            if not batch:
                if self._closing.is_set():
                    return
                await self._wake.wait()
                continue
            failure = await self._deliver(batch)
            self._outbox.requeue_unacknowledged()
            if failure is None:
                continue
            if self._closing.is_set():
                return
            await self._pause(failure)

    def _take_batch(self) -> list[Message]:
        """Take messages that may be sent at once: one of each stream, and only the first while the receiver fails.

        A suspect is joined by the next message, whatever its stream: the receiver may stumble over the suspect only.
        """
        batch: list[Message] = []
        streams: set[str] = set()
        limit = 1 if self._failing_since_s is not None else MAX_IN_FLIGHT
        while len(batch) < limit and (message := self._outbox.take(now_s=self._clock())) is not None:
            stream = message.topic.rpartition("/")[0]
            if stream in streams:
                break
            batch.append(message)
            streams.add(stream)
            if self._failures[message.number] >= SUSPECT_ATTEMPTS - 1:
                following = self._outbox.take(now_s=self._clock())
                return [*batch, following] if following is not None else batch
        return batch

    async def _deliver(self, batch: Sequence[Message]) -> Answer | None:
        """Send messages at once, and settle those that are answered; return the failure with the longest pause."""
        answers = await asyncio.gather(*map(self._post, batch))
        is_answering = any(answer.verdict != "failed" for answer in answers)
        failures: list[Answer] = []
        for message, answer in zip(batch, answers, strict=True):
            if answer.verdict == "failed":
                self._failures[message.number] += answer.stumbled
                attempts = self._failures[message.number]
                if not is_answering or attempts < SUSPECT_ATTEMPTS:
                    failures.append(answer)
                    continue
                reason = f"{answer.reason} in {attempts} attempts, while others were answered"
                await self._settle(message, Answer("refused", reason))
            else:
                await self._settle(message, answer)
        if not failures:
            self._report_recovery()
        return max(failures, key=lambda answer: answer.retry_after_s, default=None)

    async def _settle(self, message: Message, answer: Answer) -> None:
        """Remove an answered message from the outbox."""
        if answer.verdict == "accepted":
            self._outbox.acknowledge(message)
        else:
            self._outbox.refuse(message)
            self._set_aside.add(kind=answer.reason, topic=message.topic, reason=answer.reason)
            self._journal.mark_refused(message, answer.reason)
            self._report_refusal(answer.reason)
        del self._failures[message.number]
        self._journal.mark_acknowledged(message)
        await self._journal.write()

    async def _pause(self, answer: Answer) -> None:
        """Wait before the next attempt, not longer than until a close."""
        if self._failing_since_s is None:
            self._failing_since_s = self._clock()
            log.warning("%s: event not delivered (%s); retrying", self._name, answer.reason)
        jittered_s = self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter keeps many nodes apart
        self._pause_s = min(2 * self._pause_s, self._retry_max_s)
        await pause(max(jittered_s, answer.retry_after_s), sleep=self._sleep, until=self._closing)

    def _report_refusal(self, reason: str) -> None:
        if reason not in self._reasons and len(self._reasons) < MAX_REASONS:
            self._reasons.add(reason)
            log.warning("%s: event set aside (%s); check the address, the token and the receiver", self._name, reason)

    def _report_recovery(self) -> None:
        self._pause_s = MIN_PAUSE_S
        if self._failing_since_s is not None:
            lasted_s, self._failing_since_s = self._clock() - self._failing_since_s, None
            waiting = self._outbox.statistics().waiting
            log.warning("%s: answers again after %.0f s; %d events waiting", self._name, lasted_s, waiting)
