"""Ten thousand random byte strings into every reader: no crash, no hang, one clear error each.

Half of them are noise, half are good input with a few bytes changed, which gets further in. The same seed every time:
a failure can be looked at. `python -m pytest tests/test_fuzz.py` is the command.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import time
from collections.abc import Callable, Iterator
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
from stream.sources.file import FileSource
from stream.sources.pipe import PipeSource
from tests.control.test_dispatcher import RecordingPipeline
from tests.support import examples

COUNT = 10_000
LONGEST_S = 2.0
"""Of a single one; a busy machine included."""


def strings(seeds: list[bytes], *, longest: int = 400) -> Iterator[bytes]:
    """Noise, and good input that is slightly wrong: flipped, cut short, doubled or spliced."""
    chance = random.Random(6)
    for number in range(COUNT):
        if number % 2:
            yield chance.randbytes(chance.randrange(longest))
            continue
        text = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 6)):
            place = chance.randrange(len(text) + 1)
            how = chance.randrange(4)
            if how == 0 and place < len(text):
                text[place] = chance.randrange(256)
            elif how == 1:
                del text[place : place + chance.randrange(1, 20)]
            elif how == 2:
                text[place:place] = text[: chance.randrange(40)]
            else:
                text[place:place] = chance.randbytes(chance.randrange(1, 8))
        yield bytes(text)


def feed(reader: Callable[[bytes], None], seeds: list[bytes], **more: int) -> None:
    """All of them; `reader` raises when an error is not the one it should be."""
    for number, data in enumerate(strings(seeds, **more)):
        began = time.perf_counter()
        try:
            reader(data)
        except Exception as error:
            raise AssertionError(f"number {number}: {data!r}") from error
        assert time.perf_counter() - began < LONGEST_S, f"number {number} took long: {data!r}"


def one_sentence(error: BaseException) -> None:
    """What a person can act on: a line, not a screen, and nothing that a terminal would obey."""
    text = str(error)
    assert text
    assert "\n" not in text
    assert len(text) < 2_000
    assert text.isprintable()


def test_the_reader_of_settings(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"

    def read(data: bytes) -> None:
        file.write_bytes(data)
        try:
            build([file_layer(file)])
        except SettingsError as error:
            one_sentence(error)

    seeds = [path.read_bytes() for path in config_folder().glob("*.toml")]
    feed(read, [*seeds, b'[mqtt]\nqos = 1\ncommands = ["status"]\n[service]\nport = 9187\n'])


def test_the_reader_of_events() -> None:
    def read(data: bytes) -> None:
        try:
            events.from_json(data)
        except ValidationError as error:
            one_sentence(ValueError(error.errors()[0]["type"]))

    bodies = (examples.turn(1), examples.emotion(), examples.speaker(), examples.stream("gap"))
    feed(read, [events.to_json(examples.event(body)).encode() for body in bodies])


def test_the_command_topic() -> None:
    control = CommandDispatcher(pipeline=RecordingPipeline())

    def read(data: bytes) -> None:
        reply = loop.run_until_complete(control.answer(data, COMMANDS))
        assert isinstance(reply, CommandReply)
        assert reply.ok or reply.error
        if reply.error:
            one_sentence(ValueError(reply.error))
        json.loads(reply.model_dump_json())

    loop = asyncio.new_event_loop()
    asked = [
        {"command": "pause", "source": "room", "id": "1"},
        {"command": "status"},
        {"command": "enroll", "name": "Zoë", "source": "room", "voice": "S1"},
    ]
    feed(read, [json.dumps(one).encode() for one in asked])
    loop.close()


@pytest.mark.parametrize("pcm_format", [pytest.param("s16le", marks=pytest.mark.slow), "f32le"])
def test_raw_pcm_on_standard_input(pcm_format: str) -> None:
    async def read(data: bytes) -> None:
        settings = SourceSettings.model_validate({"kind": "pipe", "pcm_format": pcm_format, "pcm_channels": 3})
        source = PipeSource(settings=settings, stdin=io.BytesIO(data))
        try:
            async with source.blocks() as blocks:
                async for block in blocks:
                    assert np.isfinite(block.samples).all()
        except AudioFormatError as error:
            one_sentence(error)

    tone = np.sin(np.arange(300) / 10).astype("<f4").tobytes()
    with asyncio.Runner() as runner:
        feed(lambda data: runner.run(read(data)), [tone])


@pytest.mark.slow
def test_the_decoder_of_recordings(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"

    async def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            async with FileSource(settings=SourceSettings(target=str(path))).blocks() as blocks:
                async for block in blocks:
                    assert np.isfinite(block.samples).all()
        except (AudioFormatError, SourceNotFound) as error:
            one_sentence(error)

    sound = np.sin(np.arange(2_000) / 10).astype(np.float32)
    seeds = []
    for kind in ("WAV", "FLAC", "OGG", "MP3"):
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, 8_000, format=kind)
        seeds.append(buffer.getvalue())
    quiet = os.open(os.devnull, os.O_WRONLY)
    kept = os.dup(2)
    os.dup2(quiet, 2)  # libmpg123 says on standard error what it thinks of a file
    try:
        with asyncio.Runner() as runner:
            feed(lambda data: runner.run(read(data)), seeds)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(quiet)
