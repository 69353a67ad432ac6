"""Random byte strings into every parser: no crash, no hang, one clear error each.

Half of them are noise, half are valid input with a few bytes changed, which gets further. The seed is fixed, so that
failures are reproducible. 1,000 inputs each; `TONEWATCH_FUZZ=full python -m pytest tests/test_fuzz.py` runs 10,000.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from stream import events
from stream.control.commands import COMMANDS, CommandReply
from stream.control.dispatcher import CommandDispatcher
from stream.errors import AudioFormatError, SettingsError, SourceNotFound
from stream.settings import SourceSettings, build, config_folder
from stream.settings.loading import file_layer
from stream.sources.decoder_process import open_decoder
from stream.sources.file import FileSource
from stream.sources.pipe import PipeSource
from stream.types import Block
from tests.control.test_dispatcher import RecordingPipeline
from tests.support import examples

pytestmark = pytest.mark.slow

COUNT = 10_000 if os.environ.get("TONEWATCH_FUZZ") == "full" else 1_000
MAX_DURATION_S = 2.0
"""Limit for a single input, on a busy machine."""


def strings(seeds: list[bytes], *, count: int = COUNT, max_bytes: int = 400) -> Iterator[bytes]:
    """Yield noise, and valid input that was altered: bytes flipped, deleted, repeated or inserted."""
    draw = random.Random(6)
    for number in range(count):
        if number % 2:
            yield draw.randbytes(draw.randrange(max_bytes))
            continue
        text = bytearray(draw.choice(seeds))
        for _ in range(draw.randrange(1, 6)):
            place = draw.randrange(len(text) + 1)
            how = draw.randrange(4)
            if how == 0 and place < len(text):
                text[place] = draw.randrange(256)
            elif how == 1:
                del text[place : place + draw.randrange(1, 20)]
            elif how == 2:
                text[place:place] = text[: draw.randrange(40)]
            else:
                text[place:place] = draw.randbytes(draw.randrange(1, 8))
        yield bytes(text)


def feed(reader: Callable[[bytes], None], seeds: list[bytes], *, count: int = COUNT) -> None:
    """Pass all inputs to `reader`, which raises for an unexpected error."""
    for number, data in enumerate(strings(seeds, count=count)):
        started_s = time.thread_time()
        try:
            reader(data)
        except Exception as error:
            raise AssertionError(f"number {number}: {data!r}") from error
        assert time.thread_time() - started_s < MAX_DURATION_S, f"number {number} took long: {data!r}"


def one_sentence(error: BaseException) -> None:
    """Check that a message is one printable line of limited length."""
    text = str(error)
    assert text
    assert "\n" not in text
    assert len(text) < 2_000
    assert text.isprintable()


def test_settings_files(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"

    def read(data: bytes) -> None:
        file.write_bytes(data)
        try:
            build([file_layer(file)])
        except SettingsError as error:
            one_sentence(error)

    seeds = [path.read_bytes() for path in config_folder().glob("*.toml")]
    feed(read, [*seeds, b'[mqtt]\nqos = 1\ncommands = ["status"]\n[service]\nport = 9187\n'])


def test_events() -> None:
    def read(data: bytes) -> None:
        try:
            events.from_json(data)
        except ValidationError as error:
            one_sentence(ValueError(error.errors()[0]["type"]))

    bodies = (examples.turn(1), examples.emotion(), examples.speaker(), examples.stream("gap"))
    feed(read, [events.to_json(examples.event(body)).encode() for body in bodies])


def test_commands() -> None:
    control = CommandDispatcher(pipeline=RecordingPipeline())

    def read(data: bytes) -> None:
        reply = runner.run(control.answer(data, COMMANDS))
        assert isinstance(reply, CommandReply)
        assert reply.ok or reply.error
        if reply.error:
            one_sentence(ValueError(reply.error))
        json.loads(reply.model_dump_json())

    commands = [
        {"command": "pause", "source": "room", "id": "1"},
        {"command": "status"},
        {"command": "enroll", "name": "Zoë", "source": "room", "voice": "S1"},
    ]
    with asyncio.Runner() as runner:  # ends the tasks that an answer leaves behind
        feed(read, [json.dumps(one).encode() for one in commands])


@pytest.mark.parametrize("pcm_format", ["s16le", "f32le"])
def test_raw_pcm_on_standard_input(pcm_format: str) -> None:
    async def read(data: bytes) -> None:
        settings = SourceSettings.model_validate({"kind": "pipe", "pcm_format": pcm_format, "pcm_channels": 3})
        source = PipeSource(settings=settings, stdin=io.BytesIO(data))
        try:
            async with source.blocks() as blocks:
                async for block in blocks:
                    assert isinstance(block, Block)
                    assert np.isfinite(block.samples).all()
        except AudioFormatError as error:
            one_sentence(error)

    tone = np.sin(np.arange(300) / 10).astype("<f4").tobytes()
    with asyncio.Runner() as runner:
        feed(lambda data: runner.run(read(data)), [tone])


def damaged_recordings() -> list[bytes]:
    audio = np.sin(np.arange(2_000) / 10).astype(np.float32)
    seeds = []
    for kind in ("WAV", "FLAC", "OGG", "MP3"):
        buffer = io.BytesIO()
        soundfile.write(buffer, audio, 8_000, format=kind)
        seeds.append(buffer.getvalue())
    return seeds


@contextmanager
def standard_error_closed() -> Iterator[None]:
    """Drop what libraries in C write."""
    null = os.open(os.devnull, os.O_WRONLY)
    stderr = os.dup(2)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def test_decoders() -> None:
    def read(data: bytes) -> None:
        try:
            decoder = open_decoder(io.BytesIO(data), name="x.wav")
            while decoder.read(2_000) is not None:
                pass
        except AudioFormatError as error:
            one_sentence(error)

    with standard_error_closed():
        feed(read, damaged_recordings())


def test_recordings(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"

    async def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            async with FileSource(settings=SourceSettings(target=str(path))).blocks() as blocks:
                async for block in blocks:
                    assert np.isfinite(block.samples).all()
        except (AudioFormatError, SourceNotFound) as error:
            one_sentence(error)

    with standard_error_closed(), asyncio.Runner() as runner:
        feed(lambda data: runner.run(read(data)), damaged_recordings(), count=COUNT // 100)  # a process each
