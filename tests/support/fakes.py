"""Small fakes of sources, models, detectors and sinks; each satisfies the protocol it replaces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

import numpy as np

from stream.events import Event
from stream.types import (
    FRAME_SAMPLES,
    AudioFormat,
    Block,
    Interruption,
    ModelInfo,
    Scores,
    SpeechRequest,
    SpeechResult,
    Task,
    Window,
    WindowSpec,
)


class FakeSource:
    """Yields given blocks."""

    def __init__(
        self,
        blocks: Sequence[Block | Interruption],
        *,
        source_id: str = "fake",
        channels: str = "mix",
        live: bool = False,
        paced: bool = False,
        audio_format: AudioFormat = AudioFormat(16_000, 1),  # noqa: B008 - frozen
    ) -> None:
        self.id, self.channels, self.live, self.paced, self.format = source_id, channels, live, paced, audio_format
        self._blocks = blocks
        self._stopped = False

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[Block | Interruption]]:
        yield self._generate_blocks()

    async def _generate_blocks(self) -> AsyncIterator[Block | Interruption]:
        for block in self._blocks:
            if self._stopped:
                return
            yield block

    def stop(self) -> None:
        self._stopped = True


class FakeDetector:
    """Speech is every frame whose mean level exceeds `floor`; without state."""

    def __init__(self, *, floor: float = 0.05) -> None:
        self._floor = floor

    def infer(self, batch: Sequence[SpeechRequest]) -> list[SpeechResult]:
        return [
            SpeechResult(
                (np.abs(request.samples.reshape(-1, FRAME_SAMPLES)).mean(axis=1) > self._floor).astype(np.float32), None
            )
            for request in batch
        ]


class FakeModel:
    """Scores computed from the samples alone: their mean level, as a probability or as an x-vector."""

    def __init__(self, *, task: Task = Task.EMOTION, spec: WindowSpec | None = None) -> None:
        labels = ("neutral", "angry") if task is not Task.SPEAKER else ()
        threshold = 0.5 if task is Task.SPEAKER else None
        self.info = ModelInfo(name=f"fake-{task}", revision="0", task=task, labels=labels, threshold=threshold)
        self.spec = spec or WindowSpec(32_000, 8_000, 8_000)
        self.batches: list[int] = []

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        self.batches.append(len(batch))
        return [self._score(window) for window in batch]

    def _score(self, window: Window) -> Scores:
        level = float(np.clip(np.abs(window.samples).mean(), 0.0, 1.0))
        values = np.array([1.0 - level, level], np.float32)
        if self.info.task is Task.SPEAKER:
            values /= np.linalg.norm(values)
        return Scores(
            model=self.info.name,
            source_id=window.source_id,
            index=window.index,
            start_sample=window.start_sample,
            end_sample=window.end_sample,
            values=values,
        )


class ListSink:
    """Collects the events it is sent."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = False
        self.first = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed = True

    async def send(self, event: Event) -> None:
        self.events.append(event)
        self.first.set()
