"""Recordings through the pipeline that live sound takes, and the events they gave.

Models are loaded once; recordings go through in groups, side by side, so that windows of many share batches. A file
waits where a microphone would drop, so every window is scored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from stream.app import registry
from stream.app.assembly import answering_together, load_models
from stream.audio.channels import select
from stream.audio.resampling import Resampler
from stream.errors import SettingsError, SourceError
from stream.events import NODE, Event
from stream.pipeline.pipeline import Pipeline, Report
from stream.profiles.known_voices import enrol
from stream.settings import Settings, SourceSettings
from stream.sinks.base import ObserverSink
from stream.tracking.voice import Voice
from stream.types import Block, Model, ModelInfo, Samples, SpeechDetector, Task

SIDE_BY_SIDE = 48
"""Recordings that are heard at once."""


class _Collector(ObserverSink):
    """A sink that keeps every stream's events in order."""

    def __init__(self, progress: Callable[[], None]) -> None:
        self.events: dict[str, list[Event]] = {}
        self._progress = progress

    async def send(self, event: Event) -> None:
        if event.source == NODE:
            return
        self.events.setdefault(event.source, []).append(event)
        if event.type == "stream" and event.state == "ended":
            self._progress()


class EvaluationRunner:
    """Models that are loaded once, and what they make of recordings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._models, self._detector, self._prepare = load_models(settings)
        self._ensembles = answering_together(self._models)

    def model(self, task: Task) -> Model:
        """The loaded model for a task; raises `SettingsError` without one."""
        found = next((model for model in self._models if model.info.task is task), None)
        if found is None:
            raise SettingsError(f"this evaluation needs a model for {task}; set models.{task}.name")
        return found

    @property
    def detector(self) -> SpeechDetector:
        """The speech detector."""
        return self._detector

    def model_info(self, task: str) -> ModelInfo:
        """What the model for a task says of itself."""
        return self.model(Task(task)).info

    def enrolled(self, people: Mapping[str, str]) -> list[Voice]:
        """Voices of known people: name and file."""
        if not people:
            return []
        speakers = self.settings.speakers.model_copy(update={"enrolled": dict(people)})
        settings = self.settings.model_copy(update={"speakers": speakers})
        return asyncio.run(enrol(settings=settings, model=self.model(Task.SPEAKER), detector=self._detector))

    def hear(
        self,
        recordings: Sequence[Path],
        *,
        enrolled: Sequence[Voice] = (),
        progress: Callable[[], None] = lambda: None,
    ) -> tuple[list[list[Event]], list[Report]]:
        """The events of each recording, in order of the recordings. Raises `SourceError` for one that is no audio."""
        found: list[list[Event]] = []
        reports = []
        for first in range(0, len(recordings), SIDE_BY_SIDE):
            group = recordings[first : first + SIDE_BY_SIDE]
            events, report = asyncio.run(self._hear(group, enrolled, progress))
            found += events
            reports.append(report)
        return found, reports

    async def _hear(
        self, group: Iterable[Path], enrolled: Sequence[Voice], progress: Callable[[], None]
    ) -> tuple[list[list[Event]], Report]:
        ids = {f"r{number}": path for number, path in enumerate(group)}
        collector = _Collector(progress)
        pipeline = Pipeline(
            settings=self.settings,
            sources=[
                registry.source(SourceSettings(kind="file", id=key, target=str(path))) for key, path in ids.items()
            ],
            models=self._models,
            detector=self._detector,
            sinks={"evaluation": collector},
            ensembles=self._ensembles,
            enrolled=enrolled,
            prepare=self._prepare,
        )
        report = await pipeline.run()
        if report.failures:
            raise report.failures[0]
        return [collector.events.get(key, []) for key in ids], report


def samples_of(path: Path) -> Samples:
    """A recording as the models hear it: mono, 16 kHz; shape (n,). Raises `SourceError`."""
    return asyncio.run(_read(path))


async def _read(path: Path) -> Samples:
    source = registry.source(SourceSettings(kind="file", target=str(path)))
    parts: list[Samples] = []
    async with source.blocks() as blocks:
        resampler = Resampler(rate_hz=source.format.rate_hz)
        parts += [resampler.push(select(block.samples, "mix")[0]) async for block in blocks if isinstance(block, Block)]
        parts.append(resampler.flush())
    if not parts:
        raise SourceError(f"{path} holds no sound")
    return np.concatenate(parts)
