"""Waiting for a state that another task reaches without signalling it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

WAIT_TIMEOUT_S = 30.0
POLL_S = 0.005


async def wait_until(condition: Callable[[], object], *, timeout_s: float = WAIT_TIMEOUT_S) -> None:
    """Poll until `condition` is true. Raises `TimeoutError` after `timeout_s`."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the condition has no event to wait for
            await asyncio.sleep(POLL_S)
