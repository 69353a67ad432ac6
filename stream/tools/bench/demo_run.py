"""Benchmark of the whole pipeline on the bundled demo.

Every run builds a new pipeline (models are loaded again, one sink only counts). Medians of several runs are reported,
because machines are noisy. Paced runs (`realtime`) give the latency of a microphone; unpaced runs the real-time factor.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median

from stream.app.assembly import assemble
from stream.demo.conversation import AUDIO
from stream.events import Event
from stream.pipeline.pipeline import Report
from stream.settings import Settings, SourceSettings
from stream.sinks.base import ObserverSink


class _Counter(ObserverSink):
    """Counts events and stores the time of the first speaker or emotion event."""

    def __init__(self) -> None:
        self.events = 0
        self.first_s: float | None = None

    async def send(self, event: Event) -> None:
        self.events += 1
        if self.first_s is None and event.type in ("speaker", "emotion"):
            self.first_s = time.perf_counter()


def measure(settings: Settings, *, runs: int, realtime: bool) -> dict[str, float | None]:
    """Run the demo `runs` times and return the median of each figure."""
    source = SourceSettings(kind="file", target=str(AUDIO), id="demo", realtime=realtime)
    settings = settings.model_copy(update={"sources": (source,), "sinks": ()})
    taken: dict[str, list[float]] = {}
    for _ in range(runs):
        counter = _Counter()
        began_s = time.perf_counter()
        report = asyncio.run(_once(settings, counter))
        ended_s = time.perf_counter()
        health = report.health
        for name, value in {
            "first_event_s": (counter.first_s or ended_s) - began_s,
            "whole_run_s": ended_s - began_s,
            "audio_s": health.audio_s,
            "real_time_factor": health.real_time_factor,
            "latency_p50_ms": health.latency_p50_ms,
            "latency_p95_ms": health.latency_p95_ms,
            "windows_cut": sum(lane.submitted for lane in health.lanes),
            "windows_dropped": sum(lane.dropped for lane in health.lanes),
            "windows_gated": health.windows_gated,
            "events": counter.events,
            "memory_mb": health.memory_mb,
        }.items():
            if value is not None:
                taken.setdefault(name, []).append(float(value))
    return {name: round(median(values), 4) for name, values in taken.items()}


async def _once(settings: Settings, counter: _Counter) -> Report:
    pipeline = await assemble(settings, sinks={"counter": counter})
    return await pipeline.run()
