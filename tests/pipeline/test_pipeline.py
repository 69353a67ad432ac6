"""How runs end: failing streams and sinks, models that hang, overload."""

from __future__ import annotations

import asyncio
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pytest

from stream.app.assembly import assign_ids
from stream.errors import AudioFormatError, InferenceError, SettingsError, SinkError, SourceNotFound
from stream.events import BrokerHealth, Envelope, Event, HealthEvent, StreamEvent
from stream.pipeline.pipeline import Pipeline, Report
from stream.settings import Settings, SourceSettings
from stream.sinks.base import SinkCounters
from stream.types import AudioFormat, Block, Scores, SpeechRequest, SpeechResult, Task, Window, WindowSpec
from tests.support.fakes import FakeDetector, FakeModel, FakeSource, ListSink
from tests.support.waiting import wait_until

MAX_WAIT_S = 20
LOUD = np.random.default_rng(5).uniform(-0.4, 0.4, (16_000 * 6, 1)).astype(np.float32)


def blocks(name: str, *, size: int = 4_000, audio: np.ndarray = LOUD) -> list[Block]:
    return [Block(name, start, audio[start : start + size]) for start in range(0, len(audio), size)]


def pipeline(*sources: Any, sink: Any = None, models: Sequence[Any] | None = None, **settings: Any) -> Pipeline:
    return Pipeline(
        settings=Settings.model_validate(settings),
        sources=sources,
        models=models or [FakeModel(), FakeModel(task=Task.SPEAKER)],
        detector=FakeDetector(),
        sinks={"sink": sink or ListSink()},
    )


class Broken(FakeSource):
    """Yields half of its blocks and fails."""

    async def _generate_blocks(self) -> AsyncIterator[Any]:
        for block in self._blocks[: len(self._blocks) // 2]:
            yield block
        raise AudioFormatError("the file is damaged")


class Missing(FakeSource):
    """Cannot be opened."""

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[Any]:
        raise SourceNotFound("no such file")
        yield


def states(events: list[Event], source: str) -> list[str]:
    return [event.state for event in events if isinstance(event, StreamEvent) and event.source == source]


def test_a_source_that_fails_ends_only_its_own_stream() -> None:
    sink = ListSink()
    intact, broken, missing = (
        kind(blocks(name), source_id=name) for kind, name in ((FakeSource, "a"), (Broken, "b"), (Missing, "c"))
    )
    report = asyncio.run(pipeline(intact, broken, missing, sink=sink).run())
    assert sorted(str(failure) for failure in report.failures) == ["no such file", "the file is damaged"]
    assert states(sink.events, "a") == states(sink.events, "b") == ["started", "ended"]
    ends = {event.source: event for event in sink.events if isinstance(event, StreamEvent) and event.state == "ended"}
    assert ends["b"].detail == "the file is damaged"
    assert (ends["a"].end_s, ends["b"].end_s) == (6.0, 3.0)
    assert sink.closed


class FailingDetector(FakeDetector):
    """Fails on the batches of these numbers, counted from 0."""

    def __init__(self, *failing: int) -> None:
        super().__init__()
        self._failing = failing
        self._count = -1

    def infer(self, batch: Sequence[SpeechRequest]) -> list[SpeechResult]:
        self._count += 1
        if self._count in self._failing:
            raise InferenceError("no memory")
        return super().infer(batch)


def bodies_of(detector: FakeDetector, audio: np.ndarray) -> list[dict[str, Any]]:
    """Return the bodies for audio that is scored every five seconds only: two hops exceed the ring."""
    sink = ListSink()
    run = Pipeline(
        settings=Settings(),
        sources=[FakeSource(blocks("a", audio=audio), source_id="a")],
        models=[FakeModel(spec=WindowSpec(80_000, 80_000, 8_000))],
        detector=detector,
        sinks={"sink": sink},
    )
    asyncio.run(run.run())
    envelope = set(Envelope.model_fields)
    return [event.model_dump(exclude=envelope) for event in sink.events if event.source == "a"]


@pytest.mark.slow
@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1), (2, 3), (3,), (4,)])
def test_a_failed_detector_batch_is_submitted_again_at_once(lost: tuple[int, ...]) -> None:
    audio = np.concatenate([LOUD, LOUD, LOUD])  # 18 s: windows end at 5, 10 and 15 s, and the rest at the end
    expected = bodies_of(FailingDetector(), audio)
    assert sum(body["type"] == "emotion" for body in expected) >= 4
    assert bodies_of(FailingDetector(*lost), audio) == expected


