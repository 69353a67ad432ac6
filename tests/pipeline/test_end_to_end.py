"""The whole pipeline on the bundled conversation, with the small nets unless a test says otherwise."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stream.app.assembly import load_models
from stream.demo.conversation import AUDIO, turns
from stream.events import EmotionEvent, Event, HealthEvent, SpeakerEvent, StreamEvent, TurnEvent
from stream.models.devices import limit_threads
from stream.models.vad import SileroVad
from stream.pipeline.pipeline import Pipeline, Report
from stream.settings import Settings, SourceSettings
from stream.sources.file import FileSource
from stream.types import AudioFormat, Block, Model
from tests.support.acceleration import run_accelerated
from tests.support.fakes import FakeSource, ListSink
from tests.support.small_models import load_small_models

pytestmark = pytest.mark.slow

SETTINGS = Settings()
MODELS = load_small_models()
DETECTOR = SileroVad()


def run_models(
    source: Any, *, settings: Settings = SETTINGS, models: Sequence[Model] = MODELS
) -> tuple[list[Event], Report]:
    sink = ListSink()
    pipeline = Pipeline(
        settings=settings,
        sources=[source],
        models=models,
        detector=DETECTOR,
        sinks={"list": sink},
        thread_setup=limit_threads,
    )
    run: Coroutine[Any, Any, Report] = pipeline.run()
    report = run_accelerated(run) if source.paced else asyncio.run(run)
    return sink.events, report


def demo(*, path: Path = AUDIO, block_frames: int | None = None, realtime: bool = False) -> FileSource:
    settings = SourceSettings(target=str(path), id="demo", realtime=realtime)
    return FileSource(settings=settings, block_frames=block_frames)


def comparable(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return the events without the fields that depend on the time of day, and without health."""
    wall = {"id", "session", "time", "latency_ms"}
    return [event.model_dump(exclude=wall) for event in events if not isinstance(event, HealthEvent)]


@pytest.fixture(scope="module")
def demo_run() -> tuple[list[Event], Report]:
    return run_models(demo())


def test_every_window_is_scored(demo_run: tuple[list[Event], Report]) -> None:
    events, report = demo_run
    for lane in report.health.lanes:
        assert lane.submitted == lane.inferred > 0
        assert lane.dropped == lane.failed == lane.waiting == 0
    assert not report.failures
    assert isinstance(events[-1], HealthEvent)


def test_seq_has_no_gaps_and_ids_are_unique(demo_run: tuple[list[Event], Report]) -> None:
    events, _ = demo_run
    for source in {event.source for event in events}:
        numbers = [event.seq for event in events if event.source == source]
        assert numbers == list(range(len(numbers)))
    assert max(Counter(event.id for event in events).values()) == 1


def test_the_stream_starts_and_ends_once_and_turns_pair_up(demo_run: tuple[list[Event], Report]) -> None:
    events, _ = demo_run
    own = [event for event in events if event.source == "demo"]
    assert [event.state for event in own if isinstance(event, StreamEvent)] == ["started", "ended"]
    assert isinstance(own[0], StreamEvent)
    assert isinstance(own[-1], StreamEvent)
    phases: dict[str, list[str]] = {}
    for event in own:
        if isinstance(event, TurnEvent):
            phases.setdefault(event.turn, []).append(event.phase)
    assert phases
    assert all(pair == ["start", "end"] for pair in phases.values())


def test_silence_is_the_last_state_published(demo_run: tuple[list[Event], Report]) -> None:
    """A subscriber would otherwise show a speaker for ever."""
    events, _ = demo_run
    assert [event for event in events if isinstance(event, SpeakerEvent)][-1].state == "silence"
    assert [event for event in events if isinstance(event, EmotionEvent)][-1].label == "silence"


