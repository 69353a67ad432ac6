"""NDJSON to a file descriptor: one event a line, each written whole before the next.

A blocked reader must not block the event loop, so a thread of its own does the writing; one `write` at a time, in
order.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
from concurrent.futures import ThreadPoolExecutor

from stream import events
from stream.errors import SinkError
from stream.events import Event

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk, its quota, or the largest file there may be."""


class DiskFull(SinkError):
    """The line did not fit; later ones may."""


class LineWriter:
    """Writes events as lines to an open descriptor; `name` is what refusals call it."""

    def __init__(self, *, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name
        self._torn = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tonewatch-lines")

    async def write(self, event: Event) -> None:
        """Write one line.

        Raises `BrokenPipeError` when the reader has gone, `DiskFull` when the disk is full, else `SinkError`.
        """
        line = events.to_json(event).encode() + b"\n"
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, line)
        except BrokenPipeError:
            raise
        except OSError as error:
            if error.errno in FULL:
                raise DiskFull(
                    f"{self._name} cannot be written: {error.strerror}; make room or choose another place"
                ) from None
            raise SinkError(
                f"{self._name} cannot be written: {error.strerror}; make room or choose another place"
            ) from None

    def close(self) -> None:
        """Let the thread go; a write that hangs is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _write(self, line: bytes) -> None:
        whole = rest = (b"\n" if self._torn else b"") + line
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # whoever shares the pipe with us made it non-blocking
                select.select([], [self._descriptor], [])
            except OSError:
                if written := whole[: len(whole) - len(rest)]:
                    self._torn = not written.endswith(b"\n")  # a line that was begun is closed before the next
                raise
        self._torn = False