def test_a_run_without_any_stream_raises_the_failure() -> None:
    sink = ListSink()
    with pytest.raises(SourceNotFound, match="no such file"):
        asyncio.run(pipeline(Missing([], source_id="c"), sink=sink).run())
    assert sink.closed


def test_a_failing_sink_ends_the_run_with_its_error() -> None:
    class Full(ListSink):
        async def send(self, event: Event) -> None:
            await super().send(event)
            if len(self.events) == 5:
                raise SinkError("disk full")

    sink = Full()
    with pytest.raises(SinkError, match="disk full"):
        asyncio.run(pipeline(FakeSource(blocks("a"), source_id="a"), sink=sink).run())
    assert sink.closed


def test_a_model_that_always_fails_ends_the_run() -> None:
    class Failing(FakeModel):
        def infer(self, batch: Sequence[Window]) -> list[Scores]:
            raise InferenceError(f"invalid weights for {len(batch)} windows")

    with pytest.raises(InferenceError, match="invalid weights"):
        asyncio.run(pipeline(FakeSource(blocks("a"), source_id="a"), models=[Failing()]).run())


def test_a_model_that_hangs_is_cancelled_after_the_shutdown_timeout() -> None:
    inside, release = threading.Event(), threading.Event()

    class Hanging(FakeModel):
        def infer(self, batch: Sequence[Window]) -> list[Scores]:
            inside.set()
            release.wait(MAX_WAIT_S)
            return super().infer(batch)

    async def check() -> Report:
        run = pipeline(FakeSource(blocks("a"), source_id="a"), models=[Hanging()], shutdown_timeout_s=0.01)
        running = asyncio.create_task(run.run())
        await asyncio.to_thread(inside.wait, MAX_WAIT_S)
        run.stop()
        report = await running
        release.set()
        return report

    report = asyncio.run(check())
    assert report.timed_out


@pytest.mark.parametrize("live", [True, False])
def test_overload_drops_only_live_windows_and_counts_them(live: bool) -> None:  # noqa: FBT001
    class Slow(FakeModel):
        """Returns once all windows have been extracted, like a model that is far too slow."""

        def infer(self, batch: Sequence[Window]) -> list[Scores]:
            if live:
                ended.wait(MAX_WAIT_S)
            return super().infer(batch)

    class Ending(FakeSource):
        async def _generate_blocks(self) -> AsyncIterator[Any]:
            async for block in super()._generate_blocks():
                yield block
                await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0)
            ended.set()

    ended = threading.Event()
    sink = ListSink()
    source = Ending(blocks("a"), source_id="a", live=live)
    report = asyncio.run(pipeline(source, sink=sink, models=[Slow()], pool={"queue_windows": 1, "max_batch": 1}).run())
    (lane,) = report.health.lanes
    assert lane.submitted == lane.inferred + lane.dropped
    assert bool(lane.dropped) == live
    assert lane.waiting == lane.failed == 0
    assert states(sink.events, "a") == ["started", "ended"]


def test_stop_ends_the_audio() -> None:
    async def check() -> tuple[Report, list[Event]]:
        sink = ListSink()
        source = FakeSource(blocks("a"), source_id="a", audio_format=AudioFormat(16_000, 1))
        run = pipeline(source, sink=sink)
        running = asyncio.create_task(run.run())
        await sink.first.wait()
        run.stop()
        return await running, sink.events

    report, events = asyncio.run(check())
    assert not report.timed_out
    assert states(events, "a") == ["started", "ended"]


def test_stream_names_are_unique() -> None:
    named = assign_ids([SourceSettings(target=name) for name in ("a.wav", "x/a.wav", "node.wav")])
    assert [source.id for source in named] == ["a", "a-2", "node-2"]
    with pytest.raises(SettingsError, match="duplicate source id 'b'"):
        assign_ids([SourceSettings(id="b"), SourceSettings(id="b")])
    stereo = np.repeat(LOUD, 2, axis=1)
    split = FakeSource(blocks("a", audio=stereo), source_id="a", channels="split", audio_format=AudioFormat(16_000, 2))
    report = asyncio.run(pipeline(split, FakeSource(blocks("a-2"), source_id="a-2")).run())
    assert "duplicate stream name 'a-2'" in str(report.failures[0])


