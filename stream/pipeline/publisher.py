"""From what was found to what is told: envelopes, numbers, latencies, and a bounded queue before every sink.

Every stream's events are numbered without holes by one task of its own; the node's (`health`) by another. Before each
sink stands an `EventQueue`: lossless while all sources are files, conflating when any is live, so that a reader who
stalls holds back a file but never a microphone for longer than its queue.
"""

from __future__ import annotations

import time
from asyncio import TaskGroup
from collections import OrderedDict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from stream import events
from stream.clock import ArrivalLog, SampleClock, samples
from stream.events import Body, Event, ModelRef, Party, SinkHealth
from stream.queues import EventQueue, Policy, QueueClosed
from stream.sinks.base import BatchingSink, CountingSink, SinkCounters
from stream.types import ModelInfo, Sink, Task

MAX_QUEUED_EVENTS = 1_024
"""Events that may wait for one sink."""

MAX_REMEMBERED_STREAMS = 4_096
"""Ended streams whose numbers are remembered, so that one that comes back goes on counting."""
BATCH_EVENTS = 64
"""Events handed at once to a sink that likes it so."""

MAX_LATENCIES = 8_192
"""Latencies from which the percentiles are taken: the newest ones."""

TASKS_BEHIND: Mapping[str, tuple[Task, ...]] = {
    "emotion": (Task.EMOTION,),
    "speaker": (Task.SPEAKER, Task.IDENTITY, Task.OVERLAP),
    "speaker_resolved": (Task.SPEAKER,),
    "turn": (Task.SPEAKER, Task.EMOTION),
    "call": (Task.EMOTION,),
    "alert": (Task.EMOTION,),
}
"""The models an event rests on, by its type."""


@dataclass(slots=True)
class _Feed:
    """What numbers and dates one stream's events."""

    clock: SampleClock
    arrivals: ArrivalLog | None
    models: Mapping[str, tuple[ModelRef, ...]]
    call: str | None
    party: Party | None
    seq: int


@dataclass(frozen=True, slots=True)
class _SinkWorker:
    """A sink and the queue before it."""

    name: str
    sink: Sink
    queue: EventQueue[Event]


class Publisher:
    """Puts bodies into envelopes, and envelopes into the sinks' queues."""

    def __init__(self, *, sinks: Mapping[str, Sink], models: Sequence[ModelInfo], policy: Policy) -> None:
        self._policy: Policy = policy
        self._outlets = [
            _SinkWorker(name, sink, EventQueue(capacity=MAX_QUEUED_EVENTS, conflate=_rolling_key))
            for name, sink in sinks.items()
        ]
        self._models = tuple(models)
        self._feeds: dict[str, _Feed] = {}
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._latencies: deque[float] = deque(maxlen=MAX_LATENCIES)
        now = datetime.now(UTC)
        self._session = f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z"
        self.open(events.NODE)

    def open(
        self,
        source_id: str,
        arrivals: ArrivalLog | None = None,
        *,
        tasks: Collection[Task] = tuple(Task),
        call: str | None = None,
        party: Party | None = None,
    ) -> None:
        """A stream begins now; `arrivals` tells when its samples were captured, `tasks` which models hear it.

        The tracks of a call count time from when the call, itself opened first, began.
        """
        clock = self._feeds[call].clock if call in self._feeds else SampleClock.starting(time.time())
        models = {
            kind: tuple(
                ModelRef(name=model.name, revision=model.revision)
                for task in behind
                for model in self._models
                if model.task is task and task in tasks
            )
            for kind, behind in TASKS_BEHIND.items()
        }
        self._feeds[source_id] = _Feed(clock, arrivals, models, call, party, self._ended.pop(source_id, 0))

    def close_feed(self, source_id: str) -> None:
        """A stream has ended, and nothing more will be told of it."""
        self._ended[source_id] = self._feeds.pop(source_id).seq
        if len(self._ended) > MAX_REMEMBERED_STREAMS:
            self._ended.popitem(last=False)

    async def publish(self, source_id: str, body: Body, *, heard_sample: int = 0) -> None:
        """Number, date and queue one event that followed from sound up to `heard_sample`.

        Waits where a lossless queue is full.
        """
        feed = self._feeds[source_id]
        latency_ms = _latency_ms(feed, heard_sample)
        if body.type in ("emotion", "speaker"):
            self._latencies.append(latency_ms)
        event = events.stamp(
            body,
            id=f"{self._session}/{source_id}/{feed.seq}",
            session=self._session,
            seq=feed.seq,
            source=source_id,
            call=feed.call,
            party=feed.party,
            time=feed.clock.wall(samples(body.end_s)),
            models=feed.models.get(body.type, ()),
            latency_ms=round(latency_ms, 1),
        )
        feed.seq += 1
        for outlet in self._outlets:
            await outlet.queue.put(event, policy=self._policy)

    def drain(self, group: TaskGroup) -> None:
        """Start one task a sink: it opens, sends until closed and empty, and closes; `SinkError` goes to the group."""
        for outlet in self._outlets:
            group.create_task(_drain(outlet), name=f"sink {outlet.name}")

    def close(self) -> None:
        """No more events; sinks end when their queues have run dry."""
        for outlet in self._outlets:
            outlet.queue.close()

    def percentiles_ms(self) -> tuple[float | None, float | None]:
        """Median and 95th percentile of the latencies of rolling events."""
        ranked = sorted(self._latencies)
        return _percentile(ranked, 0.50), _percentile(ranked, 0.95)

    def statistics(self) -> tuple[SinkHealth, ...]:
        """Counts of every sink's queue."""
        return tuple(_health(outlet) for outlet in self._outlets)


async def _drain(outlet: _SinkWorker) -> None:
    async with outlet.sink as sink:
        batching = sink if isinstance(sink, BatchingSink) else None  # asked once: it takes longer than most sends
        try:
            while True:
                if batching is not None:
                    await batching.send_all(await outlet.queue.take_all(most=BATCH_EVENTS))
                else:
                    await sink.send(await outlet.queue.take())
        except QueueClosed:
            return


def _health(outlet: _SinkWorker) -> SinkHealth:
    queue = outlet.queue.statistics()
    account = outlet.sink.account() if isinstance(outlet.sink, CountingSink) else SinkCounters()
    return SinkHealth(
        sink=outlet.name,
        sent=queue.taken,
        dropped=queue.dropped + account.dropped,
        conflated=queue.conflated,
        waiting=queue.waiting,
        owed=account.owed,
        refused=account.refused,
        unsaved=account.unsaved,
    )


def _rolling_key(event: Event) -> tuple[str, str] | None:
    return (event.type, event.source) if events.is_rolling(event) else None


def _latency_ms(feed: _Feed, heard_sample: int) -> float:
    captured_s = feed.arrivals.captured_s(heard_sample) if feed.arrivals is not None else None
    return 0.0 if captured_s is None else max(0.0, (time.monotonic() - captured_s) * 1000)


def _percentile(ranked: Sequence[float], share: float) -> float | None:
    return round(ranked[min(len(ranked) - 1, int(share * len(ranked)))], 1) if ranked else None
