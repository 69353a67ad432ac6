"""A stereo file as a call, through the whole pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stream.demo.conversation import AUDIO
from stream.errors import AudioFormatError, SourceError
from stream.events import AlertEvent, CallEvent, EmotionEvent, Event, HealthEvent, SpeakerEvent, StreamEvent, TurnEvent
from stream.models.devices import limit_threads
from stream.models.vad import SileroVad
from stream.pipeline.pipeline import Pipeline, Report
from stream.settings import Settings, SourceSettings
from stream.sources.file import FileSource
from stream.types import AudioFormat, Block, Task
from tests.support.fakes import FakeDetector, FakeModel, FakeSource, ListSink
from tests.support.requirements import labelled_audio
from tests.support.small_models import load_small_models

SETTINGS = Settings()
MODELS = load_small_models()
DETECTOR = SileroVad()
LOUD = np.random.default_rng(5).uniform(-0.4, 0.4, 16_000 * 8).astype(np.float32)
QUIET = np.zeros_like(LOUD)


def by_source(events: Sequence[Event]) -> dict[str, list[dict[str, Any]]]:
    """Return the events of each source, without the fields that depend on the time of day or are free text."""
    wall = {"id", "session", "time", "latency_ms", "detail"}
    grouped: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if not isinstance(event, HealthEvent):
            grouped.setdefault(event.source, []).append(event.model_dump(exclude=wall))
    return grouped


def run_models(source: Any, **settings: Any) -> tuple[list[Event], Report]:
    sink = ListSink()
    pipeline = Pipeline(
        settings=Settings.model_validate(settings),
        sources=[source],
        models=MODELS,
        detector=DETECTOR,
        sinks={"list": sink},
        thread_setup=limit_threads,
    )
    return sink.events, asyncio.run(pipeline.run())


def run_fakes(*sources: Any, **settings: Any) -> list[Event]:
    sink = ListSink()
    pipeline = Pipeline(
        settings=Settings.model_validate(settings),
        sources=sources,
        models=[FakeModel(), FakeModel(task=Task.SPEAKER)],
        detector=FakeDetector(),
        sinks={"list": sink},
    )
    asyncio.run(pipeline.run())
    return sink.events


def stereo(left: np.ndarray, right: np.ndarray, *, channels: str = "customer-agent", size: int = 4_000) -> FakeSource:
    frames = np.stack([left, right], axis=1)
    blocks = [Block("desk", start, frames[start : start + size]) for start in range(0, len(frames), size)]
    return FakeSource(blocks, source_id="desk", channels=channels, audio_format=AudioFormat(16_000, 2))


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled conversation on the left and, delayed, on the right: both parties speak, at times together."""
    samples, rate = soundfile.read(AUDIO, stop=16_000 * 20, dtype="float32")
    path: Path = tmp_path_factory.mktemp("call") / "desk.wav"
    soundfile.write(path, np.stack([samples, np.roll(samples, 16_000 * 5)], axis=1), rate)
    return path


@pytest.mark.slow
def test_a_stereo_file_is_a_call(conversation: Path) -> None:
    source = FileSource(settings=SourceSettings(target=str(conversation), id="desk", channels="customer-agent"))
    events, report = run_models(source)
    grouped = by_source(events)
    assert set(grouped) == {"desk", "desk-customer", "desk-agent"}
    assert not report.failures
    for event in events:
        if not isinstance(event, HealthEvent):
            assert event.call == "desk"
            assert event.party == {"desk": None, "desk-customer": "customer", "desk-agent": "agent"}[event.source]
    final = events[-2]
    assert isinstance(final, CallEvent)
    assert final.phase == "final"
    assert final.end_s == 20.0
    assert final.customer_s + final.agent_s + final.silence_s + final.crosstalk_s == pytest.approx(20.0, abs=3e-6)
    assert {row.party for row in final.parties} == {"customer", "agent"}
    for numbered in grouped.values():
        assert [event["seq"] for event in numbered] == list(range(len(numbered)))
    assert {event.speaker for event in events if isinstance(event, TurnEvent)} == {"customer", "agent"}
    by_name = {lane.model: lane for lane in report.health.lanes}
    assert by_name["compact-speaker"].submitted == 0, "separate tracks need no speaker model"
    times = {
        event.source: event.time for event in events if isinstance(event, StreamEvent) and event.state == "started"
    }
    assert len(set(times.values())) == 1, "one clock for all tracks"