class Microphone(FakeSource):
    """Counts time by a clock of its own; its audio is `age_s` old."""

    has_own_clock = True
    age_s = 5.0

    async def _generate_blocks(self) -> AsyncIterator[Any]:
        started_s = time.monotonic() - self.age_s
        for block in blocks("mic"):
            yield Block("mic", block.start_frame, block.samples, started_s + block.end_frame / 16_000)


def test_events_of_a_source_with_a_clock_of_its_own_have_the_time_of_its_audio() -> None:
    sink, started_s = ListSink(), time.time()
    asyncio.run(pipeline(Microphone([], source_id="mic", live=True, paced=True), sink=sink).run())
    (ended,) = (event for event in sink.events if isinstance(event, StreamEvent) and event.state == "ended")
    assert ended.time.timestamp() == pytest.approx(started_s - Microphone.age_s + ended.end_s, abs=2.0)


def test_health_reports_the_achieved_hop() -> None:
    health = asyncio.run(pipeline(FakeSource(blocks("fake"))).run()).health
    assert [lane.hop_ms for lane in health.lanes] == [500.0, 500.0]  # nothing was dropped: as configured

    class FailingOnce(FakeModel):
        def infer(self, batch: Sequence[Window]) -> list[Scores]:
            scores = super().infer(batch)
            if len(self.batches) == 1:
                raise InferenceError("once")
            return scores

    (lane,) = asyncio.run(pipeline(FakeSource(blocks("fake")), models=[FailingOnce()]).run()).health.lanes
    assert lane.failed
    assert lane.hop_ms == pytest.approx(500.0 * lane.submitted / lane.inferred, abs=0.1)


def test_health_is_published_soon_after_a_broker_is_lost() -> None:
    class BrokerSink(ListSink):
        state: Literal["connected", "lost"] = "connected"

        def counters(self) -> SinkCounters:
            return SinkCounters(broker=BrokerHealth(state=self.state, since=datetime.now(UTC)))

    class Losing(FakeSource):
        async def _generate_blocks(self) -> AsyncIterator[Any]:
            yield Block("fake", 0, LOUD[:4_000])
            await asyncio.sleep(0)
            sink.state = "lost"
            await wait_until(lambda: any(isinstance(event, HealthEvent) for event in sink.events))

    sink = BrokerSink()
    asyncio.run(pipeline(Losing([]), sink=sink, health_s=3_600).run())
    health = next(event for event in sink.events if isinstance(event, HealthEvent))
    assert health.sinks[0].broker is not None
    assert health.sinks[0].broker.state == "lost"


@pytest.mark.long
def test_a_long_run_does_not_grow() -> None:
    """Memory after ten minutes of audio is that after two."""
    sizes: list[int] = []

    class Long(FakeSource):
        async def _generate_blocks(self) -> AsyncIterator[Any]:
            for second in range(600):
                if second in (120, 599):
                    sizes.append(tracemalloc.get_traced_memory()[0])
                yield Block("fake", second * 16_000, LOUD[second % 6 * 16_000 :][:16_000])

    class Discarding(ListSink):
        async def send(self, event: Event) -> None:
            pass

    tracemalloc.start()
    try:
        report = asyncio.run(pipeline(Long([]), sink=Discarding(), health_s=0.5).run())
    finally:
        tracemalloc.stop()
    assert report.health.audio_s == 600
    assert sizes[1] - sizes[0] < 1_000_000  # queues and logs may still fill up to their bounds; the audio is 31 MB


class Blocked(FakeModel):
    """Returns nothing until `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        assert self.go.wait(MAX_WAIT_S)
        return super().infer(batch)


@pytest.mark.parametrize(("age_s", "dropped"), [(0.0, False), (100.0, True)])
def test_the_deadline_counts_from_the_capture_of_the_audio(age_s: float, dropped: bool) -> None:  # noqa: FBT001
    """A burst of audio is no overload; audio that waited before it reached the pipeline is late."""
    model = Blocked()

    class Late(FakeSource):
        async def _generate_blocks(self) -> AsyncIterator[Any]:
            yield Block("fake", 0, LOUD, captured_s=time.monotonic() - age_s)
            model.go.set()

    tested = pipeline(
        Late([], live=True, paced=True),
        models=[model],
        pool={"deadline_ms": 60_000, "queue_windows": 64, "max_batch": 1},
    )
    (lane,) = asyncio.run(tested.run()).health.lanes
    assert (lane.submitted, lane.inferred, lane.dropped) == ((11, 2, 9) if dropped else (11, 11, 0))
