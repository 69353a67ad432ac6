"""The node's metrics for Prometheus (text exposition format).

Counts since the start and current states, the same as in `health` events. No label holds a person's name, a voice or an
emotion; streams have the names that the settings give them.
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
    """Return the page that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_NodeCollector(health, status))
    return generate_latest(registry)


class _NodeCollector:
    """A collector of prometheus_client for one scrape."""

    def __init__(self, health: HealthBody, status: NodeStatus) -> None:
        self._health, self._status = health, status

    def collect(self) -> Iterable[Metric]:
        """Yield all metrics."""
        health = self._health
        yield _gauge("info", "Version.", ["version"], [((__version__,), 1)])
        yield _gauge("up_seconds", "Seconds since the run began.", [], [((), self._status.up_s)])
        for name, meaning, value in (
            ("memory_bytes", "Resident memory.", None if health.memory_mb is None else health.memory_mb * 1e6),
            ("latency_p50_seconds", "Median latency of rolling events.", _seconds(health.latency_p50_ms)),
            (
                "latency_p95_seconds",
                "95th percentile of the latency of rolling events.",
                _seconds(health.latency_p95_ms),
            ),
            ("real_time_factor", "Processing time divided by audio duration.", health.real_time_factor),
        ):
            if value is not None:
                yield _gauge(name, meaning, [], [((), value)])
        yield _counter("audio_seconds", "Audio processed.", [], [((), health.audio_s)])
        yield _counter("speech_seconds", "Speech in the audio processed.", [], [((), health.speech_s)])
        states = [((row.stream, s), float(row.state == s)) for row in self._status.streams for s in STATES]
        yield _gauge("stream_state", "1 for the current state of a stream.", ["stream", "state"], states)
        for field, name, meaning in (
            ("submitted", "windows_cut", "Windows submitted to a model."),
            ("inferred", "windows_inferred", "Windows scored."),
            ("dropped", "windows_dropped", "Windows replaced by newer ones."),
            ("failed", "windows_failed", "Windows of batches that failed."),
            ("workers_replaced", "workers_replaced", "Workers replaced after a batch timed out."),
        ):
            counts = [((lane.model,), float(getattr(lane, field))) for lane in health.lanes]
            yield _counter(name, meaning, ["model"], counts)
        hops = [((lane.model,), lane.hop_ms / 1000) for lane in health.lanes if lane.hop_ms is not None]
        yield _gauge(
            "hop_seconds",
            "Achieved hop since the last health event; longer than configured when windows were dropped.",
            ["model"],
            hops,
        )
        for field, name, meaning in (
            ("sent", "sent", "Events passed to a sink."),
            ("dropped", "dropped", "Events dropped by a sink."),
            ("rejected", "refused", "Events rejected by the receiver."),
        ):
            counts = [((sink.sink,), float(getattr(sink, field))) for sink in health.sinks]
            yield _counter(f"events_{name}", meaning, ["sink"], counts)
        for field, name, meaning in (
            ("waiting", "waiting", "Events queued for a sink."),
            ("pending", "owed", "Events pending delivery."),
            ("not_persisted", "unsaved", "Pending events that are not on disk."),
        ):
            counts = [((sink.sink,), float(getattr(sink, field))) for sink in health.sinks]
            yield _gauge(f"events_{name}", meaning, ["sink"], counts)
        yield from _protocol_metrics(health.protocols)


def _protocol_metrics(protocols: Sequence[ProtocolHealth]) -> Iterator[Metric]:
    """Yield the metrics of the network listener."""
    open_rows = [((row.protocol,), float(row.open)) for row in protocols]
    yield _gauge("connections_open", "Open connections.", ["protocol"], open_rows)
    for field, name, meaning in (
        ("accepted", "connections_accepted", "Connections accepted."),
        ("messages", "received_messages", "Messages received."),
        ("bytes", "received_bytes", "Bytes received."),
        ("gaps", "received_gaps", "Gaps in the audio received."),
        ("lost_s", "received_lost_seconds", "Audio missing in gaps."),
    ):
        counts = [((row.protocol,), float(getattr(row, field))) for row in protocols]
        yield _counter(name, meaning, ["protocol"], counts)
    reasons = [((row.protocol, reason), float(n)) for row in protocols for reason, n in sorted(row.refused.items())]
    yield _counter(
        "connections_refused", "Connections rejected or closed by the node.", ["protocol", "reason"], reasons
    )


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
