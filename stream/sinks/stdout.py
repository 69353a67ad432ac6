"""Events on standard output, one JSON object a line and nothing else."""

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
    """Standard output. Ends the run with `SinkClosed` when its reader goes away (`| head`)."""

    def __init__(self, *, target: str = "stdout", settings: Settings | None = None) -> None:
        del target, settings  # there is one standard output, and nothing to set about it
        self._writer: LineWriter | None = None

    async def __aenter__(self) -> Self:
        """Flush what Python itself may still hold, then write past it."""
        sys.stdout.flush()
        self._writer = LineWriter(descriptor=sys.stdout.fileno(), name="standard output")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Every line is out already."""
        if self._writer is not None:
            self._writer.close()

    async def send(self, event: Event) -> None:
        """Write one line."""
        if self._writer is None:
            raise RuntimeError("a sink sends only while it is open")
        try:
            await self._writer.write(event)
        except BrokenPipeError:
            # Whatever else flushes standard output at exit must not fail again.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
            raise SinkClosed("standard output was closed by its reader; nothing more can be told") from None
