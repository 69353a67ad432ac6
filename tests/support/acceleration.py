"""An event loop with an accelerated clock: a minute of paced audio takes a second or two, and no test sleeps for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

SPEED = 40.0


class _AcceleratedSelector(selectors.DefaultSelector):
    """Waits for a fraction of the timeout."""

    def select(self, timeout: float | None = None) -> Any:
        return super().select(None if timeout is None else timeout / SPEED)


class AcceleratedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock advances `SPEED` seconds per second."""

    def __init__(self) -> None:
        super().__init__(_AcceleratedSelector())

    def time(self) -> float:
        return super().time() * SPEED


def run_accelerated(main: Coroutine[Any, Any, Result]) -> Result:
    """Run `main` like `asyncio.run`, on an accelerated loop."""
    with asyncio.Runner(loop_factory=AcceleratedLoop) as runner:
        return runner.run(main)
