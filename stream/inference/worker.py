"""A thread that runs one job after the other for the event loop, and that can be abandoned.

A model that hangs must cost a batch, not the process: `run` raises after its timeout, the thread is then unusable, and
its owner starts another. The thread is a daemon, so that a job that never returns does not block the exit of the
process (a thread of `concurrent.futures` would). A thread that is merely busy is joined at exit, because its library
would otherwise be torn down while it runs. `has_stuck_thread` returns whether the process should skip its normal exit.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import queue
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


_threads: weakref.WeakSet[InferenceThread] = weakref.WeakSet()


def has_stuck_thread() -> bool:
    """Return whether an abandoned thread is still inside its job."""
    return any(thread.abandoned and thread.is_alive for thread in _threads)


def exit_if_stuck(code: int) -> None:
    """Exit the process immediately if a thread is stuck: it cannot be ended, and a normal exit could crash."""
    if not has_stuck_thread():
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed by its reader
            stream.flush()
    os._exit(code)


@atexit.register
def _join_busy_threads() -> None:
    for thread in list(_threads):
        thread.close()
    for thread in list(_threads):
        if not thread.abandoned:
            thread.join()


class InferenceThread:
    """A daemon thread; `thread_setup` is called in it once, before its first job."""

    def __init__(self, *, name: str, thread_setup: Callable[[], None]) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread_setup = thread_setup
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()
        self.abandoned = False
        _threads.add(self)

    @property
    def is_alive(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    async def run(self, job: Callable[[], Result], *, timeout_s: float | None = None) -> Result:
        """Run `job` in the thread and return its result.

        Raises what `job` or `thread_setup` raises, or `TimeoutError`; the thread is then stuck in the job.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        self._jobs.put((job, done, loop))
        try:
            async with asyncio.timeout(timeout_s):
                return await done
        except TimeoutError:
            self.abandoned = not done.done() or done.cancelled()
            raise

    def close(self) -> None:
        """Accept no more jobs; the current one is not waited for."""
        self._jobs.put(None)

    def _work(self) -> None:
        setup_error: BaseException | None = None
        try:
            self._thread_setup()
        except Exception as error:  # noqa: BLE001 - raised by `run`
            setup_error = error
        while (work := self._jobs.get()) is not None:
            job, done, loop = work
            try:
                result = job() if setup_error is None else _raise(setup_error)
            except BaseException as error:  # noqa: BLE001 - raised by `run`
                callback: tuple[Callable[..., None], Any] = (_set_exception, error)
            else:
                callback = (_set_result, result)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(callback[0], done, callback[1])
            del job, done, callback, work  # or the batch would stay in memory until the next job


def _raise(error: BaseException) -> Any:
    raise error


def _set_result(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():
        done.set_result(result)


def _set_exception(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
