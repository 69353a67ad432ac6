"""A stand-in for Asterisk's `AudioSocket()` application: aborts the dialplan on exactly what the real one aborts on.

After Asterisk's res_audiosocket.c and app_audiosocket.c: a frame of audio is sent every 20 ms, what the server sends is
read as packets. A hang-up packet ends the application with 0: the dialplan goes on, the caller stays. Any packet but
hang-up and audio, a closed or reset connection, or a failed write ends it with -1: the caller is hung up.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import dataclass, field
from typing import Literal

HANG_UP, UUID, AUDIO = 0x00, 0x01, 0x10

Result = Literal["dialplan goes on", "caller hung up"]


@dataclass
class AsteriskCall:
    """One channel in `AudioSocket(id,host:port)`; `audio` is sent in frames of 20 ms, silence behind it."""

    call: uuid.UUID = field(default_factory=uuid.uuid4)
    audio: bytes = b""
    frame_s: float = 0.02
    hang_up_after: int | None = None
    """Frames after which the channel itself hangs up."""

    async def run(self, port: int) -> Result:
        """Run the application to its end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sending = asyncio.create_task(self._send(writer))
        reading = asyncio.create_task(self._read(reader))
        try:
            await asyncio.wait((sending, reading), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                return "dialplan goes on" if reading.result() else "caller hung up"
            return "caller hung up" if not sending.result() else "dialplan goes on"
        finally:
            for task in (sending, reading):
                task.cancel()
            await asyncio.gather(sending, reading, return_exceptions=True)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _send(self, writer: asyncio.StreamWriter) -> bool:
        """Send UUID and audio; returns whether the channel itself hung up, which is False for a failed write."""
        frames = 0
        try:
            writer.write(bytes((UUID, 0, 16)) + self.call.bytes)
            while self.hang_up_after is None or frames < self.hang_up_after:
                payload = self.audio[frames * 320 : frames * 320 + 320].ljust(320, b"\0")
                writer.write(bytes((AUDIO, 1, 0x40)) + payload)
                await writer.drain()
                frames += 1
                await asyncio.sleep(self.frame_s)
            writer.write(bytes((HANG_UP, 0, 0)))
            await writer.drain()
        except OSError:
            return False
        return True

    async def _read(self, reader: asyncio.StreamReader) -> bool:
        """Read packets; returns whether a hang-up came."""
        try:
            while True:
                header = await reader.readexactly(3)
                await reader.readexactly(int.from_bytes(header[1:], "big"))
                if header[0] == HANG_UP:
                    return True
                if header[0] != AUDIO:
                    return False
        except (OSError, asyncio.IncompleteReadError):
            return False
