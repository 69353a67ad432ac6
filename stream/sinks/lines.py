"""NDJSON to a file descriptor: one event per line, each written completely before the next.

A thread of its own writes, in order, so that a blocked reader does not block the event loop.
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

DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Full disk, exceeded quota, maximum file size."""


class DiskFull(SinkError):
    """The line did not fit on the disk; later ones may."""


class LineWriter:
    """Writes events as lines to an open descriptor; `name` stands for it in error messages."""

    def __init__(self, *, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name
        self._incomplete_line = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tonewatch-lines")

    async def write(self, event: Event) -> None:
        """Write one line.

        Raises `BrokenPipeError` if the reader has closed the pipe, `DiskFull` if the disk is full, else `SinkError`.
        """
        line = events.to_json(event).encode() + b"\n"
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, line)
        except BrokenPipeError:
            raise
        except OSError as error:
            if error.errno in DISK_FULL_ERRORS:
                raise DiskFull(f"cannot write {self._name}: {error.strerror}; free disk space") from None
            raise SinkError(f"cannot write {self._name}: {error.strerror}; use another sink") from None

    def close(self) -> None:
        """End the thread without waiting for a blocked write."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _write(self, line: bytes) -> None:
        data = rest = (b"\n" if self._incomplete_line else b"") + line
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # another process that shares the pipe made it non-blocking
                select.select([], [self._descriptor], [])
            except OSError:
                if written := data[: len(data) - len(rest)]:
                    self._incomplete_line = not written.endswith(b"\n")  # it is terminated before the next line
                raise
        self._incomplete_line = False
