"""Recordings: all samples in order, for any block size and pacing."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.settings import SourceSettings
from stream.sources.decoding import Piece, SoundfileDecoder
from stream.sources.file import FileSource
from stream.types import AudioFormat, Block
from tests.support.acceleration import SPEED, run_accelerated

TIMEOUT_S = 20


async def read(source: FileSource, *, max_blocks: int | None = None) -> list[Block]:
    found = []
    async with source.blocks() as blocks:
        async for block in blocks:
            found.append(block)
            if len(found) == max_blocks:
                source.stop()
    return found


def recording(path: Path, *, frames: int = 20_000, channels: int = 2, rate: int = 22_050) -> np.ndarray:
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, (frames, channels)).astype(np.float32)
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return samples


@pytest.mark.parametrize("block_frames", [1_000, 7_777, 50_000])
def test_joined_blocks_are_the_recording(tmp_path: Path, block_frames: int) -> None:
    samples = recording(tmp_path / "a.wav")
    source = FileSource(settings=SourceSettings(target=str(tmp_path / "a.wav")), block_frames=block_frames)
    blocks = asyncio.run(read(source))
    assert [block.start_frame for block in blocks] == list(range(0, len(samples), block_frames))
    assert np.array_equal(np.concatenate([block.samples for block in blocks]), samples)
    assert (source.format.rate_hz, source.format.channels) == (22_050, 2)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    recording(path, frames=44_100, channels=1, rate=44_100)
    blocks = asyncio.run(read(FileSource(settings=SourceSettings(target=str(path)))))
    assert abs(blocks[-1].end_frame - 44_100) < 3_000  # MP3 pads


def test_pacing_delivers_a_block_at_its_end(tmp_path: Path) -> None:
    recording(tmp_path / "a.wav", frames=32_000, rate=16_000)
    source = FileSource(settings=SourceSettings(target=str(tmp_path / "a.wav"), realtime=True))

    async def early() -> list[float]:
        loop = asyncio.get_running_loop()
        began_s, lead = loop.time(), []
        async with source.blocks() as blocks:
            lead.extend([block.end_frame / 16_000 - (loop.time() - began_s) async for block in blocks])
        return lead

    lead = run_accelerated(early())
    assert len(lead) == -(-32_000 // 512)
    assert max(lead) < 0.01 * SPEED, "no block is delivered before its end"


def test_stop_ends_it(tmp_path: Path) -> None:
    recording(tmp_path / "a.wav")
    source = FileSource(settings=SourceSettings(target=str(tmp_path / "a.wav")), block_frames=1_000)
    assert len(asyncio.run(read(source, max_blocks=3))) == 3


class SlowDecoder:
    """A decoder whose `read` blocks until the test releases it."""

    format = AudioFormat(16_000, 1)
    truncated = False

    def __init__(self) -> None:
        self.inside, self.release, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.done: list[str] = []

    def read(self, frames: int) -> Piece:
        self.inside.set()
        self.release.wait(TIMEOUT_S)
        self.done.append("read")
        return Piece(np.zeros((frames, 1), np.float32))

    def stop(self) -> None:
        pass

    def close(self) -> None:
        self.done.append("closed")
        self.closed.set()


def test_a_cancelled_run_does_not_close_the_file_under_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    file = SlowDecoder()

    def open_slow(source: FileSource) -> tuple[SlowDecoder, list[Piece]]:
        source._format = file.format
        return file, []

    monkeypatch.setattr(FileSource, "_open", open_slow)

    async def check() -> None:
        reader = asyncio.create_task(read(FileSource(settings=SourceSettings(target="a.wav"))))
        await asyncio.to_thread(file.inside.wait, TIMEOUT_S)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader  # does not wait for the thread
        assert file.done == []
        file.release.set()
        assert await asyncio.to_thread(file.closed.wait, TIMEOUT_S)
        assert file.done == ["read", "closed"]

    asyncio.run(check())


def test_a_file_is_not_closed_while_a_cancelled_run_still_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000, np.float32), 16_000)
    reading, may_read, order = threading.Event(), threading.Event(), list[str]()
    read, close = SoundfileDecoder.read, SoundfileDecoder.close

    def slow_read(decoder: SoundfileDecoder, frames: int) -> Piece | None:
        reading.set()
        may_read.wait(10)
        order.append("read")
        return read(decoder, frames)

    def noted_close(decoder: SoundfileDecoder) -> None:
        order.append("close")
        close(decoder)

    monkeypatch.setattr(SoundfileDecoder, "read", slow_read)
    monkeypatch.setattr(SoundfileDecoder, "close", noted_close)

    async def check() -> None:
        source = FileSource(settings=SourceSettings(kind="file", target=str(path)))
        opening = asyncio.create_task(source.blocks().__aenter__())
        await asyncio.to_thread(reading.wait, 10)
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await opening
        assert order == []
        may_read.set()

    asyncio.run(check())
    assert order[-1] == "close"
    assert order.count("close") == 1
