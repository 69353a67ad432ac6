"""How runs end: streams that fail, sinks that break, models that hang, and more sound than time."""

from __future__ import annotations

import asyncio
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from stream.app.assembly import assign_ids
from stream.errors import AudioFormatError, InferenceError, SettingsError, SinkError, SourceNotFound
from stream.events import Envelope, Event, StreamEvent
from stream.pipeline.pipeline import Pipeline, Report
from stream.settings import Settings, SourceSettings
from stream.types import AudioFormat, Block, Scores, SpeechRequest, SpeechResult, Task, Window, WindowSpec
from tests.support.fakes import FakeDetector, FakeModel, FakeSource, ListSink

PATIENCE_S = 20
LOUD = np.random.default_rng(5).uniform(-0.4, 0.4, (16_000 * 6, 1)).astype(np.float32)


def blocks(name: str, *, size: int = 4_000, sound: np.ndarray = LOUD) -> list[Block]:
    return [Block(name, start, sound[start : start + size]) for start in range(0, len(sound), size)]


def pipeline(*sources: Any, sink: Any = None, models: Sequence[Any] | None = None, **settings: Any) -> Pipeline:
    return Pipeline(
        settings=Settings.model_validate(settings),
        sources=sources,
        models=models or [FakeModel(), FakeModel(task=Task.SPEAKER)],
        detector=FakeDetector(),
        sinks={"sink": sink or ListSink()},
    )


class Broken(FakeSource):
    """Gives half its blocks and fails."""

    async def _give(self) -> AsyncIterator[Any]:
        for block in self._blocks[: len(self._blocks) // 2]:
            yield block
        raise AudioFormatError("the tape is torn")


class Missing(FakeSource):
    """Cannot be opened."""

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[Any]:
        raise SourceNotFound("there is nothing here")
        yield


def states(events: list[Event], source: str) -> list[str]:
    return [event.state for event in events if isinstance(event, StreamEvent) and event.source == source]


def test_a_source_that_fails_ends_only_its_own_stream() -> None:
    sink = ListSink()
    good, torn, missing = (
        kind(blocks(name), source_id=name) for kind, name in ((FakeSource, "a"), (Broken, "b"), (Missing, "c"))
    )
    report = asyncio.run(pipeline(good, torn, missing, sink=sink).run())
    assert sorted(str(failure) for failure in report.failures) == ["the tape is torn", "there is nothing here"]
    assert states(sink.events, "a") == states(sink.events, "b") == ["started", "ended"]
    ends = {event.source: event for event in sink.events if isinstance(event, StreamEvent) and event.state == "ended"}
    assert ends["b"].detail == "the tape is torn"
    assert (ends["a"].end_s, ends["b"].end_s) == (6.0, 3.0)
    assert sink.closed


class FailingDetector(FakeDetector):
    """Loses the batches of these numbers, counted from 0."""

    def __init__(self, *lost: int) -> None:
        super().__init__()
        self._lost = lost
        self._count = -1

    def infer(self, batch: Sequence[SpeechRequest]) -> list[SpeechResult]:
        self._count += 1
        if self._count in self._lost:
            raise InferenceError("no memory")
        return super().infer(batch)


def found_by(detector: FakeDetector, sound: np.ndarray) -> list[dict[str, Any]]:
    """What is told of sound that is scored every five seconds only: more than the ring holds in two hops."""
    sink = ListSink()
    run = Pipeline(
        settings=Settings(),
        sources=[FakeSource(blocks("a", sound=sound), source_id="a")],
        models=[FakeModel(spec=WindowSpec(80_000, 80_000, 8_000))],
        detector=detector,
        sinks={"sink": sink},
    )
    asyncio.run(run.run())
    envelope = set(Envelope.model_fields)
    return [event.model_dump(exclude=envelope) for event in sink.events if event.source == "a"]


@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1), (2, 3), (3,), (4,)])
def test_a_lost_batch_of_speech_is_asked_about_again_at_once(lost: tuple[int, ...]) -> None:
    sound = np.concatenate([LOUD, LOUD, LOUD])  # 18 s: windows end at 5, 10 and 15 s, and the rest at the end
    told = found_by(FailingDetector(), sound)
    assert sum(body["type"] == "emotion" for body in told) >= 4
    assert found_by(FailingDetector(*lost), sound) == told