def test_the_agents_emotion_is_inferred_only_if_enabled() -> None:
    quiet = [event for event in run_fakes(stereo(QUIET, LOUD)) if isinstance(event, EmotionEvent)]
    assert not quiet
    events = run_fakes(stereo(LOUD, LOUD))
    assert {event.source for event in events if isinstance(event, EmotionEvent)} == {"desk-customer"}
    models = {event.source: event.models for event in events if isinstance(event, TurnEvent)}
    assert not models["desk-agent"]
    assert [model.name for model in models["desk-customer"]] == ["fake-emotion"]
    rows = next(event for event in reversed(events) if isinstance(event, CallEvent)).parties
    assert [row.emotion is None for row in rows] == [False, True]
    both = run_fakes(stereo(LOUD, LOUD), calls={"agent_emotion": True})
    assert {event.source for event in both if isinstance(event, EmotionEvent)} == {"desk-customer", "desk-agent"}


@pytest.mark.slow
@pytest.mark.parametrize("size", [997, 16_000, 48_000])
def test_block_sizes_do_not_change_the_events_of_a_call(size: int) -> None:
    left, right = LOUD.copy(), np.roll(LOUD, 8_000)
    left[16_000:32_000], right[64_000:96_000] = 0, 0
    assert by_source(run_fakes(stereo(left, right, size=size))) == by_source(run_fakes(stereo(left, right)))


def test_channels_can_be_swapped() -> None:
    events = run_fakes(stereo(LOUD, QUIET, channels="agent-customer"))
    assert {event.source for event in events if isinstance(event, SpeakerEvent) and event.speaker} == {"desk-agent"}


def test_a_single_track_is_a_call_with_one_party() -> None:
    source = FakeSource([Block("desk", 0, LOUD[:, None])], source_id="desk", channels="customer")
    events = run_fakes(source)
    final = next(event for event in reversed(events) if isinstance(event, CallEvent))
    assert [row.party for row in final.parties] == ["customer"]
    assert (final.agent_s, final.crosstalk_s) == (0.0, 0.0)


def test_two_sources_can_be_tracks_of_one_call() -> None:
    left, right = LOUD.copy(), np.roll(LOUD, 8_000)
    left[16_000:48_000] = 0
    tracks = [
        FakeSource([Block("desk", 0, audio[:, None])], source_id="desk", channels=party)
        for party, audio in (("customer", left), ("agent", right))
    ]
    assert by_source(run_fakes(*tracks)) == by_source(run_fakes(stereo(left, right)))


def test_dead_air_is_reported_and_ends_with_the_call() -> None:
    events = run_fakes(stereo(QUIET, QUIET), alerts={"dead_air_s": 3.0})
    alerts = [event for event in events if isinstance(event, AlertEvent)]
    assert [(one.phase, one.kind, one.start_s, one.end_s) for one in alerts] == [
        ("start", "dead_air", 3.0, 3.0),
        ("end", "dead_air", 3.0, 8.0),
    ]


def test_a_gap_of_both_tracks_is_neither_speech_nor_silence() -> None:
    frames = np.stack([LOUD, LOUD], axis=1)
    blocks = [Block("desk", 0, frames[:48_000]), Block("desk", 80_000, frames[80_000:])]
    source = FakeSource(blocks, source_id="desk", channels="customer-agent", audio_format=AudioFormat(16_000, 2))
    final = next(event for event in reversed(run_fakes(source)) if isinstance(event, CallEvent))
    assert (final.silence_s, final.lost_s, final.crosstalk_s, final.end_s) == (0.0, 2.0, 6.0, 8.0)


def test_sources_that_form_no_call_are_rejected() -> None:
    mono = FakeSource([Block("desk", 0, LOUD[:, None])], source_id="desk", channels="customer-agent")
    with pytest.raises(AudioFormatError, match="two-channel audio"):
        run_fakes(mono)
    twice = [FakeSource([Block("desk", 0, LOUD[:, None])], source_id="desk", channels="customer") for _ in range(2)]
    with pytest.raises(SourceError, match="already has a customer track"):
        run_fakes(*twice)


@pytest.mark.long
def test_talk_time_of_a_telephone_call_matches_the_channels_energy() -> None:
    """The reference was made from the energy of each channel."""
    path = labelled_audio() / "calls" / "autorepair_40.flac"
    source = FileSource(settings=SourceSettings(target=str(path), id="call", channels="customer-agent"))
    events, _ = run_models(source)
    final = next(event for event in reversed(events) if isinstance(event, CallEvent))
    reference = {"caller": 0.0, "agent": 0.0}
    for line in path.with_suffix(".rttm").read_text().splitlines():
        fields = line.split()
        reference[fields[7]] += float(fields[4])
    for row, name in zip(final.parties, ("caller", "agent"), strict=True):
        assert row.talk_s == pytest.approx(reference[name], rel=0.15)
