"""Four times more audio than the models can process, for half a minute, and then no more than they can.

    python -m scripts.faults.overload --seconds 30

Live audio paced by the clock; a model that takes four times too long under load, and no time otherwise. Latency must
stay bounded (the newest window wins: never older than the queue and the running batches), counts must add up exactly,
and within 2 s after the load latency must be what it was before.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from scripts.faults.report import print_result
from stream.events import EmotionEvent, Event
from stream.pipeline.pipeline import Pipeline
from stream.settings import Settings
from stream.types import AudioFormat, Block, Scores, Task, Window, WindowSpec
from tests.support.fakes import FakeDetector, FakeModel, ListSink

HOP_S = 0.1
OVERLOAD_FACTOR = 4
MAX_RECOVERY_S = 2.0


class Paced:
    """Noise at the pace of a microphone."""

    live, paced, channels = True, True, "mix"
    format = AudioFormat(16_000, 1)

    def __init__(self, name: str, seconds: float) -> None:
        self.id = name
        self._seconds = seconds
        self._noise = np.random.default_rng(1).uniform(-0.4, 0.4, (16_000, 1)).astype(np.float32)

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block]]:
        """Blocks of 32 ms."""
        yield self._generate_blocks()

    async def _generate_blocks(self) -> AsyncIterator[Block]:
        began_s, frames = time.monotonic(), 512
        for number in range(int(self._seconds * 16_000 / frames)):
            await asyncio.sleep(max(0.0, began_s + (number + 1) * 0.032 - time.monotonic()))
            place = number * frames % (16_000 - frames)
            yield Block(self.id, number * frames, self._noise[place : place + frames])

    def stop(self) -> None:
        """Do nothing: the source ends by itself."""


class Slow(FakeModel):
    """Takes `window_s` for each window while the load lasts."""

    def __init__(self, *, window_s: float, from_s: float, to_s: float) -> None:
        super().__init__(task=Task.EMOTION, spec=WindowSpec(16_000, round(HOP_S * 16_000), 8_000))
        self._window_s = window_s
        self._from_s, self._to_s = from_s, to_s

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        """Score a batch, slowly under load."""
        if self._from_s <= time.monotonic() < self._to_s:
            time.sleep(self._window_s * len(batch))
        return super().infer(batch)


class LatencySink(ListSink):
    """Records the time and the latency of each emotion."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, float]] = []

    async def send(self, event: Event) -> None:
        """Record it."""
        if isinstance(event, EmotionEvent) and event.probabilities:
            self.seen.append((time.monotonic(), event.latency_ms))


async def main(seconds: float) -> None:
    """Run without load, under load, and without load."""
    calm_s, streams = 6.0, 4
    settings = Settings.model_validate({"pool": {"queue_windows": 2, "max_batch": 4}, "gate": {"new_speech_ms": 32}})
    began_s = time.monotonic()
    load: Any = (began_s + calm_s, began_s + calm_s + seconds)
    window_s = OVERLOAD_FACTOR * HOP_S / streams  # so that windows come four times as fast as they are scored
    model, sink = Slow(window_s=window_s, from_s=load[0], to_s=load[1]), LatencySink()
    run = Pipeline(
        settings=settings,
        sources=[Paced(f"s{number}", 2 * calm_s + seconds) for number in range(streams)],
        models=[model],
        detector=FakeDetector(),
        sinks={"late": sink},
    )
    report = await run.run()
    (lane,) = report.health.lanes
    before = [late for at_s, late in sink.seen if began_s + 2 < at_s < load[0]]
    under = [late for at_s, late in sink.seen if load[0] + 2 < at_s < load[1]]
    usual_ms = statistics.quantiles(before, n=20)[-1]
    recovered_s = next(
        (at_s - load[1] for at_s, late in sink.seen if at_s > load[1] and late <= 2 * usual_ms + 20), 99.0
    )
    bound_ms = 1_000 * (
        window_s * streams * (2 + 1 + 1) + HOP_S * 2 + 0.5
    )  # queued, running, its own batch, and a start
    counted = lane.submitted == lane.inferred + lane.dropped + lane.failed + lane.waiting
    print_result(
        "overload",
        held=counted and max(under) <= bound_ms and recovered_s <= MAX_RECOVERY_S and lane.dropped > 0,
        times=OVERLOAD_FACTOR,
        latency_before_p95_ms=round(usual_ms, 1),
        latency_under_load_max_ms=round(max(under), 1),
        bound_ms=round(bound_ms),
        recovered_s=round(recovered_s, 2),
        submitted=lane.submitted,
        inferred=lane.inferred,
        dropped=lane.dropped,
        failed=lane.failed,
        waiting=lane.waiting,
        counts_add_up=counted,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    asyncio.run(main(parser.parse_args().seconds))