def test_a_run_that_hears_nothing_raises_what_is_wrong() -> None:
    sink = ListSink()
    with pytest.raises(SourceNotFound, match="nothing here"):
        asyncio.run(pipeline(Missing([], source_id="c"), sink=sink).run())
    assert sink.closed


def test_a_sink_that_breaks_ends_the_run_with_its_error() -> None:
    class Full(ListSink):
        async def send(self, event: Event) -> None:
            await super().send(event)
            if len(self.events) == 5:
                raise SinkError("no room")

    sink = Full()
    with pytest.raises(SinkError, match="no room"):
        asyncio.run(pipeline(FakeSource(blocks("a"), source_id="a"), sink=sink).run())
    assert sink.closed


def test_a_model_that_always_fails_ends_the_run() -> None:
    class Failing(FakeModel):
        def infer(self, batch: Sequence[Window]) -> list[Scores]:
            raise InferenceError(f"the weights are nonsense for {len(batch)} windows")

    with pytest.raises(InferenceError, match="nonsense"):
        asyncio.run(pipeline(FakeSource(blocks("a"), source_id="a"), models=[Failing()]).run())


def test_a_model_that_hangs_is_cut_off_after_the_grace() -> None:
    inside, release = threading.Event(), threading.Event()

    class Hanging(FakeModel):
        def infer(self, batch: Sequence[Window]) -> list[Scores]:
            inside.set()
            release.wait(PATIENCE_S)
            return super().infer(batch)

    async def check() -> Report:
        run = pipeline(FakeSource(blocks("a"), source_id="a"), models=[Hanging()], shutdown_timeout_s=0.01)
        running = asyncio.create_task(run.run())
        await asyncio.to_thread(inside.wait, PATIENCE_S)
        run.stop()
        report = await running
        release.set()
        return report

    report = asyncio.run(check())
    assert report.timed_out


@pytest.mark.parametrize("live", [True, False])
def test_more_sound_than_time_drops_only_live_windows_and_counts_them(live: bool) -> None:  # noqa: FBT001
    class Slow(FakeModel):
        """Answers once the whole sound has been cut, as a model far too slow would."""

        def infer(self, batch: Sequence[Window]) -> list[Scores]:
            if live:
                ended.wait(PATIENCE_S)
            return super().infer(batch)

    class Ending(FakeSource):
        async def _give(self) -> AsyncIterator[Any]:
            async for block in super()._give():
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
    assert lane.cut == lane.inferred + lane.dropped
    assert bool(lane.dropped) == live
    assert lane.waiting == lane.failed == 0
    assert states(sink.events, "a") == ["started", "ended"]


def test_stop_is_the_end_of_the_sound() -> None:
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


def test_streams_need_names_of_their_own() -> None:
    named = assign_ids([SourceSettings(target=name) for name in ("a.wav", "x/a.wav", "node.wav")])
    assert [source.id for source in named] == ["a", "a-2", "node-2"]
    with pytest.raises(SettingsError, match="duplicate source id 'b'"):
        assign_ids([SourceSettings(id="b"), SourceSettings(id="b")])
    stereo = np.repeat(LOUD, 2, axis=1)
    split = FakeSource(blocks("a", sound=stereo), source_id="a", channels="split", audio_format=AudioFormat(16_000, 2))
    report = asyncio.run(pipeline(split, FakeSource(blocks("a-2"), source_id="a-2")).run())
    assert "duplicate stream name 'a-2'" in str(report.failures[0])


class Both:
    """Two models that answer together."""

    def __init__(self) -> None:
        self.models = (FakeModel(task=Task.SPEAKER), FakeModel(task=Task.EMOTION))

    def infer(self, batch: Sequence[Window]) -> list[tuple[Scores, ...]]:
        return list(zip(*(model.infer(batch) for model in self.models), strict=True))


def told(events: list[Event]) -> list[Any]:
    moving = {"id", "session", "time", "latency_ms", "models"}
    return [event.model_dump(exclude=moving) for event in events if event.source != "node"]


