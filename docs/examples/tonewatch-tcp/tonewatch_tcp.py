"""`tonewatch run tcp:HOST:PORT`: raw s16le PCM, 16 kHz, mono, from a TCP server."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np

from stream.errors import SourceError
from stream.types import AudioFormat, Block


class TcpSource:
    live = paced = True  # audio arrives in real time: the newest windows count
    format = AudioFormat(rate_hz=16_000, channels=1)

    def __init__(self, *, settings):
        self.id, self.channels = settings.id, settings.channels
        self._host, _, self._port = settings.target.rpartition(":")

    @asynccontextmanager
    async def blocks(self):
        try:
            reader, writer = await asyncio.open_connection(self._host, int(self._port))
        except (OSError, ValueError) as error:
            raise SourceError(f"cannot reach {self._host}:{self._port} ({error}); check the server") from None
        self._writer = writer
        yield self._read(reader)
        writer.close()

    async def _read(self, reader):
        frame = 0
        while data := await reader.read(3_200):
            data += await reader.readexactly(1) if len(data) % 2 else b""
            samples = np.frombuffer(data, "<i2")[:, None] / np.float32(32_768)
            yield Block(self.id, frame, samples)
            frame += len(samples)

    def stop(self):
        self._writer.close()
