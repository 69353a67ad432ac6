"""One thread that does one job after the other for the event loop, and can be left behind.

A model that never comes back must cost a batch, not the process: `run` gives up after its timeout, and the worker is
then of no more use; whoever owns it makes another. The thread is a daemon, so that one that is stuck for ever cannot
hold up the end of the process either (those of `concurrent.futures` would). One that is merely busy is waited for at
the end, or the library it is in would be torn down around it; `stuck` says whether the process should rather be left
without an end.
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


_alive: weakref.WeakSet[InferenceThread] = weakref.WeakSet()


def stuck() -> bool:
    """Whether a thread was left behind in a job and is still in it."""
    return any(worker.left_behind and worker.busy for worker in _alive)


def leave_if_stuck(code: int) -> None:
    """Leave the process at once if a thread is stuck: it cannot be ended, and tearing down around it would crash."""
    if not stuck():
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed by its reader
            stream.flush()
    os._exit(code)


@atexit.register
def _wait_for_the_busy() -> None:
    for worker in list(_alive):
        worker.close()
    for worker in list(_alive):
        if not worker.left_behind:
            worker.join()


class InferenceThread:
    """A daemon thread; `prepare` is called in it once, before its first job."""

    def __init__(self, *, name: str, prepare: Callable[[], None]) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._prepare = prepare
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()
        self.left_behind = False
        _alive.add(self)

    @property
    def busy(self) -> bool:
        """Whether its thread is still there."""
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait for its thread to end."""
        self._thread.join()

    async def run(self, job: Callable[[], Result], *, timeout_s: float | None = None) -> Result:
        """Do the job in the thread. Raises what it raises, or `TimeoutError`: then the thread is stuck in it."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        self._jobs.put((job, done, loop))
        try:
            async with asyncio.timeout(timeout_s):
                return await done
        except TimeoutError:
            self.left_behind = not done.done() or done.cancelled()
            raise

    def close(self) -> None:
        """No more jobs; a thread that is in one is not waited for."""
        self._jobs.put(None)

    def _work(self) -> None:
        failed: BaseException | None = None
        try:
            self._prepare()
        except Exception as error:  # noqa: BLE001 - told to whoever gives the first job
            failed = error
        while (work := self._jobs.get()) is not None:
            job, done, loop = work
            try:
                result = job() if failed is None else _raise(failed)
            except BaseException as error:  # noqa: BLE001 - it is told on the loop
                told: tuple[Callable[..., None], Any] = (_fail, error)
            else:
                told = (_succeed, result)
            with suppress(RuntimeError):  # the loop has closed: nobody waits any more
                loop.call_soon_threadsafe(told[0], done, told[1])
            del job, done, told, work  # what was asked and answered is not kept until the next job


def _raise(error: BaseException) -> Any:
    raise error


def _succeed(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[Any], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
