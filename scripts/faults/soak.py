"""Hours of sound as fast as they can be heard: memory and descriptors stay flat, and no time is lost.

    python -m scripts.faults.soak --hours 24 --minutes 240

Two sources play the bundled conversation over and over, through the compact pair, into a real mosquitto and a file.
With `--minutes` it stops after so long and reports as far as it came. A row an hour of sound goes to standard error.
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

from scripts.faults.report import say
from stream.app import assembly, registry
from stream.demo.conversation import AUDIO
from stream.events import Event, StreamEvent
from stream.pipeline.pipeline import Pipeline
from stream.settings import load
from stream.types import SAMPLE_RATE_HZ, AudioFormat, Block, Samples
from tests.support.fakes import ListSink
from tests.support.mosquitto import Broker

SLOPE_MB_PER_H = 1.0
WARM_SHARE = 0.2
"""Caches fill first; the slope is taken behind this share of the run."""


class Looped:
    """The conversation, again and again, until there is enough of it or the time is up."""

    live, paced, channels = False, False, "mix"
    format = AudioFormat(SAMPLE_RATE_HZ, 1)

    def __init__(self, *, name: str, sound: Samples, total_s: float, until_s: float) -> None:
        self.id = name
        self._sound = sound
        self._frames = round(total_s) * SAMPLE_RATE_HZ
        self._until_s = until_s
        self.given = 0

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block]]:
        """Blocks of a second."""
        yield self._generate_blocks()

    async def _generate_blocks(self) -> AsyncIterator[Block]:
        while self.given < self._frames and time.monotonic() < self._until_s:
            place = self.given % (len(self._sound) - SAMPLE_RATE_HZ)
            block = Block(self.id, self.given, self._sound[place : place + SAMPLE_RATE_HZ])
            self.given += SAMPLE_RATE_HZ
            yield block
            await asyncio.sleep(0)

    def stop(self) -> None:
        """End now."""
        self._until_s = 0.0


class Watching(ListSink):
    """Keeps what the end is judged by: the last word of each stream, and how many events there were."""

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
    process, heard_h = psutil.Process(), -1.0
    while True:
        now_h = sum(source.given for source in sources) / SAMPLE_RATE_HZ / 3600
        if now_h - heard_h >= 0.1:  # noqa: PLR2004 - a row each six minutes of sound
            heard_h = now_h
            rows.append((now_h, process.memory_info().rss / 1e6, process.num_fds()))
            sys.stderr.write("{:.2f} h heard, {:.1f} MB, {} descriptors\n".format(*rows[-1]))
        await asyncio.sleep(1.0)


async def _soak(*, hours: float, minutes: float) -> None:
    sound, _ = soundfile.read(AUDIO, dtype="float32", always_2d=True)
    sound = np.ascontiguousarray(sound[:, :1])
    began_s = time.monotonic()
    until_s = began_s + 60 * minutes
    watching, rows = Watching(), list[tuple[float, float, int]]()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        settings = load(environment=os.environ, flags={"node": "soak", "mqtt": {"outbox": f"{folder}/box"}})
        models, detector, thread_setup = assembly.load_models(settings)  # as `assemble` does, for sources of our own
        sources = [Looped(name=name, sound=sound, total_s=hours * 1800, until_s=until_s) for name in ("a", "b")]
        target = f"mqtt://127.0.0.1:{broker.port}/soak"
        pipeline = Pipeline(
            settings=settings,
            sources=sources,
            models=models,
            detector=detector,
            sinks={
                "watching": watching,
                target: registry.sink(target, settings),
                "file": registry.sink("file:/dev/null", settings),
            },
            thread_setup=thread_setup,
        )
        watch = asyncio.create_task(_watch(sources, rows), name="watch")
        report = await pipeline.run()
        watch.cancel()
    warm = [row for row in rows if row[0] >= WARM_SHARE * rows[-1][0]]
    hours_heard, memory_mb, descriptors = (np.array(column, float) for column in zip(*warm, strict=True))
    slope = float(np.polyfit(hours_heard, memory_mb, 1)[0]) if len(warm) > 2 else float("nan")  # noqa: PLR2004
    drift_s = max(abs(watching.ends[source.id] - source.given / SAMPLE_RATE_HZ) for source in sources)
    say(
        "soak",
        held=slope < SLOPE_MB_PER_H and descriptors[-1] <= descriptors[0] and drift_s == 0 and not watching.lost,
        heard_h=round(rows[-1][0], 2),
        took_min=round((time.monotonic() - began_s) / 60, 1),
        events=watching.count,
        slope_mb_per_h=round(slope, 3),
        memory_mb=[round(warm[0][1], 1), round(warm[-1][1], 1)],
        descriptors=[int(descriptors[0]), int(descriptors[-1])],
        drift_s=drift_s,
        gaps=watching.lost,
        real_time_factor=report.health.real_time_factor,
        sinks=[sink.model_dump() for sink in report.health.sinks],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="sound to hear, both sources together")
    parser.add_argument("--minutes", type=float, default=600.0, help="longest time to take")
    asked = parser.parse_args()
    asyncio.run(_soak(hours=asked.hours, minutes=asked.minutes))
