"""Pauses between attempts to deliver."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def pause(duration_s: float, *, sleep: Callable[[float], Awaitable[None]], until: asyncio.Event) -> None:
    """Wait with `sleep`, not longer than until an event is set."""
    waits = [asyncio.ensure_future(sleep(duration_s)), asyncio.ensure_future(until.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
