"""Models that are scored in one pass."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from stream.events import Event
from stream.pipeline.pipeline import Pipeline
from stream.settings import Settings
from stream.types import AudioFormat, Block, Scores, Task, Window
from tests.support.fakes import FakeDetector, FakeModel, FakeSource, ListSink

LOUD = np.random.default_rng(5).uniform(-0.4, 0.4, (16_000 * 6, 1)).astype(np.float32)


def blocks(name: str, audio: np.ndarray = LOUD) -> list[Block]:
    return [Block(name, start, audio[start : start + 4_000]) for start in range(0, len(audio), 4_000)]


class FakeEnsemble:
    """Two models that are scored in one pass."""

    def __init__(self) -> None:
        self.models = (FakeModel(task=Task.SPEAKER), FakeModel(task=Task.EMOTION))

    def infer(self, batch: Sequence[Window]) -> list[tuple[Scores, ...]]:
        return list(zip(*(model.infer(batch) for model in self.models), strict=True))


def comparable(events: list[Event]) -> list[Any]:
    moving = {"id", "session", "time", "latency_ms", "models"}
    return [event.model_dump(exclude=moving) for event in events if event.source != "node"]


def test_an_ensemble_gives_the_same_events() -> None:
    ensemble, apart, together = FakeEnsemble(), ListSink(), ListSink()
    reports = []
    for sink, ensembles in ((apart, ()), (together, (ensemble,))):
        run = Pipeline(
            settings=Settings(),
            sources=[FakeSource(blocks("fake"))],
            models=ensemble.models,
            detector=FakeDetector(),
            ensembles=ensembles,
            sinks={"sink": sink},
        )
        reports.append(asyncio.run(run.run()).health)
    assert comparable(apart.events) == comparable(together.events)
    assert len(comparable(apart.events)) > 10
    assert [lane.model for lane in reports[0].lanes] == ["fake-speaker", "fake-emotion"]
    assert [lane.model for lane in reports[1].lanes] == ["fake-speaker+fake-emotion"]
    assert reports[1].lanes[0].submitted == reports[0].lanes[0].submitted


def test_tracks_of_a_call_use_their_slots_of_an_ensemble() -> None:
    stereo, ensemble = np.repeat(LOUD, 2, axis=1), FakeEnsemble()
    found, submitted = [], []
    for ensembles in ((), (ensemble,)):
        source = FakeSource(
            blocks("desk", audio=stereo),
            source_id="desk",
            channels="customer-agent",
            audio_format=AudioFormat(16_000, 2),
        )
        sink = ListSink()
        run = Pipeline(
            settings=Settings(),
            sources=[source],
            models=ensemble.models,
            detector=FakeDetector(),
            ensembles=ensembles,
            sinks={"sink": sink},
        )
        submitted.append([lane.submitted for lane in asyncio.run(run.run()).health.lanes])
        tracks = ("desk-customer", "desk-agent")
        found.append([[event for event in comparable(sink.events) if event["source"] == track] for track in tracks])
        assert {event.source for event in sink.events if event.type == "emotion"} == {"desk-customer"}
    assert found[0] == found[1]
    assert submitted[0] == [0, *submitted[1]], "only the customer's windows, only for emotion"
    assert submitted[1][0] > 0
