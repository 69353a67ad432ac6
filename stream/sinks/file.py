"""Events appended to a file, one JSON object per line, each written before the next is taken.

An incomplete last line, left by a crash, is terminated first, so that no other line is damaged. A full disk costs the
events that do not fit, which are counted and logged, not the run; a partly written line is terminated likewise.
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
    """Appends events to `events.ndjson` or `file:events.ndjson`."""

    def __init__(self, *, target: str, settings: Settings | None = None) -> None:
        del settings  # the factory passes them to every sink
        name = target.removeprefix("file:")
        if not name:
            raise SettingsError(f"sink {target!r} names no file; use file:events.ndjson")
        self._path = Path(name)
        self._descriptor = -1
        self._writer: LineWriter | None = None
        self._dropped = self._dropped_since_failure = 0

    async def __aenter__(self) -> Self:
        """Open the file for appending. Raises `SinkError`."""
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise SinkError(
                f"cannot create {str(self._path)!r}: no folder {str(self._path.parent)!r}; create it first"
            ) from None
        except OSError as error:
            raise SinkError(f"cannot open {str(self._path)!r} for events: {error.strerror}; use another file") from None
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            with suppress(OSError):  # the disk is still full: the first write reports it
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
            log.warning("%s: %d events dropped, disk full", self._path, self._dropped)

    async def send(self, event: Event) -> None:
        """Append one line, or count it as dropped if the disk is full. Raises `SinkError` for any other failure."""
        if self._writer is None:
            raise RuntimeError("sink is not open")
        try:
            await self._writer.write(event)
        except DiskFull as full:
            if not self._dropped_since_failure:
                log.warning("%s; events are dropped until then", full)
            self._dropped += 1
            self._dropped_since_failure += 1
        else:
            if self._dropped_since_failure:
                log.warning("%s: writable again; %d events dropped", self._path, self._dropped_since_failure)
            self._dropped_since_failure = 0

    def counters(self) -> SinkCounters:
        """Count of dropped events."""
        return SinkCounters(dropped=self._dropped)
