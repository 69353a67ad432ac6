"""tonewatch inside a program: sessions, feeds, and the iterator without an event loop; with the small nets."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import stream
from stream.app import session as sessions
from stream.demo.conversation import AUDIO, ENROLMENTS
from stream.errors import AudioFormatError, EnrolmentRefused, SettingsError, SourceNotFound
from tests.support.command import run_command

pytestmark = pytest.mark.slow

EXCERPT_S = 9.0


@pytest.fixture(scope="module")
def excerpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The start of the bundled conversation: two people."""
    samples, rate_hz = soundfile.read(AUDIO, dtype="int16", frames=round(EXCERPT_S * 16_000))
    path = tmp_path_factory.mktemp("audio") / "room.wav"
    soundfile.write(path, samples, rate_hz)
    return path


@pytest.fixture(scope="module")
def samples(excerpt: Path) -> Any:
    return soundfile.read(excerpt, dtype="int16")[0]


def session() -> stream.Session:
    return stream.Session("tiny", profiles="")


def comparable(events: Iterable[stream.Event]) -> list[dict[str, Any]]:
    """Return the events without ids, times, and the node's health."""
    varying = {"id", "session", "time", "latency_ms", "detail"}
    return [event.model_dump(exclude=varying) for event in events if event.type != "health"]


async def events_of(feed: stream.AudioFeed) -> list[stream.Event]:
    return [event async for event in feed]


def test_events_are_those_of_the_command_line(excerpt: Path, tmp_path: Path) -> None:
    async def run() -> list[stream.Event]:
        async with session() as opened:
            return [event async for event in opened.run(excerpt)]

    recorded = tmp_path / "events.ndjson"
    run_command("run", excerpt, "--preset", "tiny", "--profiles", "", "--sink", recorded, "--quiet")
    assert comparable(asyncio.run(run())) == comparable(map(stream.from_json, recorded.read_text().splitlines()))


@pytest.mark.parametrize("block_frames", [1_600, 30_000])
@pytest.mark.parametrize("kind", ["int16", "float32"])
def test_a_feed_gives_the_events_of_the_file(excerpt: Path, samples: Any, block_frames: int, kind: str) -> None:
    blocks = samples if kind == "int16" else np.asarray(samples / 32_768, np.float32)

    async def run() -> tuple[list[stream.Event], list[stream.Event]]:
        async with session() as opened:
            expected = [event async for event in opened.run(excerpt)]
            feed = opened.open("room", rate_hz=16_000, live=False)
            reader = asyncio.create_task(events_of(feed))
            for start in range(0, len(blocks), block_frames):
                await feed.write(blocks[start : start + block_frames])
            await feed.end()
            return expected, await reader

    expected, fed = asyncio.run(run())
    assert comparable(fed) == comparable(expected)


def test_live_feeds_run_side_by_side_and_end(samples: Any) -> None:
    async def run() -> list[list[stream.Event]]:
        async with session() as opened:
            feeds = [opened.open(name, rate_hz=16_000) for name in ("hall", "kitchen")]
            readers = [asyncio.create_task(events_of(feed)) for feed in feeds]
            for feed in feeds:
                async with feed:
                    await feed.write(samples)
            found = await asyncio.gather(*readers)
            again = opened.open("hall", rate_hz=16_000)  # the name is free again
            await again.end()
            return [*found, await events_of(again)]

    hall, kitchen, again = asyncio.run(run())
    assert {event.source for event in hall} == {event.source for event in again} == {"hall"}
    assert {event.source for event in kitchen} == {"kitchen"}
    assert any(isinstance(event, stream.TurnEvent) for event in hall)
    assert all(stream.from_json(stream.to_json(event)) == event for event in hall)


def test_lost_frames_are_a_gap(samples: Any) -> None:
    async def run() -> list[stream.Event]:
        async with session() as opened:
            feed = opened.open("room", rate_hz=16_000, live=False)
            await feed.write(samples[:32_000])
            await feed.write(samples[32_000:], lost_frames=16_000)
            await feed.end()
            return await events_of(feed)

    gaps = [event for event in asyncio.run(run()) if isinstance(event, stream.StreamEvent) and event.state == "gap"]
    assert [gap.lost_s for gap in gaps] == [1.0]


