"""The node's figures for Prometheus (text exposition format).

Counts since the start and states of this moment, the same as in `health` events. No label holds a name, a voice or an
emotion: streams are called as the settings call them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from stream import __version__
from stream.control.commands import NodeStatus
from stream.events import HealthBody, ProtocolHealth

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
STATES = ("listening", "paused", "stalled", "ended")


def exposition(health: HealthBody, status: NodeStatus) -> bytes:
    """A page for Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Found(health, status))
    return generate_latest(registry)


class _Found:
    """What prometheus_client calls a collector."""

    def __init__(self, health: HealthBody, status: NodeStatus) -> None:
        self._health, self._status = health, status

    def collect(self) -> Iterable[Metric]:
        """Every figure there is."""
        health = self._health
        yield _gauge("info", "Version.", ["version"], [((__version__,), 1)])
        yield _gauge("up_seconds", "Seconds since the run began.", [], [((), self._status.up_s)])
        for name, meaning, value in (
            ("memory_bytes", "Resident memory.", None if health.memory_mb is None else health.memory_mb * 1e6),
            ("latency_p50_seconds", "Median latency of rolling events.", _seconds(health.latency_p50_ms)),
            ("latency_p95_seconds", "Their 95th percentile.", _seconds(health.latency_p95_ms)),
            ("real_time_factor", "Processing time over sound.", health.real_time_factor),
        ):
            if value is not None:
                yield _gauge(name, meaning, [], [((), value)])
        yield _counter("audio_seconds", "Sound heard.", [], [((), health.audio_s)])
        yield _counter("speech_seconds", "Speech in it.", [], [((), health.speech_s)])
        states = [((row.stream, s), float(row.state == s)) for row in self._status.streams for s in STATES]
        yield _gauge("stream_state", "1 for the state a stream is in.", ["stream", "state"], states)
        for field, meaning in (
            ("cut", "Windows put into a model's lane."),
            ("inferred", "Windows scored."),
            ("dropped", "Windows a fresher one took the place of."),
            ("failed", "Windows of batches that failed."),
            ("replaced", "Workers replaced because a batch took too long."),
        ):
            counts = [((lane.model,), float(getattr(lane, field))) for lane in health.lanes]
            yield _counter(
                f"windows_{field}" if field != "replaced" else "workers_replaced", meaning, ["model"], counts
            )
        hops = [((lane.model,), lane.hop_ms / 1000) for lane in health.lanes if lane.hop_ms is not None]
        yield _gauge(
            "hop_seconds", "The hop achieved of late: longer than set where windows were lost.", ["model"], hops
        )
        for field, meaning in (
            ("sent", "Events handed to a sink."),
            ("dropped", "Events a sink lost."),
            ("refused", "Events the other end did not want."),
        ):
            counts = [((sink.sink,), float(getattr(sink, field))) for sink in health.sinks]
            yield _counter(f"events_{field}", meaning, ["sink"], counts)
        for field, meaning in (
            ("waiting", "Events queued for a sink."),
            ("owed", "Events not delivered yet."),
            ("unsaved", "Events owed that are not on disk."),
        ):
            counts = [((sink.sink,), float(getattr(sink, field))) for sink in health.sinks]
            yield _gauge(f"events_{field}", meaning, ["sink"], counts)
        yield from _listener(health.protocols)


def _listener(protocols: Sequence[ProtocolHealth]) -> Iterator[Metric]:
    """What came over the network."""
    opened = [((row.protocol,), float(row.open)) for row in protocols]
    yield _gauge("connections_open", "Connections open now.", ["protocol"], opened)
    for field, name, meaning in (
        ("accepted", "connections_accepted", "Connections since the start."),
        ("messages", "received_messages", "Messages received."),
        ("bytes", "received_bytes", "Bytes in them."),
        ("gaps", "received_gaps", "Times at which sound was missing."),
        ("lost_s", "received_lost_seconds", "Sound that was missing."),
    ):
        counts = [((row.protocol,), float(getattr(row, field))) for row in protocols]
        yield _counter(name, meaning, ["protocol"], counts)
    reasons = [((row.protocol, why), float(often)) for row in protocols for why, often in sorted(row.refused.items())]
    yield _counter("connections_refused", "Connections not let in, or ended by us.", ["protocol", "reason"], reasons)


_Rows = Iterable[tuple[tuple[str, ...], float]]


def _gauge(name: str, meaning: str, labels: list[str], rows: _Rows) -> Metric:
    family = GaugeMetricFamily(f"tonewatch_{name}", meaning, labels=labels)
    for values, figure in rows:
        family.add_metric(list(values), figure)
    return family


def _counter(name: str, meaning: str, labels: list[str], rows: _Rows) -> Metric:
    family = CounterMetricFamily(f"tonewatch_{name}", meaning, labels=labels)
    for values, figure in rows:
        family.add_metric(list(values), figure)
    return family


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
