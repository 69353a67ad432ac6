"""Tasks that use a connection, and their errors."""

from __future__ import annotations

import asyncio


async def cancel_and_wait(task: asyncio.Task[None], *, retry_s: float) -> None:
    """Cancel a task that uses a connection, again every `retry_s`, and wait until it has ended.

    aiomqtt may lose a cancellation while it connects (`asyncio.wait_for` of Python 3.11, gh-86296).
    """
    while not task.done():
        task.cancel()
        await asyncio.wait((task,), timeout=retry_s)


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first single error of nested groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def reason_of(error: BaseException) -> str:
    """Return why something failed: what the operating system says, without its number, else the error's own words."""
    beneath = error.__context__  # aiomqtt hands on the words of an OSError alone
    cause = beneath if isinstance(beneath, OSError) and str(beneath) == str(error) else error
    return getattr(cause, "strerror", None) or str(error)
