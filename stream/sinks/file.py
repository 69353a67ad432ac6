"""Events appended to a file, one JSON object a line, each on disk's way before the next is taken.

A last line that an earlier crash left half-written is closed first, so that it spoils only itself. A disk that is full
costs the events that did not fit, counted and said, not the run; a line that fitted only in part is closed likewise.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from stream.errors import SettingsError, SinkError
from stream.events import Event
from stream.settings import Settings
from stream.sinks.base import SinkCounters
from stream.sinks.lines import DiskFull, LineWriter

log = logging.getLogger(__name__)


class FileSink:
    """`events.ndjson` or `file:events.ndjson`."""

    def __init__(self, *, target: str, settings: Settings | None = None) -> None:
        del settings  # nothing to set about a file
        name = target.removeprefix("file:")
        if not name:
            raise SettingsError(f"the sink {target!r} names no file; write file:events.ndjson")
        self._path = Path(name)
        self._descriptor = -1
        self._writer: LineWriter | None = None
        self._dropped = self._dropped_in_a_row = 0

    async def __aenter__(self) -> Self:
        """Open for appending. Raises `SinkError` when that cannot be done."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise SinkError(f"{self._path} cannot be made: there is no folder {self._path.parent}") from None
        except OSError as error:
            raise SinkError(f"{self._path} cannot be opened for events: {error.strerror}") from None
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            with suppress(OSError):  # a disk that is still full: the writer will find out
                os.write(self._descriptor, b"\n")
        self._writer = LineWriter(descriptor=self._descriptor, name=str(self._path))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        if self._dropped:
            log.warning("%s lacks %d events for want of room on its disk", self._path, self._dropped)

    async def send(self, event: Event) -> None:
        """Append one line; without room for it, count it. Raises `SinkError` when the file cannot be written at all."""
        if self._writer is None:
            raise RuntimeError("a sink sends only while it is open")
        try:
            await self._writer.write(event)
        except DiskFull as full:
            if not self._dropped_in_a_row:
                log.warning("%s; until then events are dropped, and counted", full)
            self._dropped += 1
            self._dropped_in_a_row += 1
        else:
            if self._dropped_in_a_row:
                log.warning("%s takes events again; %d were dropped", self._path, self._dropped_in_a_row)
            self._dropped_in_a_row = 0

    def account(self) -> SinkCounters:
        """What was dropped."""
        return SinkCounters(dropped=self._dropped)
