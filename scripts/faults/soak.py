"""Hours of audio, as fast as they can be processed: memory and descriptors stay flat, and media time is exact.

    python -m scripts.faults.soak --hours 24 --minutes 240

Two sources play the bundled conversation over and over, through the nets of the preset `tiny`, into a real mosquitto
and a file. `--minutes` limits the run, which then reports what it has processed. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import soundfile

from scripts.faults.report import print_result
from stream.app import assembly, registry
from stream.demo.conversation import AUDIO
from stream.events import Event, StreamEvent
from stream.pipeline.pipeline import Pipeline
from stream.settings import load
from stream.types import SAMPLE_RATE_HZ, AudioFormat, Block, Samples
from tests.support.fakes import ListSink
from tests.support.mosquitto import Broker

MAX_SLOPE_MB_PER_H = 1.0
WARMUP_SHARE = 0.2
"""Share of the run in which caches fill; the slope is taken after it."""


class Looped:
    """Repeats the conversation for a given duration, or until a given time."""

    live, paced, channels = False, False, "mix"
    format = AudioFormat(SAMPLE_RATE_HZ, 1)

    def __init__(self, *, name: str, audio: Samples, total_s: float, deadline_s: float) -> None:
        self.id = name
        self._audio = audio
        self._frames = round(total_s) * SAMPLE_RATE_HZ
        self._deadline_s = deadline_s
        self.given = 0

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block]]:
        """Blocks of a second."""
        yield self._generate_blocks()

    async def _generate_blocks(self) -> AsyncIterator[Block]:
        while self.given < self._frames and time.monotonic() < self._deadline_s:
            place = self.given % (len(self._audio) - SAMPLE_RATE_HZ)
            block = Block(self.id, self.given, self._audio[place : place + SAMPLE_RATE_HZ])
            self.given += SAMPLE_RATE_HZ
            yield block
            await asyncio.sleep(0)

    def stop(self) -> None:
        """End at once."""
        self._deadline_s = 0.0


class EndingsSink(ListSink):
    """Counts events and gaps, and records where each stream ended."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.ends: dict[str, float] = {}
        self.lost = 0

    async def send(self, event: Event) -> None:
        """Count."""
        self.count += 1
        if isinstance(event, StreamEvent):
            self.lost += event.state == "gap"
            if event.state == "ended":
                self.ends[event.source] = event.end_s


async def _watch(sources: list[Looped], rows: list[tuple[float, float, int]]) -> None:
    process, audio_h = psutil.Process(), -1.0
    while True:
        now_h = sum(source.given for source in sources) / SAMPLE_RATE_HZ / 3600
        if now_h - audio_h >= 0.1:  # noqa: PLR2004 - a row per six minutes of audio
            audio_h = now_h
            rows.append((now_h, process.memory_info().rss / 1e6, process.num_fds()))
            sys.stderr.write("{:.2f} h of audio, {:.1f} MB, {} descriptors\n".format(*rows[-1]))
        await asyncio.sleep(1.0)


async def _soak(*, hours: float, minutes: float) -> None:
    audio, _ = soundfile.read(AUDIO, dtype="float32", always_2d=True)
    audio = np.ascontiguousarray(audio[:, :1])
    began_s = time.monotonic()
    deadline_s = began_s + 60 * minutes
    endings, rows = EndingsSink(), list[tuple[float, float, int]]()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        flags = {"node": "soak", "mqtt": {"outbox": f"{folder}/box"}}
        settings = load(preset="tiny", environment=os.environ, flags=flags)
        models, detector, thread_setup = assembly.load_models(settings)  # like `assemble`, for these sources
        sources = [Looped(name=name, audio=audio, total_s=hours * 1800, deadline_s=deadline_s) for name in ("a", "b")]
        target = f"mqtt://127.0.0.1:{broker.port}/soak"
        pipeline = Pipeline(
            settings=settings,
            sources=sources,
            models=models,
            detector=detector,
            sinks={
                "endings": endings,
                target: registry.sink(target, settings),
                "file": registry.sink("file:/dev/null", settings),
            },
            thread_setup=thread_setup,
        )
        watch = asyncio.create_task(_watch(sources, rows), name="watch")
        report = await pipeline.run()
        watch.cancel()
    warm = [row for row in rows if row[0] >= WARMUP_SHARE * rows[-1][0]]
    audio_hours, memory_mb, descriptors = (np.array(column, float) for column in zip(*warm, strict=True))
    slope = float(np.polyfit(audio_hours, memory_mb, 1)[0]) if len(warm) > 2 else float("nan")  # noqa: PLR2004
    drift_s = max(abs(endings.ends[source.id] - source.given / SAMPLE_RATE_HZ) for source in sources)
    print_result(
        "soak",
        held=slope < MAX_SLOPE_MB_PER_H and descriptors[-1] <= descriptors[0] and drift_s == 0 and not endings.lost,
        audio_h=round(rows[-1][0], 2),
        took_min=round((time.monotonic() - began_s) / 60, 1),
        events=endings.count,
        slope_mb_per_h=round(slope, 3),
        memory_mb=[round(warm[0][1], 1), round(warm[-1][1], 1)],
        descriptors=[int(descriptors[0]), int(descriptors[-1])],
        drift_s=drift_s,
        gaps=endings.lost,
        real_time_factor=report.health.real_time_factor,
        sinks=[sink.model_dump() for sink in report.health.sinks],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="duration of the audio, both sources together")
    parser.add_argument("--minutes", type=float, default=600.0, help="maximum duration of the run")
    arguments = parser.parse_args()
    asyncio.run(_soak(hours=arguments.hours, minutes=arguments.minutes))
