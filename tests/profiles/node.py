"""A node of tones: everybody is a tone, and the speaker model tells tones apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stream.control.commands import COMMANDS
from stream.control.dispatcher import CommandDispatcher
from stream.pipeline.pipeline import Pipeline
from stream.profiles.registrar import Registrar
from stream.settings import Settings, SpeakersSettings
from stream.types import AudioFormat, Block, Interruption, Scores, Sink, Task, Window
from tests.support.fakes import FakeDetector, FakeModel, FakeSource

RATE_HZ = 16_000
TONES_HZ = {"a": 400, "b": 1_100, "-": 0}


class ToneModel(FakeModel):
    """The x-vector is how much of the sound lies in each of sixteen bands."""

    def __init__(self) -> None:
        super().__init__(task=Task.SPEAKER)

    def _score(self, window: Window) -> Scores:
        power = np.abs(np.fft.rfft(window.samples, 4_096))[: 16 * 64].reshape(16, 64).sum(axis=1)
        values = np.asarray(power / np.linalg.norm(power), np.float32)
        return Scores(self.info.name, window.source_id, window.index, window.start_sample, window.end_sample, values)


def second(person: str) -> np.ndarray:
    """A second of somebody, or (`-`) of nobody; (n, 1)."""
    tone = np.sin(2 * np.pi * TONES_HZ[person] * np.arange(RATE_HZ) / RATE_HZ)
    return np.asarray(0.3 * tone[:, None], np.float32)


Step = str | Callable[[], Awaitable[Any]]


class Script(FakeSource):
    """Seconds of people, and what is done between them: `"aa", ask, "a-bb"`."""

    def __init__(self, *steps: Step, name: str = "room") -> None:
        super().__init__([], source_id=name, channels="mix", audio_format=AudioFormat(RATE_HZ, 1))
        self._steps = steps

    async def _give(self) -> AsyncIterator[Block | Interruption]:
        number = 0
        for step in self._steps:
            if not isinstance(step, str):
                await step()
                continue
            for person in step:
                yield Block(self.id, number * RATE_HZ, second(person))
                number += 1


class Node:
    """A pipeline with its registrar and a control for it. Make it inside a loop, by `made`."""

    def __init__(self, path: Path | str, **speakers: Any) -> None:
        chosen = SpeakersSettings.model_validate({"profiles": str(path), **speakers})
        self.settings = Settings(speakers=chosen)
        self.registrar = Registrar(settings=self.settings)
        self.pipeline: Pipeline
        self.control: CommandDispatcher

    async def assemble(self, sources: Sequence[Script], sinks: dict[str, Sink]) -> None:
        """Like `assembly.assemble`, with tones for models."""
        model, detector = ToneModel(), FakeDetector()
        self.pipeline = Pipeline(
            settings=self.settings,
            sources=sources,
            models=[model],
            detector=detector,
            sinks=sinks,
            enrolled=await self.registrar.read(model, detector),
        )
        self.registrar.attach(self.pipeline)
        self.control = CommandDispatcher(pipeline=self.pipeline, handlers=self.registrar.handlers)

    async def ask(self, **command: str) -> dict[str, Any]:
        """The answer to a command."""
        reply = await self.control.answer(json.dumps(command), allowed=COMMANDS)
        found: dict[str, Any] = json.loads(reply.model_dump_json())
        return found

    async def heard(self, name: str, *, source: str = "room", seconds: float = 4.0) -> None:
        """Until the stream has met that voice, with so much speech of it; or, for an enrolled one, until it speaks."""
        async with asyncio.timeout(30):
            while True:
                _, voice = self.pipeline.met(source, name)
                if voice is not None and (voice.enrolled or sum(s for _, s in voice.recent) >= seconds):
                    return
                await asyncio.sleep(0)