def test_wrong_samples_and_names_are_refused_in_a_sentence(samples: Any) -> None:
    async def run() -> None:
        async with session() as opened:
            feed = opened.open("room", rate_hz=16_000, channels=2)
            for wrong, reason in [
                (samples, "shape"),
                (np.zeros((10, 2), np.int32), "int32"),
                (np.full((10, 2), np.nan, np.float32), "not finite"),
            ]:
                with pytest.raises(AudioFormatError, match=reason):
                    await feed.write(wrong)
            with pytest.raises(AudioFormatError, match="lost_frames"):
                await feed.write(np.zeros((10, 2), np.float32), lost_frames=-1)
            with pytest.raises(AudioFormatError, match="already open"):
                opened.open("room", rate_hz=16_000)
            with pytest.raises(SettingsError, match="rate_hz"):
                opened.open("hall", rate_hz=7)
            await feed.end()
            with pytest.raises(AudioFormatError, match="has ended"):
                await feed.write(np.zeros((10, 2), np.int16))

    asyncio.run(run())


def test_a_missing_file_is_raised_and_the_session_goes_on(excerpt: Path) -> None:
    async def run() -> int:
        async with session() as opened:
            with pytest.raises(SourceNotFound, match="no such file"):
                async for _ in opened.run("nowhere.wav"):
                    pass
            return len([event async for event in opened.run(excerpt)])

    assert asyncio.run(run()) > 0


def test_leaving_the_loop_stops_the_run() -> None:
    async def run() -> None:
        async with session() as opened:
            async for _ in opened.run("demo", realtime=True):
                break
            feed = opened.open("room", rate_hz=16_000)
            await feed.write(np.zeros(16_000, np.float32))  # neither ended nor read

    asyncio.run(asyncio.wait_for(run(), 30))


def test_sessions_side_by_side_share_models_and_free_them() -> None:
    async def run() -> None:
        async with session() as one, session() as other:
            assert one._opened.loaded is other._opened.loaded
            assert one.settings.node == "tonewatch"

    asyncio.run(run())
    gc.collect()
    assert not sessions._loaded
    with pytest.raises(SettingsError, match="not open"):
        _ = session().settings


def test_voices_are_embedded_and_compared() -> None:
    alice, bob = (soundfile.read(ENROLMENTS[name], dtype="int16")[0] for name in ("Alice", "Bob"))
    half = len(alice) // 2

    async def run() -> None:
        async with session() as opened:
            first, second, other = (opened.embed(part, rate_hz=16_000) for part in (alice[:half], alice[half:], bob))
            assert np.linalg.norm(first.vector) == pytest.approx(1.0)
            assert first.speech_s > 2.0
            assert opened.compare(first, second) > 0.9
            assert opened.compare(first, other) < 0.1
            assert opened.compare(first, other) == opened.compare(other, first)
            with pytest.raises(EnrolmentRefused, match="too little"):
                opened.embed(np.zeros(16_000, np.int16), rate_hz=16_000)
            foreign = stream.Embedding(first.vector, "other", "1", 3.0)
            with pytest.raises(SettingsError, match="cannot be compared"):
                opened.compare(first, foreign)

    asyncio.run(run())


class TestListen:
    def test_without_and_within_an_event_loop(self, excerpt: Path) -> None:
        expected = comparable(stream.listen(excerpt, preset="tiny", profiles=""))

        async def notebook() -> list[dict[str, Any]]:
            return comparable(stream.listen(excerpt, preset="tiny", profiles=""))

        assert asyncio.run(notebook()) == expected
        assert any(event["type"] == "turn" for event in expected)

    def test_leaving_early_ends_the_thread(self) -> None:
        events = stream.listen("demo", preset="tiny", profiles="", realtime=True)
        assert next(events).type == "stream"
        events.close()  # type: ignore[attr-defined]
        assert not [thread for thread in threading.enumerate() if thread.name == "tonewatch listen"]

    def test_errors_reach_the_reader(self) -> None:
        with pytest.raises(SourceNotFound):
            list(stream.listen("nowhere.wav", preset="tiny", profiles=""))
        with pytest.raises(SettingsError, match="preset"):
            list(stream.listen("demo", preset="none"))
        with pytest.raises(SettingsError, match=r"turns\.pause_s"):
            list(stream.listen("demo", settings={"turns.pause_s": -1}))
