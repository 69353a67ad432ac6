"""Raw PCM on standard input: every whole frame, in order."""

from __future__ import annotations

import asyncio
import io
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import AudioFormatError, SourceNotFound
from stream.settings import SourceSettings
from stream.sources.pipe import PipeSource
from stream.types import Block


async def read(source: PipeSource) -> list[Block]:
    async with source.blocks() as blocks:
        return [block async for block in blocks]


class ChunkedInput(io.RawIOBase):
    """Returns its bytes in chunks of the given sizes."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes = data, sizes

    def read1(self, max_bytes: int) -> bytes:
        size = min(max_bytes, self._sizes.pop(0) if self._sizes else len(self._data))
        chunk, self._data = self._data[:size], self._data[size:]
        return chunk


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
        async with source.blocks() as blocks:
            os.write(outlet, b"\0\0" * 100)
            async for block in blocks:
                found.append(block)
                source.stop()
        return found

    with os.fdopen(inlet, "rb") as stdin:
        assert sum(len(block.samples) for block in asyncio.run(collect(stdin))) == 100
        os.close(outlet)  # ends the reading thread before its file is closed
