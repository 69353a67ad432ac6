"""Running nodes for tests: one that listens on loopback, and one of tone voices that can be enrolled."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stream.control.commands import COMMANDS
from stream.control.dispatcher import CommandDispatcher
from stream.events import Event, HealthEvent, StreamEvent
from stream.pipeline.pipeline import Pipeline
from stream.profiles.registrar import Registrar
from stream.server.gateway import Gateway
from stream.server.listener import NetworkListener
from stream.settings import Settings
from stream.tracking.voice import Voice
from stream.types import (
    SAMPLE_RATE_HZ,
    AudioFormat,
    Block,
    Interruption,
    Model,
    Samples,
    Sink,
    Source,
    SpeechDetector,
    Task,
)
from tests.support.fakes import FakeDetector, FakeModel, FakeSource, ListSink
from tests.support.tones import ToneModel
from tests.support.waiting import wait_until

UNTHROTTLED: dict[str, dict[str, Any]] = {
    "serve": {"port": 0, "audiosocket_port": 0, "max_ahead_s": 3600.0},
    "pool": {"queue_windows": 1024, "deadline_ms": 60_000},
}
"""Settings under which audio may arrive faster than real time and no window is dropped."""

WAIT_ENDED_S = 120.0
PITCHES_HZ = {"a": 400.0, "b": 1_100.0, "-": 0.0}


class Node:
    """A pipeline and the sink that collects its events."""

    pipeline: Pipeline

    def __init__(self) -> None:
        self.sink = ListSink()

    @property
    def events(self) -> list[Event]:
        """All events but health."""
        return [event for event in self.sink.events if not isinstance(event, HealthEvent)]

    async def first_event(self) -> Event:
        """Wait for the first event and return it."""
        await self.sink.first.wait()
        return self.events[0]

    def ended(self, *streams: str) -> bool:
        """Whether all these streams have ended."""
        return set(streams) <= {
            event.source for event in self.events if isinstance(event, StreamEvent) and event.state == "ended"
        }


class NetworkNode(Node):
    """A node whose audio arrives over the network."""

    def __init__(self, *, gateway: Gateway, listener: NetworkListener) -> None:
        super().__init__()
        self.gateway = gateway
        self.listener = listener

    async def wait_ended(self, *streams: str) -> None:
        """Wait until these streams have ended and no connection is left."""
        await wait_until(lambda: self.ended(*streams) and not self.gateway.statistics().streams, timeout_s=WAIT_ENDED_S)

    @property
    def rejected(self) -> Counter[str]:
        """Connections that were rejected or closed by the node, by reason."""
        return sum((Counter(row.refused) for row in self.gateway.statistics().protocols), Counter())


@asynccontextmanager
async def network_node(
    *,
    models: Sequence[Model] = (),
    detector: SpeechDetector | None = None,
    enrolled: Sequence[Voice] = (),
    mounts: Any = (),
    **changed: Any,
) -> AsyncIterator[NetworkNode]:
    """Run a node on loopback, with fake models unless others are given; `changed` are settings by branch."""
    branches = {*UNTHROTTLED, *changed}
    settings = Settings.model_validate({key: {**UNTHROTTLED.get(key, {}), **changed.get(key, {})} for key in branches})
    gateway = Gateway(settings=settings.serve)
    async with NetworkListener(gateway=gateway, mounts=mounts) as listener:
        node = NetworkNode(gateway=gateway, listener=listener)
        node.pipeline = Pipeline(
            settings=settings,
            sources=[],
            models=models or [FakeModel(), FakeModel(task=Task.SPEAKER)],
            detector=detector or FakeDetector(),
            sinks={"list": node.sink, "clients": gateway.clients},
            enrolled=enrolled,
            keep_running=True,
        )
        running = asyncio.create_task(node.pipeline.run())
        await asyncio.sleep(0)
        gateway.attach(node.pipeline)
        try:
            yield node
        finally:
            node.pipeline.stop()
            await running


def voiced_second(person: str) -> Samples:
    """Return one second of a tone voice, or (`-`) of silence; (n, 1)."""
    time_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    return np.asarray(0.3 * np.sin(2 * np.pi * PITCHES_HZ[person] * time_s)[:, None], np.float32)


Step = str | Callable[[], Awaitable[Any]]


class ScriptedSource(FakeSource):
    """Seconds of tone voices, and actions between them: `"aa", ask, "a-bb"`."""

    def __init__(self, *steps: Step, name: str = "room") -> None:
        super().__init__([], source_id=name, channels="mix", audio_format=AudioFormat(SAMPLE_RATE_HZ, 1))
        self._steps = steps

    async def _generate_blocks(self) -> AsyncIterator[Block | Interruption]:
        number = 0
        for step in self._steps:
            if not isinstance(step, str):
                await step()
                continue
            for person in step:
                yield Block(self.id, number * SAMPLE_RATE_HZ, voiced_second(person))
                number += 1


class EnrolmentNode(Node):
    """A node of tone voices with a registrar and a command dispatcher; `assemble` must run inside the event loop."""

    dispatcher: CommandDispatcher

    def __init__(self, path: Path | str, **speakers: Any) -> None:
        super().__init__()
        branches = {"speakers": {"profiles": str(path), **speakers}, "pool": UNTHROTTLED["pool"]}
        self.settings = Settings.model_validate(branches)
        self.registrar = Registrar(settings=self.settings)

    async def assemble(
        self, *sources: Source, sinks: Mapping[str, Sink] | None = None, keep_running: bool = False
    ) -> None:
        """Build the pipeline as `stream.app` does, with a tone model."""
        model, detector = ToneModel(Task.SPEAKER), FakeDetector()
        self.pipeline = Pipeline(
            settings=self.settings,
            sources=sources,
            models=[model],
            detector=detector,
            sinks={"list": self.sink, **(sinks or {})},
            enrolled=await self.registrar.read(model, detector),
            keep_running=keep_running,
        )
        self.registrar.attach(self.pipeline)
        self.dispatcher = CommandDispatcher(pipeline=self.pipeline, handlers=self.registrar.handlers)

    async def ask(self, **command: str | bool) -> dict[str, Any]:
        """Return the reply to a command."""
        reply = await self.dispatcher.answer(json.dumps(command), allowed=COMMANDS)
        found: dict[str, Any] = json.loads(reply.model_dump_json())
        return found

    async def wait_voice(self, name: str, *, source: str = "room", speech_s: float = 4.0) -> None:
        """Wait until a stream has discovered a voice with this much speech or, for an enrolled one, recognises it."""

        def is_known() -> bool:
            _, voice = self.pipeline.session_voice(source, name)
            return voice is not None and (voice.enrolled or sum(seconds for _, seconds in voice.recent) >= speech_s)

        await wait_until(is_known)