def test_models_that_answer_together_tell_the_same() -> None:
    both, apart, together = Both(), ListSink(), ListSink()
    reports = []
    for sink, ensembles in ((apart, ()), (together, (both,))):
        run = Pipeline(
            settings=Settings(),
            sources=[FakeSource(blocks("fake"))],
            models=both.models,
            detector=FakeDetector(),
            ensembles=ensembles,
            sinks={"sink": sink},
        )
        reports.append(asyncio.run(run.run()).health)
    assert told(apart.events) == told(together.events)
    assert len(told(apart.events)) > 10
    assert [lane.model for lane in reports[0].lanes] == ["fake-speaker", "fake-emotion"]
    assert [lane.model for lane in reports[1].lanes] == ["fake-speaker+fake-emotion"]
    assert reports[1].lanes[0].cut == reports[0].lanes[0].cut


def test_tracks_of_a_call_take_their_seats_among_models_that_answer_together() -> None:
    stereo, both = np.repeat(LOUD, 2, axis=1), Both()
    found, cut = [], []
    for ensembles in ((), (both,)):
        source = FakeSource(
            blocks("desk", sound=stereo),
            source_id="desk",
            channels="customer-agent",
            audio_format=AudioFormat(16_000, 2),
        )
        sink = ListSink()
        run = Pipeline(
            settings=Settings(),
            sources=[source],
            models=both.models,
            detector=FakeDetector(),
            ensembles=ensembles,
            sinks={"sink": sink},
        )
        cut.append([lane.cut for lane in asyncio.run(run.run()).health.lanes])
        tracks = ("desk-customer", "desk-agent")
        found.append([[event for event in told(sink.events) if event["source"] == track] for track in tracks])
        assert {event.source for event in sink.events if event.type == "emotion"} == {"desk-customer"}
    assert found[0] == found[1]
    assert cut[0] == [0, *cut[1]], "the customer's windows only, for emotion only"
    assert cut[1][0] > 0


def test_health_tells_the_achieved_hop() -> None:
    health = asyncio.run(pipeline(FakeSource(blocks("fake"))).run()).health
    assert [lane.hop_ms for lane in health.lanes] == [500.0, 500.0]  # nothing was dropped: as it was set

    class Stumbling(FakeModel):
        def infer(self, batch: Sequence[Window]) -> list[Scores]:
            scores = super().infer(batch)
            if len(self.batches) == 1:
                raise InferenceError("once")
            return scores

    (lane,) = asyncio.run(pipeline(FakeSource(blocks("fake")), models=[Stumbling()]).run()).health.lanes
    assert lane.failed
    assert lane.hop_ms == pytest.approx(500.0 * lane.cut / lane.inferred, abs=0.1)


def test_a_long_run_does_not_grow() -> None:
    """Ten minutes of sound: what is kept after two is what is kept after ten."""
    sizes: list[int] = []

    class Long(FakeSource):
        async def _give(self) -> AsyncIterator[Any]:
            for second in range(600):
                if second in (120, 599):
                    sizes.append(tracemalloc.get_traced_memory()[0])
                yield Block("fake", second * 16_000, LOUD[second % 6 * 16_000 :][:16_000])

    class Forgetful(ListSink):
        async def send(self, event: Event) -> None:
            pass

    tracemalloc.start()
    try:
        report = asyncio.run(pipeline(Long([]), sink=Forgetful(), health_s=0.5).run())
    finally:
        tracemalloc.stop()
    assert report.health.audio_s == 600
    assert sizes[1] - sizes[0] < 1_000_000  # queues and logs may still fill up to their bounds; the sound was 31 MB


class Held(FakeModel):
    """Answers nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        assert self.go.wait(PATIENCE_S)
        return super().infer(batch)


@pytest.mark.parametrize(("waited_s", "gives_way"), [(0.0, False), (100.0, True)])
def test_windows_are_as_old_as_the_sound_has_been_here(waited_s: float, gives_way: bool) -> None:  # noqa: FBT001
    """Seconds of sound at once are no overload; sound that nobody had time to hear is late, wherever it waited."""
    model = Held()

    class Late(FakeSource):
        async def _give(self) -> AsyncIterator[Any]:
            yield Block("fake", 0, LOUD, captured_s=time.monotonic() - waited_s)
            model.go.set()

    tested = pipeline(
        Late([], live=True, paced=True),
        models=[model],
        pool={"deadline_ms": 60_000, "queue_windows": 64, "max_batch": 1},
    )
    (lane,) = asyncio.run(tested.run()).health.lanes
    assert (lane.cut, lane.inferred, lane.dropped) == ((11, 2, 9) if gives_way else (11, 11, 0))
