"""Signals and exit codes of a run in this process.

The first SIGINT or SIGTERM stops the run: what was received is processed, open turns end, sinks flush and close. The
second exits immediately, as does the first while there is nothing to stop yet. Where calls get time to end
(`service.drain_s`), the first SIGTERM only drains, and the next signal stops the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn, Protocol

log = logging.getLogger(__name__)

EXIT_SIGNAL = 128
"""The exit code after a signal is this plus the signal's number."""


class Stoppable(Protocol):
    """A run that can be stopped; `Pipeline` is one."""

    def stop(self) -> None:
        """Shut down in an orderly way."""
        ...


class SignalHandler:
    """Stops `run`, once it is set, on the first SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.run: Stoppable | None = None
        self.exit_code = 0
        self.drain: Callable[[], object] | None = None  # what SIGTERM does first
        self._is_stopping = False
        self.received = asyncio.Event()

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Handle the signals on `loop`."""
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._receive, number)

    def _receive(self, number: signal.Signals) -> None:
        is_first = not self.exit_code
        self.exit_code = EXIT_SIGNAL + number
        self.received.set()
        if self._is_stopping or self.run is None:
            exit_now(self.exit_code)
        if is_first and number == signal.SIGTERM and self.drain is not None:
            self.drain()
            return
        self._is_stopping = True
        log.info("shutting down; send %s again to exit immediately", number.name)
        self.run.stop()


def exit_now(code: int) -> NoReturn:
    """Exit the process without waiting for threads."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed by its reader
            stream.flush()
    os._exit(code)
