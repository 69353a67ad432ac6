"""Telling a running pipeline: pause, resume, status, and commands as they come from outside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import numpy as np
import pytest

from stream.control.commands import COMMANDS, EnrollCommand, NodeStatus
from stream.control.dispatcher import CommandDispatcher
from stream.errors import SettingsError, SourceNotFound
from stream.events import EmotionEvent, StreamEvent, TurnEvent
from stream.pipeline.pipeline import Pipeline
from stream.settings import Settings
from stream.types import AudioFormat, Block, Interruption, Task
from tests.support.fakes import FakeDetector, FakeModel, FakeSource, ListSink

LOUD = np.random.default_rng(5).uniform(-0.4, 0.4, (16_000, 2)).astype(np.float32)


class Driven(FakeSource):
    """Gives a second of sound at every step; what is to be done in between is done there."""

    def __init__(self, *steps: Callable[[], Awaitable[Any]] | None, channels: str = "1", name: str = "room") -> None:
        super().__init__([], source_id=name, channels=channels, audio_format=AudioFormat(16_000, 2))
        self._steps = steps

    async def _give(self) -> AsyncIterator[Block | Interruption]:
        for number, step in enumerate(self._steps):
            if step is not None:
                await step()
            yield Block(self.id, number * 16_000, LOUD)


def listen(*steps: Callable[[Pipeline], Awaitable[Any]] | None, channels: str = "1") -> tuple[Pipeline, ListSink]:
    """A run of a second a step; each step is handed the pipeline before its second is heard."""

    def bound(step: Callable[[Pipeline], Awaitable[Any]] | None) -> Callable[[], Awaitable[Any]] | None:
        return None if step is None else lambda: step(run)

    sink = ListSink()
    run = Pipeline(
        settings=Settings(),
        sources=[Driven(*map(bound, steps), channels=channels)],
        models=[FakeModel(), FakeModel(task=Task.SPEAKER)],
        detector=FakeDetector(),
        sinks={"sink": sink},
    )
    asyncio.run(run.run())
    return run, sink


def pause(name: str = "room") -> Callable[[Pipeline], Awaitable[None]]:
    return lambda run: run.pause(name)


def resume(name: str = "room") -> Callable[[Pipeline], Awaitable[None]]:
    return lambda run: run.resume(name)


def told(sink: ListSink, stream: str = "room") -> list[tuple[str, float, float]]:
    return [(e.state, e.end_s, e.lost_s) for e in sink.events if isinstance(e, StreamEvent) and e.source == stream]


def test_what_is_said_while_paused_is_never_heard() -> None:
    run, sink = listen(None, None, None, pause(), None, None, resume(), None, None)
    assert told(sink) == [
        ("started", 0.0, 0.0),
        ("paused", 3.0, 0.0),
        ("resumed", 3.0, 0.0),
        ("gap", 6.0, 3.0),
        ("ended", 9.0, 0.0),
    ]
    turns = [event for event in sink.events if isinstance(event, TurnEvent) and event.phase == "end"]
    assert [(round(turn.start_s), round(turn.end_s)) for turn in turns] == [(0, 3), (6, 9)], "open turns are ended"
    heard = [event for event in sink.events if isinstance(event, EmotionEvent)]
    assert not [event for event in heard if 3.0 < event.end_s < 6.5]
    assert not [event for event in heard if event.start_s < 3.0 and event.end_s > 6.0]
    assert run.status().streams[0].speech_s == pytest.approx(6.0, abs=0.1)


def test_an_end_in_a_pause_lies_where_the_sound_ended() -> None:
    _, sink = listen(None, pause(), None)
    assert told(sink) == [("started", 0.0, 0.0), ("paused", 1.0, 0.0), ("gap", 3.0, 2.0), ("ended", 3.0, 0.0)]


def test_pausing_twice_is_pausing_once_and_resuming_what_listens_is_nothing() -> None:
    _, sink = listen(resume(), pause(), pause(), resume(), resume())
    assert [state for state, _, _ in told(sink)] == ["started", "paused", "resumed", "gap", "ended"]


def test_one_channel_may_be_paused_alone() -> None:
    run, sink = listen(None, pause("room-2"), None, channels="split")
    assert [state for state, _, _ in told(sink, "room-1")] == ["started", "ended"]
    assert [state for state, _, _ in told(sink, "room-2")] == ["started", "paused", "gap", "ended"]
    assert {(row.source, row.stream) for row in run.status().streams} == {("room", "room-1"), ("room", "room-2")}
    _, sink = listen(None, pause("room"), None, channels="split")
    assert all("paused" in [s for s, _, _ in told(sink, stream)] for stream in ("room-1", "room-2"))


def test_status_says_what_every_stream_is_doing() -> None:
    seen: list[NodeStatus] = []

    async def look(run: Pipeline) -> None:
        seen.append(run.status())

    async def look_paused(run: Pipeline) -> None:
        await run.pause("room")
        seen.append(run.status())

    run, _ = listen(look, look_paused, None)
    states = [status.streams[0].state for status in (*seen, run.status())]
    assert states == ["listening", "paused", "ended"]
    assert run.status().streams[0].audio_s == 3.0


def test_a_source_that_is_not_there_is_said() -> None:
    async def check(run: Pipeline) -> None:
        with pytest.raises(SourceNotFound, match="no source 'cellar'; there are: room"):
            await run.pause("cellar")

    listen(check)


class Told:
    """Notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def pause(self, source_id: str) -> None:
        if source_id != "room":
            raise SourceNotFound(f"there is no source {source_id!r}")
        self.asked.append(f"pause {source_id}")

    async def resume(self, source_id: str) -> None:
        self.asked.append(f"resume {source_id}")

    def status(self) -> NodeStatus:
        return NodeStatus(up_s=1.0, streams=())


def ask(payload: str, **parts: Any) -> dict[str, Any]:
    control = CommandDispatcher(pipeline=parts.pop("pipeline", Told()), **parts)
    reply: dict[str, Any] = json.loads(asyncio.run(control.answer(payload, allowed=COMMANDS)).model_dump_json())
    return reply


def test_a_command_is_carried_out_and_answered() -> None:
    told = Told()
    answer = ask('{"command": "pause", "source": "room", "id": "1"}', pipeline=told)
    assert answer == {
        "id": "1",
        "command": "pause",
        "ok": True,
        "result": {"source": "room", "state": "paused"},
        "error": None,
    }
    assert ask('{"command": "resume", "source": "room"}', pipeline=told)["ok"]
    assert told.asked == ["pause room", "resume room"]
    assert ask('{"command": "status"}')["result"] == {"up_s": 1.0, "streams": []}


def test_a_refused_command_is_answered_with_its_id() -> None:
    assert ask('{"command": "dance", "id": "9"}')["id"] == "9"
    assert "no source 'cellar'" in ask('{"command": "pause", "source": "cellar"}')["error"]


def test_enrolling_and_reloading_are_up_to_whoever_assembles_the_node() -> None:
    async def enroll(command: EnrollCommand) -> Mapping[str, Any]:
        if command.name == "Bob":
            raise SettingsError("Bob has not been heard for long enough")
        return {"name": command.name}

    asked = '{"command": "enroll", "name": "%s", "source": "room"}'
    assert ask(asked % "Ann")["error"] == "this node cannot enroll; nothing was set up for it"
    assert ask(asked % "Ann", handlers={"enroll": enroll})["result"] == {"name": "Ann"}
    assert "long enough" in ask(asked % "Bob", handlers={"enroll": enroll})["error"]
