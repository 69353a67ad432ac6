"""An event loop whose clock runs fast, so that a minute in real time takes a second and nothing sleeps for time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

SPEED = 40.0


class _HastySelector(selectors.DefaultSelector):
    """Waits for a fraction of what it is asked to."""

    def select(self, timeout: float | None = None) -> Any:
        return super().select(None if timeout is None else timeout / SPEED)


class HastyLoop(asyncio.SelectorEventLoop):
    """A loop on which `SPEED` seconds pass in one."""

    def __init__(self) -> None:
        super().__init__(_HastySelector())

    def time(self) -> float:
        return super().time() * SPEED


def run_hastily(main: Coroutine[Any, Any, Result]) -> Result:
    """`asyncio.run` on such a loop."""
    with asyncio.Runner(loop_factory=HastyLoop) as runner:
        return runner.run(main)