@pytest.mark.long
def test_the_demo_finds_its_speakers() -> None:
    """With the default preset, and nobody enrolled."""
    events, _ = run_models(demo(), models=load_models(SETTINGS)[0])
    reference = turns()
    names = sorted({turn.speaker for turn in reference})
    ended = [event for event in events if isinstance(event, TurnEvent) and event.phase == "end"]
    found = sorted({event.speaker for event in ended if event.speaker is not None})
    assert len(found) == len(names)
    unnamed_s = sum(event.end_s - event.start_s for event in ended if event.speaker is None)
    assert unnamed_s <= 1.2, "at most the overlap"
    right = np.zeros((len(names), len(found)))
    for turn in reference:
        for event in ended:
            if event.speaker is not None:
                shared_s = min(turn.end_s, event.end_s) - max(turn.start_s, event.start_s)
                right[names.index(turn.speaker), found.index(event.speaker)] += max(0.0, shared_s)
    speech_s = sum(turn.end_s - turn.start_s for turn in reference)
    best = max(sum(right[row, column] for row, column in enumerate(order)) for order in permutations(range(len(found))))
    assert best / speech_s >= 0.9


@pytest.mark.parametrize(
    "block_frames", [pytest.param(997, marks=pytest.mark.long), 7_000, pytest.param(48_000, marks=pytest.mark.long)]
)
def test_block_sizes_do_not_change_events(demo_run: tuple[list[Event], Report], block_frames: int) -> None:
    events, _ = run_models(demo(block_frames=block_frames))
    assert comparable(events) == comparable(demo_run[0])


@pytest.mark.long
def test_blocks_of_one_sample_give_the_same_events(tmp_path: Path) -> None:
    """On 0.8 s of speech only: the whole conversation would take minutes."""
    start = round(turns()[0].start_s * 16_000)
    samples, rate = soundfile.read(AUDIO, start=start, frames=12_800, dtype="float32")
    path = tmp_path / "start.wav"
    soundfile.write(path, samples, rate)
    events = comparable(run_models(demo(path=path))[0])
    assert "turn" in {event["type"] for event in events}
    assert comparable(run_models(demo(path=path, block_frames=1))[0]) == events


@pytest.mark.long
def test_pacing_does_not_change_events(demo_run: tuple[list[Event], Report]) -> None:
    events, report = run_models(demo(realtime=True))
    assert comparable(events) == comparable(demo_run[0])
    assert report.health.latency_p95_ms is not None


@pytest.mark.long
def test_streams_that_share_the_pool_do_not_affect_each_other(demo_run: tuple[list[Event], Report]) -> None:
    sink = ListSink()
    other = FileSource(settings=SourceSettings(target=str(AUDIO), id="other"))
    pipeline = Pipeline(
        settings=SETTINGS,
        sources=[demo(), other],
        models=MODELS,
        detector=DETECTOR,
        sinks={"list": sink},
        thread_setup=limit_threads,
    )
    asyncio.run(pipeline.run())
    for name in ("demo", "other"):
        own = [{**event, "source": "demo"} for event in comparable([e for e in sink.events if e.source == name])]
        assert own == comparable([event for event in demo_run[0] if event.source == "demo"])


def test_split_channels_become_streams() -> None:
    samples, rate = soundfile.read(AUDIO, stop=80_000, dtype="float32")
    quiet = np.zeros_like(samples)
    frames = np.stack([samples, quiet], axis=1)
    source = FakeSource(
        [Block("call", 0, frames)], source_id="call", channels="split", audio_format=AudioFormat(rate, 2)
    )
    events, _ = run_models(source)
    assert {event.source for event in events} == {"call-1", "call-2", "node"}
    speaking = {event.source for event in events if isinstance(event, TurnEvent)}
    assert speaking == {"call-1"}


def test_a_gap_is_published_with_its_length_and_ends_the_turn() -> None:
    samples, rate = soundfile.read(AUDIO, stop=96_000, dtype="float32", always_2d=True)
    lost = 32_000
    blocks = [Block("mic", 0, samples[:48_000]), Block("mic", 48_000 + lost, samples[48_000:])]
    source = FakeSource(blocks, source_id="mic", audio_format=AudioFormat(rate, 1))
    events, _ = run_models(source)
    gaps = [event for event in events if isinstance(event, StreamEvent) and event.state == "gap"]
    assert [(gap.start_s, gap.end_s, gap.lost_s) for gap in gaps] == [(3.0, 5.0, 2.0)]
    ends = [event for event in events if isinstance(event, TurnEvent) and event.phase == "end"]
    assert ends[0].end_s <= 3.0
    for event in events:
        if isinstance(event, EmotionEvent | SpeakerEvent):
            assert not (event.start_s < 3.0 and event.end_s > 5.0), "a window spans the gap"
    assert events[-2].end_s == pytest.approx((96_000 + lost) / rate)
