"""Recordings processed by the same pipeline as live audio, and the events it publishes.

Models are loaded once; recordings are processed in groups, concurrently, so that windows of several share batches. A
file source waits where a microphone would drop, so every window is scored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from stream.app import registry
from stream.app.assembly import load, model_for, pool_on_cluster
from stream.audio.channels import ChannelSelector
from stream.audio.resampling import Resampler
from stream.errors import SettingsError, SourceError
from stream.events import NODE, Event
from stream.pipeline.pipeline import Pipeline, Report
from stream.profiles.known_voices import configured_voices
from stream.settings import Settings, SourceSettings
from stream.tools.evaluation.collector import EventCollector
from stream.tracking.voice import Voice
from stream.types import Block, Model, ModelInfo, Samples, SpeechDetector, Task

MAX_CONCURRENT_RECORDINGS = 48
"""Recordings processed concurrently."""


class EvaluationRunner:
    """Loaded models, and the pipeline that applies them to recordings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._loaded = load(settings, is_lossless=True)

    def model(self, task: Task) -> Model:
        """Return the loaded model for a task. Raises `SettingsError` if there is none."""
        model = model_for(task, self._loaded.models)
        if model is None:
            raise SettingsError(f"this evaluation needs a model for {task}; set models.{task}.name")
        return model

    def has(self, task: Task) -> bool:
        """Return whether there is a model for a task."""
        return model_for(task, self._loaded.models) is not None

    @property
    def detector(self) -> SpeechDetector:
        """The speech detector."""
        return self._loaded.detector

    def model_info(self, task: str) -> ModelInfo:
        """Return the metadata of the model for a task."""
        return self.model(Task(task)).info

    def enrol(self, people: Mapping[str, str]) -> list[Voice]:
        """Return the enrolled voices of `people`: name to recording."""
        if not people:
            return []
        speakers = self.settings.speakers.model_copy(update={"enrolled": dict(people)})
        settings = self.settings.model_copy(update={"speakers": speakers})
        return asyncio.run(
            configured_voices(
                settings=settings,
                model=self.model(Task.SPEAKER),
                detector=self._loaded.detector,
                segmentation=model_for(Task.OVERLAP, self._loaded.models),
            )
        )

    def run(
        self,
        recordings: Sequence[Path],
        *,
        enrolled: Sequence[Voice] = (),
        progress: Callable[[], None] = lambda: None,
    ) -> tuple[list[list[Event]], list[Report]]:
        """Return the events of each recording, in order, and a report per group.

        `progress` is called after each recording. Raises `SourceError` for a file that cannot be read as audio.
        """
        events: list[list[Event]] = []
        reports = []
        for first in range(0, len(recordings), MAX_CONCURRENT_RECORDINGS):
            group = recordings[first : first + MAX_CONCURRENT_RECORDINGS]
            group_events, report = asyncio.run(self._run_group(group, enrolled, progress))
            events += group_events
            reports.append(report)
        return events, reports

    async def _run_group(
        self, group: Iterable[Path], enrolled: Sequence[Voice], progress: Callable[[], None]
    ) -> tuple[list[list[Event]], Report]:
        ids = {f"r{number}": path for number, path in enumerate(group)}

        def report_progress(event: Event) -> None:
            if event.source != NODE and event.type == "stream" and event.state == "ended":
                progress()

        collector = EventCollector(on_event=report_progress)
        pipeline = Pipeline(
            settings=pool_on_cluster(self.settings),
            sources=[
                registry.source(SourceSettings(kind="file", id=key, target=str(path))) for key, path in ids.items()
            ],
            models=self._loaded.models,
            detector=self._loaded.detector,
            sinks={"evaluation": collector},
            ensembles=self._loaded.ensembles,
            enrolled=enrolled,
            thread_setup=self._loaded.thread_setup,
        )
        report = await pipeline.run()
        if report.failures:
            raise report.failures[0]
        events = collector.by_source()
        return [events.get(key, []) for key in ids], report


def runners(task: str, names: Sequence[str | None], settings: Settings) -> Iterator[tuple[str, EvaluationRunner]]:
    """Yield a display name and a runner for each model in `names`, one after the other.

    None is the configured model. Models of other tasks are not loaded unless the evaluation needs them.
    """
    shown: set[str] = set()
    for name in names:
        chosen = {other: "" for other in ("emotion", "speaker", "identity") if other != task}
        chosen |= {"overlap": ""} if task != "speaker" else {}
        chosen |= {task: name} if name is not None else {}
        changes = {key: getattr(settings.models, key).model_copy(update={"name": one}) for key, one in chosen.items()}
        runner = EvaluationRunner(settings.model_copy(update={"models": settings.models.model_copy(update=changes)}))
        label = runner.model_info(task).name
        while label in shown:  # two folders of equal name
            label = f"{label} ({name})"
        shown.add(label)
        yield label, runner


def read_samples(path: Path) -> Samples:
    """Read a recording as model input: mono, 16 kHz; shape (n,). Raises `SourceError`."""
    return asyncio.run(_read(path))


async def _read(path: Path) -> Samples:
    source = registry.source(SourceSettings(kind="file", target=str(path)))
    parts: list[Samples] = []
    async with source.blocks() as blocks:
        resampler = Resampler(rate_hz=source.format.rate_hz)
        selector = ChannelSelector("mix", rate_hz=source.format.rate_hz)
        parts += [
            resampler.push(selector.select(block.samples)[0]) async for block in blocks if isinstance(block, Block)
        ]
        parts.append(resampler.flush())
    if not parts:
        raise SourceError(f"{path} contains no audio")
    return np.concatenate(parts)
