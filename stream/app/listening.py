"""Events for programs without an event loop: a session in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stream.app.session import Session
from stream.events import Event
from stream.settings import DEFAULT_PRESET

MAX_AHEAD_EVENTS = 256
"""Events that a run computes ahead of its reader."""

POLL_S = 0.1
"""How often a run whose reader is slow looks whether the reader has left."""


def listen(
    *sources: str | Path,
    preset: str = DEFAULT_PRESET,
    config: str | Path | None = None,
    profiles: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    realtime: bool = False,
    channels: str | None = None,
) -> Iterator[Event]:
    """Yield the events of sources; arguments as of `Session` and its `run`.

    Also works where an event loop is running, as in a notebook. The run computes up to `MAX_AHEAD_EVENTS` ahead.
    Leaving the loop stops it. Raises any `TonewatchError`, after the events before it.
    """
    session = Session(preset, config=config, profiles=profiles, settings=settings)
    run = _Run(session, sources, realtime=realtime, channels=channels)
    thread = threading.Thread(target=run.work, name="tonewatch listen", daemon=True)
    thread.start()
    try:
        yield from run.events()
    finally:
        run.leave()
        thread.join()


class _Run:
    """A run in one thread, and its reader in another."""

    def __init__(
        self, session: Session, sources: tuple[str | Path, ...], *, realtime: bool, channels: str | None
    ) -> None:
        self._session, self._sources = session, sources
        self._realtime, self._channels = realtime, channels
        self._queue: queue.Queue[Event | BaseException | None] = queue.Queue(MAX_AHEAD_EVENTS)
        self._left = threading.Event()

    def work(self) -> None:
        """Run to the end; an error goes to the reader."""
        outcome: BaseException | None = None
        try:
            asyncio.run(self._work())
        except BaseException as error:  # noqa: BLE001 - raised in the reader's thread
            outcome = error
        self._put(outcome)

    def events(self) -> Iterator[Event]:
        """Yield events until the run has ended. Raises what ended it."""
        while (event := self._queue.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event

    def leave(self) -> None:
        """Stop the run: its reader has left."""
        self._left.set()

    async def _work(self) -> None:
        async with (
            self._session as session,
            contextlib.aclosing(
                session.run(*self._sources, realtime=self._realtime, channels=self._channels)
            ) as events,
        ):
            async for event in events:
                if not await asyncio.to_thread(self._put, event):
                    return

    def _put(self, item: Event | BaseException | None) -> bool:
        """Queue an item once there is room; returns False once the reader has left."""
        while not self._left.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return True
        return False
