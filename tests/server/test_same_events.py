"""A stereo call over any telephone protocol yields the same events, at the same times, as from a file."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stream.demo.conversation import AUDIO
from stream.events import Event
from stream.models.vad import SileroVad
from stream.pipeline.pipeline import Pipeline
from stream.settings import Settings, SourceSettings
from stream.sources.file import FileSource
from tests.server.telephone import SYSTEMS, StereoCall
from tests.support.fakes import ListSink
from tests.support.node import network_node
from tests.support.requirements import labelled_audio
from tests.support.small_models import load_small_models

pytestmark = pytest.mark.slow

MODELS = load_small_models()
DETECTOR = SileroVad()


def comparable(events: Sequence[Event]) -> dict[str, list[dict[str, Any]]]:
    """Return the events by party, without fields that differ between runs: names and times of day, not media times."""
    varying = {"id", "session", "time", "latency_ms", "detail", "outcome", "source", "call"}
    by_party: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        if event.call is not None:
            by_party.setdefault(str(event.party), []).append(event.model_dump(exclude=varying))
    return by_party


def from_file(call: StereoCall, folder: Path) -> dict[str, list[dict[str, Any]]]:
    sink = ListSink()
    path = call.save(folder / "desk.wav")
    source = FileSource(settings=SourceSettings(target=str(path), id="desk", channels="customer-agent"))
    pipeline = Pipeline(settings=Settings(), sources=[source], models=MODELS, detector=DETECTOR, sinks={"list": sink})
    asyncio.run(pipeline.run())
    return comparable(sink.events)


async def over_network(system: str, call: StereoCall) -> dict[str, list[dict[str, Any]]]:
    async with network_node(models=MODELS, detector=DETECTOR) as tested:
        await SYSTEMS[system](tested.listener, call)
        name = (await tested.first_event()).call
        await tested.wait_ended(f"{name}-customer", f"{name}-agent")
    return comparable(tested.sink.events)


WITHOUT_TIMES = frozenset({"jambonz", "vonage"})
"""Their messages have no times, so that a call takes as long as its audio: the short call is enough."""


@pytest.fixture(scope="module")
def short_call(tmp_path_factory: pytest.TempPathFactory) -> tuple[StereoCall, dict[str, list[dict[str, Any]]]]:
    """Twelve seconds of the bundled conversation; the right channel is shifted by three."""
    samples, _ = soundfile.read(AUDIO, stop=16_000 * 24, dtype="int16")
    left = samples[: 16_000 * 24 : 2]
    call = StereoCall.of(np.stack([left, np.roll(left, 8_000 * 3)], axis=1)[: 8_000 * 12])
    return call, from_file(call, tmp_path_factory.mktemp("call"))


@pytest.mark.parametrize(
    "system", [pytest.param(name, marks=pytest.mark.full) if name == "vonage" else name for name in sorted(SYSTEMS)]
)
def test_every_protocol_yields_the_events_of_the_file(
    system: str, short_call: tuple[StereoCall, dict[str, list[dict[str, Any]]]]
) -> None:
    call, expected = short_call
    assert set(expected) == {"None", "customer", "agent"}
    assert asyncio.run(over_network(system, call)) == expected


@pytest.fixture(scope="module")
def long_call(tmp_path_factory: pytest.TempPathFactory) -> tuple[StereoCall, dict[str, list[dict[str, Any]]]]:
    """Four minutes of a real call."""
    frames, _ = soundfile.read(labelled_audio() / "calls" / "autorepair_40.flac", dtype="int16")
    call = StereoCall.of(frames)
    return call, from_file(call, tmp_path_factory.mktemp("call"))


@pytest.mark.long
@pytest.mark.parametrize(
    "system",
    [
        name if name == "twilio" else pytest.param(name, marks=pytest.mark.full)
        for name in sorted(SYSTEMS.keys() - WITHOUT_TIMES)
    ],
)
def test_four_minutes_of_a_real_call(
    system: str, long_call: tuple[StereoCall, dict[str, list[dict[str, Any]]]]
) -> None:
    call, expected = long_call
    assert asyncio.run(over_network(system, call)) == expected
