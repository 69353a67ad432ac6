"""Events on standard output, one JSON object per line and nothing else."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Self

from stream.errors import SinkClosed
from stream.events import Event
from stream.settings import Settings
from stream.sinks.lines import LineWriter


class StdoutSink:
    """Writes events to standard output; raises `SinkClosed` when its reader closes it (`| head`)."""

    def __init__(self, *, target: str = "stdout", settings: Settings | None = None) -> None:
        del target, settings  # the factory passes them to every sink
        self._writer: LineWriter | None = None

    async def __aenter__(self) -> Self:
        """Flush Python's own buffer, which the writer bypasses."""
        sys.stdout.flush()
        self._writer = LineWriter(descriptor=sys.stdout.fileno(), name="standard output")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the writer; all lines are written."""
        if self._writer is not None:
            self._writer.close()

    async def send(self, event: Event) -> None:
        """Write one line. Raises `SinkClosed`."""
        if self._writer is None:
            raise RuntimeError("sink is not open")
        try:
            await self._writer.write(event)
        except BrokenPipeError:
            # Later flushes of standard output, such as Python's own at exit, must not fail again.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)
            raise SinkClosed("standard output was closed by its reader") from None
