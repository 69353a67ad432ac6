"""Publishing: bodies become numbered, dated events, and a bounded queue in front of every sink takes them.

The events of a stream are numbered without gaps by one task, those of the node (`health`) by another. Every sink has an
`EventQueue`: lossless while all sources are files, conflating when any source is live. A slow sink therefore holds back
a file, and a microphone only until its queue is full.
"""

from __future__ import annotations

import time
from asyncio import TaskGroup
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from stream import events
from stream.clock import samples, seconds
from stream.events import Body, Event, SinkHealth
from stream.pipeline.live_stream import EventStream, LiveCall
from stream.queues import EventQueue, Policy, QueueClosed
from stream.sinks.base import BatchingSink, CountingSink, SinkCounters
from stream.types import Sink

MAX_QUEUED_EVENTS = 1_024
"""Events that may wait for one sink."""

MAX_BATCH_EVENTS = 64
"""Events passed at once to a sink that takes batches."""

MAX_LATENCIES = 8_192
"""Number of the newest latencies from which the percentiles are computed."""


@dataclass(frozen=True, slots=True)
class _SinkWorker:
    """A sink and its queue."""

    name: str
    sink: Sink
    queue: EventQueue[Event]


class Publisher:
    """Wraps bodies into events and puts the events into the sinks' queues."""

    def __init__(self, *, sinks: Mapping[str, Sink], policy: Policy) -> None:
        self._policy: Policy = policy
        self._workers = [
            _SinkWorker(name, sink, EventQueue(capacity=MAX_QUEUED_EVENTS, conflate=conflation_key))
            for name, sink in sinks.items()
        ]
        self._latencies_ms: deque[float] = deque(maxlen=MAX_LATENCIES)
        now = datetime.now(UTC)
        self._session = f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}Z"

    async def publish(self, stream: EventStream, body: Body, *, end_sample: int = 0) -> None:
        """Number, date and queue one event that follows from the stream's audio before `end_sample`.

        So are the alerts that rules raise or end with it. Waits while a lossless queue is full.
        """
        for one in (body,) if stream.rules is None else stream.rules.observe(body):
            await self._put(stream, one, end_sample)

    async def publish_due(self, stream: EventStream, end_sample: int) -> None:
        """Publish the alerts that rules raise or end by `end_sample`, where no new event does it."""
        for alert in () if stream.rules is None else stream.rules.advance(seconds(end_sample)):
            await self._put(stream, alert, end_sample)

    async def _put(self, stream: EventStream, body: Body, end_sample: int) -> None:
        latency_ms = _latency_ms(stream, end_sample)
        if body.type in ("emotion", "speaker"):
            self._latencies_ms.append(latency_ms)
        event = events.stamp(
            body,
            id=f"{self._session}/{stream.name}/{stream.next_seq}",
            session=self._session,
            seq=stream.next_seq,
            source=stream.name,
            call=stream.call.name if stream.call is not None else None,
            party=stream.party,
            time=stream.clock.wall(samples(body.end_s)),
            models=stream.models.get(body.type, ()),
            latency_ms=round(latency_ms, 1),
        )
        stream.next_seq += 1
        for worker in self._workers:
            await worker.queue.put(event, policy=self._policy)

    async def publish_call(self, call: LiveCall, bodies: Iterable[Body]) -> None:
        """Publish what a call's tracker returned, in order; nothing for a call of which no track was opened.

        The caller holds the call's lock.
        """
        if call.events is None:
            return
        for body in bodies:
            await self.publish(call.events, body, end_sample=samples(body.end_s))

    def start_sinks(self, group: TaskGroup) -> None:
        """Start one task per sink, which opens it, sends until `close`, and closes it; `SinkError` goes to `group`."""
        for worker in self._workers:
            group.create_task(_run_sink(worker), name=f"sink {worker.name}")

    def close(self) -> None:
        """Accept no more events; each sink ends when its queue is empty."""
        for worker in self._workers:
            worker.queue.close()

    def latency_percentiles_ms(self) -> tuple[float | None, float | None]:
        """Return the median and the 95th percentile of the latency of rolling events."""
        ranked = sorted(self._latencies_ms)
        return _percentile(ranked, 0.50), _percentile(ranked, 0.95)

    def statistics(self) -> tuple[SinkHealth, ...]:
        """Return the counts of every sink and its queue."""
        return tuple(_health(worker) for worker in self._workers)

    def broker_states(self) -> tuple[str | None, ...]:
        """Return the state of the connection to its broker of every sink that has one."""
        sinks = (worker.sink for worker in self._workers)
        brokers = (sink.counters().broker for sink in sinks if isinstance(sink, CountingSink))
        return tuple(None if broker is None else broker.state for broker in brokers)


async def _run_sink(worker: _SinkWorker) -> None:
    async with worker.sink as sink:
        batching = sink if isinstance(sink, BatchingSink) else None  # a protocol check takes longer than most sends
        try:
            while True:
                if batching is not None:
                    await batching.send_all(await worker.queue.take_all(max_items=MAX_BATCH_EVENTS))
                else:
                    await sink.send(await worker.queue.take())
        except QueueClosed:
            return


def _health(worker: _SinkWorker) -> SinkHealth:
    queue = worker.queue.statistics()
    counters = worker.sink.counters() if isinstance(worker.sink, CountingSink) else SinkCounters()
    return SinkHealth(
        sink=worker.name,
        sent=queue.taken,
        dropped=queue.dropped + counters.dropped,
        conflated=queue.conflated,
        waiting=queue.waiting,
        pending=counters.pending,
        rejected=counters.refused,
        not_persisted=counters.not_persisted,
        broker=counters.broker,
        set_aside=counters.set_aside,
    )


def conflation_key(event: Event) -> tuple[str, str] | None:
    """Return the key by which a newer event replaces an older one in a full queue, None to keep both."""
    return (event.type, event.source) if events.is_rolling(event) else None


def _latency_ms(stream: EventStream, end_sample: int) -> float:
    captured_s = stream.arrivals.captured_s(end_sample) if stream.arrivals is not None else None
    return 0.0 if captured_s is None else max(0.0, (time.monotonic() - captured_s) * 1000)


def _percentile(ranked: Sequence[float], share: float) -> float | None:
    return round(ranked[min(len(ranked) - 1, int(share * len(ranked)))], 1) if ranked else None
