"""Commands on a running pipeline: pause, resume, status, and their dispatch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import numpy as np
import pytest

from stream.control.commands import COMMANDS, EnrollCommand, NodeStatus
from stream.control.dispatcher import DEFECT, CommandDispatcher
from stream.errors import SettingsError, SourceNotFound
from stream.events import EmotionEvent, StreamEvent, TurnEvent
from stream.pipeline.pipeline import Pipeline
from stream.settings import Settings
from stream.types import AudioFormat, Block, Interruption, Task
from tests.support.fakes import FakeDetector, FakeModel, FakeSource, ListSink

LOUD = np.random.default_rng(5).uniform(-0.4, 0.4, (16_000, 2)).astype(np.float32)


class SteppedSource(FakeSource):
    """Yields one second of audio per step, after running the step."""

    def __init__(self, *steps: Callable[[], Awaitable[Any]] | None, channels: str = "1", name: str = "room") -> None:
        super().__init__([], source_id=name, channels=channels, audio_format=AudioFormat(16_000, 2))
        self._steps = steps

    async def _generate_blocks(self) -> AsyncIterator[Block | Interruption]:
        for number, step in enumerate(self._steps):
            if step is not None:
                await step()
            yield Block(self.id, number * 16_000, LOUD)


def run_steps(*steps: Callable[[Pipeline], Awaitable[Any]] | None, channels: str = "1") -> tuple[Pipeline, ListSink]:
    """Run a pipeline for one second of audio per step; a step gets the pipeline before its audio is processed."""

    def bound(step: Callable[[Pipeline], Awaitable[Any]] | None) -> Callable[[], Awaitable[Any]] | None:
        return None if step is None else lambda: step(run)

    sink = ListSink()
    run = Pipeline(
        settings=Settings(),
        sources=[SteppedSource(*map(bound, steps), channels=channels)],
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


def state_changes(sink: ListSink, stream: str = "room") -> list[tuple[str, float, float]]:
    return [(e.state, e.end_s, e.lost_s) for e in sink.events if isinstance(e, StreamEvent) and e.source == stream]


def test_paused_audio_is_never_processed() -> None:
    run, sink = run_steps(None, None, None, pause(), None, None, resume(), None, None)
    assert state_changes(sink) == [
        ("started", 0.0, 0.0),
        ("paused", 3.0, 0.0),
        ("resumed", 3.0, 0.0),
        ("gap", 6.0, 3.0),
        ("ended", 9.0, 0.0),
    ]
    turns = [event for event in sink.events if isinstance(event, TurnEvent) and event.phase == "end"]
    assert [(round(turn.start_s), round(turn.end_s)) for turn in turns] == [(0, 3), (6, 9)], "open turns are ended"
    emotions = [event for event in sink.events if isinstance(event, EmotionEvent)]
    assert not [event for event in emotions if 3.0 < event.end_s < 6.5]
    assert not [event for event in emotions if event.start_s < 3.0 and event.end_s > 6.0]
    assert run.status().streams[0].speech_s == pytest.approx(6.0, abs=0.1)


def test_a_stream_that_ends_paused_ends_with_its_audio() -> None:
    _, sink = run_steps(None, pause(), None)
    assert state_changes(sink) == [("started", 0.0, 0.0), ("paused", 1.0, 0.0), ("gap", 3.0, 2.0), ("ended", 3.0, 0.0)]


def test_repeated_pause_and_resume_have_no_effect() -> None:
    _, sink = run_steps(resume(), pause(), pause(), resume(), resume())
    assert [state for state, _, _ in state_changes(sink)] == ["started", "paused", "resumed", "gap", "ended"]


def test_one_channel_can_be_paused_alone() -> None:
    run, sink = run_steps(None, pause("room-2"), None, channels="split")
    assert [state for state, _, _ in state_changes(sink, "room-1")] == ["started", "ended"]
    assert [state for state, _, _ in state_changes(sink, "room-2")] == ["started", "paused", "gap", "ended"]
    assert {(row.source, row.stream) for row in run.status().streams} == {("room", "room-1"), ("room", "room-2")}
    _, sink = run_steps(None, pause("room"), None, channels="split")
    assert all("paused" in [s for s, _, _ in state_changes(sink, stream)] for stream in ("room-1", "room-2"))


def test_status_reports_the_state_of_every_stream() -> None:
    seen: list[NodeStatus] = []

    async def observe(run: Pipeline) -> None:
        seen.append(run.status())

    async def observe_paused(run: Pipeline) -> None:
        await run.pause("room")
        seen.append(run.status())

    run, _ = run_steps(observe, observe_paused, None)
    states = [status.streams[0].state for status in (*seen, run.status())]
    assert states == ["listening", "paused", "ended"]
    assert run.status().streams[0].audio_s == 3.0


def test_an_unknown_source_is_refused() -> None:
    async def check(run: Pipeline) -> None:
        with pytest.raises(SourceNotFound, match="unknown source 'cellar'"):
            await run.pause("cellar")

    run_steps(check)


class RecordingPipeline:
    """Records the commands it receives."""

    def __init__(self) -> None:
        self.received: list[str] = []

    async def pause(self, source_id: str) -> None:
        if source_id != "room":
            raise SourceNotFound(f"unknown source {source_id!r}")
        self.received.append(f"pause {source_id}")

    async def resume(self, source_id: str) -> None:
        self.received.append(f"resume {source_id}")

    def status(self) -> NodeStatus:
        return NodeStatus(up_s=1.0, streams=())


def answer_to(payload: str, **parts: Any) -> dict[str, Any]:
    dispatcher = CommandDispatcher(pipeline=parts.pop("pipeline", RecordingPipeline()), **parts)
    reply: dict[str, Any] = json.loads(asyncio.run(dispatcher.answer(payload, allowed=COMMANDS)).model_dump_json())
    return reply


def test_a_command_is_executed_and_answered() -> None:
    target = RecordingPipeline()
    answer = answer_to('{"command": "pause", "source": "room", "id": "1"}', pipeline=target)
    assert answer == {
        "id": "1",
        "command": "pause",
        "ok": True,
        "result": {"source": "room", "state": "paused"},
        "error": None,
    }
    assert answer_to('{"command": "resume", "source": "room"}', pipeline=target)["ok"]
    assert target.received == ["pause room", "resume room"]
    assert answer_to('{"command": "status"}')["result"] == {"up_s": 1.0, "streams": []}


def test_a_refused_command_is_answered_with_its_id() -> None:
    assert answer_to('{"command": "dance", "id": "9"}')["id"] == "9"
    assert "unknown source 'cellar'" in answer_to('{"command": "pause", "source": "cellar"}')["error"]


def test_enroll_and_reload_need_a_handler() -> None:
    async def enroll(command: EnrollCommand) -> Mapping[str, Any]:
        if command.name == "Bob":
            raise SettingsError("not enough speech of Bob")
        return {"name": command.name}

    payload = '{"command": "enroll", "name": "%s", "source": "room"}'
    assert answer_to(payload % "Ann")["error"] == "command 'enroll' is not available on this node"
    assert answer_to(payload % "Ann", handlers={"enroll": enroll})["result"] == {"name": "Ann"}
    assert "not enough speech" in answer_to(payload % "Bob", handlers={"enroll": enroll})["error"]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"id":"\\ud800"}',
        '{"id":"\\ud800"}',
        '{"command":"status","id":"\ud800"}',
        b'{"command":"pause","source":"\\ud800","id":"1"}',
        b"[" * 4_000,
        b'{"command":"status","id":' + b"9" * 4_000 + b"}",
    ],
)
def test_hostile_text_gets_a_reply_that_can_be_sent(payload: bytes | str) -> None:
    async def check(pipeline: Pipeline) -> None:
        reply = await CommandDispatcher(pipeline=pipeline).answer(payload, COMMANDS)
        assert not reply.ok
        assert json.loads(reply.model_dump_json())["error"]

    run_steps(check)


def test_a_defect_of_a_handler_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(command: EnrollCommand) -> Mapping[str, Any]:
        raise ZeroDivisionError(command)

    async def check(pipeline: Pipeline) -> None:
        dispatcher = CommandDispatcher(pipeline=pipeline, handlers={"enroll": broken})
        reply = await dispatcher.answer('{"command":"enroll","name":"Ann","source":"room","id":"7"}', COMMANDS)
        assert (reply.ok, reply.id, reply.error) == (False, "7", DEFECT)

    run_steps(check)
    assert "ZeroDivisionError" in caplog.text
