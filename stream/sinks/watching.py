"""The base of sinks that only look on: nothing is opened for them and nothing has to be closed."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Watching:
    """A sink but for `send`."""

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""
