"""Raw PCM on standard input: every whole frame, in order."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.demo.conversation import AUDIO
from stream.errors import AudioFormatError, SourceNotFound
from stream.settings import SourceSettings
from stream.sources.pipe import PipeSource
from stream.types import Block, Interruption

TIMEOUT_S = 20


async def read(source: PipeSource) -> list[Block]:
    async with source.blocks() as blocks:
        return [block async for block in blocks if isinstance(block, Block)]


class ChunkedInput(io.RawIOBase):
    """Returns its bytes in chunks of the given sizes."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes = data, sizes

    def read1(self, max_bytes: int) -> bytes:
        size = min(max_bytes, self._sizes.pop(0) if self._sizes else len(self._data))
        chunk, self._data = self._data[:size], self._data[size:]
        return chunk


@pytest.mark.slow
@settings(deadline=None)  # each example has an event loop and a thread
@given(sizes=st.lists(st.integers(1, 50), max_size=30), pcm_format=st.sampled_from(["s16le", "f32le"]))
def test_chunk_sizes_do_not_matter(sizes: list[int], pcm_format: str) -> None:
    whole = np.arange(-300, 300, dtype=np.int16).reshape(-1, 2)
    data = whole.astype("<i2").tobytes() if pcm_format == "s16le" else (whole / 32_768).astype("<f4").tobytes()
    chosen = SourceSettings(kind="pipe", pcm_channels=2, pcm_format=pcm_format)
    stdin: Any = ChunkedInput(data, sizes)
    blocks = asyncio.run(read(PipeSource(settings=chosen, stdin=stdin)))
    assert np.allclose(np.concatenate([block.samples for block in blocks]), whole / 32_768)
    ends = [block.end_frame for block in blocks]
    assert [block.start_frame for block in blocks] == [0, *ends[:-1]]


def test_non_finite_samples_are_rejected() -> None:
    stdin = io.BytesIO(np.array([0.0, np.nan], "<f4").tobytes())
    with pytest.raises(AudioFormatError, match="non-finite sample"):
        asyncio.run(read(PipeSource(settings=SourceSettings(kind="pipe", pcm_format="f32le"), stdin=stdin)))


def test_a_terminal_is_rejected() -> None:
    terminal, other = os.openpty()
    with os.fdopen(other, "rb") as stdin, pytest.raises(SourceNotFound, match="is a terminal"):
        asyncio.run(read(PipeSource(settings=SourceSettings(kind="pipe"), stdin=stdin)))
    os.close(terminal)


def test_stop_does_not_wait_for_a_silent_writer() -> None:
    inlet, outlet = os.pipe()

    async def collect(stdin: Any) -> list[Block]:
        source = PipeSource(settings=SourceSettings(kind="pipe"), stdin=stdin)
        found = []
        os.write(outlet, b"\0\0" * 100)
        async with source.blocks() as blocks:
            async for block in blocks:
                assert isinstance(block, Block)
                found.append(block)
                source.stop()
        return found

    with os.fdopen(inlet, "rb") as stdin:
        assert sum(len(block.samples) for block in asyncio.run(collect(stdin))) == 100
        os.close(outlet)  # ends the reading thread before its file is closed


