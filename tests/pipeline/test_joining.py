"""Sources that join a running pipeline and leave it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from stream.errors import SourceError, SourceNotFound
from stream.events import CallEvent, Event, StreamEvent
from stream.pipeline.pipeline import Pipeline, Report
from stream.settings import Settings
from stream.types import Block, Task
from tests.support.fakes import FakeDetector, FakeModel, FakeSource, ListSink

LOUD = np.random.default_rng(5).uniform(-0.4, 0.4, (16_000 * 3, 1)).astype(np.float32)


class Missing(FakeSource):
    """Cannot be opened."""

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[Any]:
        raise SourceNotFound("no such file")
        yield


def source(name: str, *, channels: str = "mix", kind: type[FakeSource] = FakeSource) -> FakeSource:
    blocks = [Block(name, start, LOUD[start : start + 4_000]) for start in range(0, len(LOUD), 4_000)]
    return kind(blocks, source_id=name, channels=channels)


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Pipeline, ListSink, asyncio.Task[Report]]]:
    sink = ListSink()
    pipeline = Pipeline(
        settings=Settings(),
        sources=[],
        models=[FakeModel(), FakeModel(task=Task.SPEAKER)],
        detector=FakeDetector(),
        sinks={"list": sink},
        keep_running=True,
    )
    run = asyncio.create_task(pipeline.run())
    await asyncio.sleep(0)
    try:
        yield pipeline, sink, run
    finally:
        pipeline.stop()
        await run


async def wait_gone(pipeline: Pipeline, name: str) -> None:
    while pipeline.is_name_taken(name):  # noqa: ASYNC110 - the registry signals nothing
        await asyncio.sleep(0.001)


def test_a_run_goes_on_without_sources_until_it_is_stopped() -> None:
    async def check() -> tuple[Report, list[Event]]:
        async with running() as (pipeline, sink, run):
            for name in ("a", "b"):
                pipeline.add(source(name))
                await wait_gone(pipeline, name)
        return run.result(), sink.events

    report, events = asyncio.run(check())
    assert (report.health.streams, report.health.audio_s) == (2, 6.0)
    assert report.health.speech_s == pytest.approx(6.0, abs=0.2)
    states = [(event.source, event.state) for event in events if isinstance(event, StreamEvent)]
    assert states == [("a", "started"), ("a", "ended"), ("b", "started"), ("b", "ended")]


@pytest.mark.slow
def test_ended_streams_and_calls_leave_no_records() -> None:
    async def check() -> int:
        async with running() as (pipeline, sink, _):
            for _ in range(20):
                pipeline.add(source("a"))
                await wait_gone(pipeline, "a")
                pipeline.add(source("desk", channels="customer"), source("desk", channels="agent"))
                await wait_gone(pipeline, "desk")
            kept = len(pipeline.streams) + len(pipeline._registry.sources) + len(pipeline._registry._calls)
        ids = [event.id for event in sink.events]
        assert len(set(ids)) == len(ids), "a stream that is opened again continues its sequence"
        assert sum(isinstance(event, CallEvent) and event.phase == "final" for event in sink.events) == 20
        return kept

    assert asyncio.run(check()) == 0


def test_a_name_is_unique_while_active() -> None:
    async def check() -> Report:
        async with running() as (pipeline, _, run):
            pipeline.add(source("desk", channels="customer"))
            with pytest.raises(SourceError, match="already has a customer track"):
                pipeline.add(source("desk", channels="customer"))
            pipeline.add(source("a"), source("a"))
            await wait_gone(pipeline, "a")
        return run.result()

    report = asyncio.run(check())
    assert ["duplicate stream name 'a'" in str(failure) for failure in report.failures] == [True]


def test_a_party_that_cannot_be_opened_does_not_block_the_other() -> None:
    async def check() -> list[Event]:
        async with running() as (pipeline, sink, _):
            pipeline.add(source("desk", channels="customer"), source("desk", channels="agent", kind=Missing))
            await wait_gone(pipeline, "desk")
            pipeline.add(source("solo", channels="customer", kind=Missing))
            await wait_gone(pipeline, "solo")
        return sink.events

    events = asyncio.run(check())
    final = [event for event in events if isinstance(event, CallEvent) and event.phase == "final"]
    assert [(one.source, one.end_s) for one in final] == [("desk", 3.0)]


def test_no_source_joins_before_the_start_or_after_the_stop() -> None:
    async def check() -> None:
        async with running() as (pipeline, _, run):
            pipeline.stop()
            with pytest.raises(SourceError, match="is not running"):
                pipeline.add(source("a"))
            await run
        late = Pipeline(
            settings=Settings(), sources=[], models=[FakeModel()], detector=FakeDetector(), sinks={}, keep_running=True
        )
        with pytest.raises(SourceError, match="is not running"):
            late.add(source("a"))

    asyncio.run(check())
