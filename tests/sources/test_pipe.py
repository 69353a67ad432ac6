"""Raw PCM: every whole frame, in order, and a writer who is waited for."""

from __future__ import annotations

import asyncio
import io
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.errors import AudioFormatError, SourceNotFound
from stream.settings import SourceSettings
from stream.sources.pipe import PipeSource
from stream.types import Block


async def read(source: PipeSource) -> list[Block]:
    async with source.blocks() as blocks:
        return [block async for block in blocks]


class Dripping(io.RawIOBase):
    """Gives its bytes in pieces of the sizes it is told."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes = data, sizes

    def read1(self, most: int) -> bytes:
        size = min(most, self._sizes.pop(0) if self._sizes else len(self._data))
        piece, self._data = self._data[:size], self._data[size:]
        return piece


@given(sizes=st.lists(st.integers(1, 50), max_size=30), pcm_format=st.sampled_from(["s16le", "f32le"]))
def test_pieces_do_not_matter(sizes: list[int], pcm_format: str) -> None:
    whole = np.arange(-300, 300, dtype=np.int16).reshape(-1, 2)
    data = whole.astype("<i2").tobytes() if pcm_format == "s16le" else (whole / 32_768).astype("<f4").tobytes()
    settings = SourceSettings(kind="pipe", pcm_channels=2, pcm_format=pcm_format)
    stdin: Any = Dripping(data, sizes)
    blocks = asyncio.run(read(PipeSource(settings=settings, stdin=stdin)))
    assert np.allclose(np.concatenate([block.samples for block in blocks]), whole / 32_768)
    ends = [block.end_frame for block in blocks]
    assert [block.start_frame for block in blocks] == [0, *ends[:-1]]


def test_numbers_only() -> None:
    stdin = io.BytesIO(np.array([0.0, np.nan], "<f4").tobytes())
    with pytest.raises(AudioFormatError, match="not a number"):
        asyncio.run(read(PipeSource(settings=SourceSettings(kind="pipe", pcm_format="f32le"), stdin=stdin)))


def test_a_terminal_is_no_pipe() -> None:
    terminal, other = os.openpty()
    with os.fdopen(other, "rb") as stdin, pytest.raises(SourceNotFound, match="is a terminal"):
        asyncio.run(read(PipeSource(settings=SourceSettings(kind="pipe"), stdin=stdin)))
    os.close(terminal)


def test_stop_ends_a_writer_who_is_silent() -> None:
    inlet, outlet = os.pipe()

    async def listen(stdin: Any) -> list[Block]:
        source = PipeSource(settings=SourceSettings(kind="pipe"), stdin=stdin)
        found = []
        async with source.blocks() as blocks:
            os.write(outlet, b"\0\0" * 100)
            async for block in blocks:
                found.append(block)
                source.stop()
        return found

    with os.fdopen(inlet, "rb") as stdin:
        assert sum(len(block.samples) for block in asyncio.run(listen(stdin))) == 100
        os.close(outlet)  # lets the reading thread go before its file is closed