class Clock:
    """A clock that the writer sets."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class TimedInput(io.RawIOBase):
    """Delivers chunks at their times on a clock; `stall` holds up a chunk until the source has said so."""

    def __init__(self, clock: Clock, schedule: list[tuple[float, bytes]], stalled: threading.Event) -> None:
        self._clock, self._schedule, self._stalled = clock, schedule, stalled

    def read1(self, max_bytes: int) -> bytes:
        if not self._schedule:
            return b""
        at_s, chunk = self._schedule[0]
        if 1_000 + at_s - self._clock.now_s > 2:
            assert self._stalled.wait(TIMEOUT_S)
        self._clock.now_s = max(self._clock.now_s, 1_000 + at_s)
        if len(chunk) <= max_bytes:
            self._schedule.pop(0)
        else:
            self._schedule[0] = (at_s, chunk[max_bytes:])
        return chunk[:max_bytes]


def tenths(first_s: float, count: int) -> list[tuple[float, bytes]]:
    """Return the schedule of a live writer: a tenth of a second of audio at the end of each."""
    return [(first_s + 0.1 * (number + 1), b"\1\0" * 1_600) for number in range(count)]


def follow(schedule: list[tuple[float, bytes]], **options: Any) -> list[Block | Interruption]:
    clock, stalled = Clock(), threading.Event()
    stdin: Any = TimedInput(clock, schedule, stalled)

    async def collect() -> list[Block | Interruption]:
        found = []
        source = PipeSource(settings=SourceSettings(kind="pipe", **options), stdin=stdin, clock=clock)
        async with source.blocks() as blocks:
            async for block in blocks:
                found.append(block)
                if isinstance(block, Interruption):
                    stalled.set()
        return found

    return asyncio.run(collect())


@pytest.mark.slow
@pytest.mark.parametrize("live", [False, True])
def test_a_pause_of_a_live_writer_is_a_gap_of_its_length(monkeypatch: pytest.MonkeyPatch, *, live: bool) -> None:
    monkeypatch.setattr("stream.sources.pipe.STALL_TIMEOUT_S", 0.05)
    found = follow(tenths(0, 30) + tenths(15.0, 10), live=live)
    states = [item.state for item in found if isinstance(item, Interruption)]
    assert states == ["stalled", "resumed"]
    ends = [item.end_frame for item in found if isinstance(item, Block)]
    assert sum(len(item.samples) for item in found if isinstance(item, Block)) == 40 * 1_600, "nothing is lost"
    assert ends[-1] == pytest.approx(16.0 * 16_000, abs=1_600)


def test_a_burst_after_a_pause_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.sources.pipe.STALL_TIMEOUT_S", 0.05)
    late = [(15.0, chunk) for _, chunk in tenths(3.0, 120)]
    found = follow(tenths(0, 30) + late, live=True)
    ends = [item.end_frame for item in found if isinstance(item, Block)]
    assert ends[-1] == pytest.approx(15.0 * 16_000, abs=3_200)


def test_a_file_in_a_pipe_never_stalls() -> None:
    found = follow([(0.01, b"\1\0" * 160_000), (9.0, b"\1\0" * 16_000)][:1], live=False)
    assert all(isinstance(item, Block) for item in found)


@pytest.mark.slow
@pytest.mark.parametrize("container", ["WAV", "WAVEX", "AU", "FLAC", "OGG", "MP3"])
def test_a_pipe_that_begins_with_a_container_is_decoded(container: str) -> None:
    voice, file = np.sin(np.arange(44_100) / 20).astype(np.float32)[:, None] * [0.5, 0.4], io.BytesIO()
    soundfile.write(file, voice, 44_100, format=container)
    source = PipeSource(settings=SourceSettings(kind="pipe"), stdin=io.BytesIO(file.getvalue()))
    blocks = asyncio.run(read(source))
    assert (source.format.rate_hz, source.format.channels) == (44_100, 2)
    samples = np.concatenate([block.samples for block in blocks])
    assert len(samples) == pytest.approx(44_100, abs=3_000)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
def test_the_samples_of_a_piped_wav(subtype: str) -> None:
    voice, file = np.sin(np.arange(8_000) / 20) * 0.5, io.BytesIO()
    soundfile.write(file, voice, 8_000, format="WAV", subtype=subtype)
    header = bytearray(file.getvalue())
    place = header.index(b"data") + 4
    header[place : place + 4] = b"\xff\xff\xff\xff"  # as `arecord` and ffmpeg write it
    blocks = asyncio.run(read(PipeSource(settings=SourceSettings(kind="pipe"), stdin=io.BytesIO(bytes(header)))))
    samples = np.concatenate([block.samples for block in blocks])[:8_000, 0]
    assert np.allclose(samples, voice, atol=0.03)


@pytest.mark.parametrize("law", ["mulaw", "alaw"])
def test_telephone_codes(law: str) -> None:
    options = SourceSettings(kind="pipe", pcm_format=law, rate_hz=8_000)
    blocks = asyncio.run(read(PipeSource(settings=options, stdin=io.BytesIO(bytes(range(256)) * 10))))
    assert sum(len(block.samples) for block in blocks) == 2_560
    assert 0.9 < max(np.abs(block.samples).max() for block in blocks) <= 1


def warnings_of(data: bytes, caplog: pytest.LogCaptureFixture, **options: Any) -> str:
    asyncio.run(read(PipeSource(settings=SourceSettings(kind="pipe", **options), stdin=io.BytesIO(data))))
    return caplog.text


def test_what_cannot_be_right_is_said(caplog: pytest.LogCaptureFixture) -> None:
    voice = soundfile.read(AUDIO, frames=10 * 16_000, dtype="float32")[0]
    assert not warnings_of((voice * 32_767).astype("<i2").tobytes(), caplog)
    stereo = np.repeat((voice * 32_767).astype("<i2"), 2).tobytes()
    assert "looks like two channels" in warnings_of(stereo, caplog)
    caplog.clear()
    assert "sounds like noise" in warnings_of(voice.astype("<f4").tobytes(), caplog)
    caplog.clear()
    found = follow([(0.05 * second, chunk) for second, (_, chunk) in enumerate(tenths(0, 200))])
    assert found
    assert "2 times as fast as 16000 Hz" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(("buffered", "live"), [(1, False), (20, False), (20, True), (80, True)])
def test_the_time_of_the_first_frame_allows_for_what_the_pipe_had_buffered(buffered: int, *, live: bool) -> None:
    """The writer began while the models were being loaded, and the pipe holds what it has written since."""
    clock, paused = Clock(), threading.Event()
    stdin: Any = TimedInput(clock, [(0.0, b"\1\0" * 1_600 * buffered), *tenths(10.0, 5)], paused)

    async def started() -> float:
        source = PipeSource(settings=SourceSettings(kind="pipe", live=live), stdin=stdin, clock=clock)
        async with source.blocks():
            assert source.started_s is not None
            return source.started_s - time.time()

    ago_s = asyncio.run(started())
    paused.set()
    assert -0.1 * buffered - 0.5 < ago_s <= -0.1 * buffered
