"""Models that hang, and batches that do not fit into memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import pytest

from stream.errors import InferenceError
from stream.inference.batching import MAX_CONSECUTIVE_FAILURES, InferenceLane
from stream.inference.worker import InferenceThread

MAX_WAIT_S = 20.0


async def run_through(lane: InferenceLane[int, int], items: Sequence[int]) -> list[int | None]:
    """Submit items to a lane with one worker; returns the results in order."""
    async with asyncio.TaskGroup() as group:
        group.create_task(lane.run_worker())
        futures = [await lane.submit("a", item, policy="wait") for item in items]
        answers = [await future for future in futures]
        lane.close()
    return answers


def test_a_batch_that_hangs_fails_and_its_thread_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    release, names = threading.Event(), set()

    def infer(batch: Sequence[int]) -> list[int]:
        names.add(threading.current_thread())
        if 3 in batch:
            release.wait(MAX_WAIT_S)
        return [2 * item for item in batch]

    lane = InferenceLane(name="m", infer=infer, key=lambda _: 0, max_batch=1, timeout_s=0.1)
    assert asyncio.run(run_through(lane, range(6))) == [0, 2, 4, None, 8, 10]
    counts = lane.statistics()
    assert (counts.inferred, counts.failed, counts.workers_replaced, counts.waiting) == (5, 1, 1, 0)
    assert counts.submitted == counts.inferred + counts.dropped + counts.failed + counts.waiting
    assert len(names) == 2
    assert "timed out after 0.1 s" in caplog.text
    release.set()


def test_a_model_that_always_hangs_ends_its_lane() -> None:
    release, prepared = threading.Event(), []

    def infer(batch: Sequence[int]) -> list[int]:
        release.wait(MAX_WAIT_S)
        return list(batch)

    lane = InferenceLane(
        name="m", infer=infer, key=lambda _: 0, max_batch=1, timeout_s=0.05, thread_setup=lambda: prepared.append(1)
    )
    with pytest.raises(BaseExceptionGroup) as broken:
        asyncio.run(run_through(lane, range(9)))
    assert isinstance(broken.value.exceptions[0], InferenceError)
    assert lane.statistics().workers_replaced == MAX_CONSECUTIVE_FAILURES
    assert len(prepared) >= MAX_CONSECUTIVE_FAILURES, "each new thread is set up"
    release.set()


class OutOfMemoryError(RuntimeError):
    """Named like torch's own."""


@pytest.mark.parametrize(
    "cause",
    [MemoryError(), OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: not enough memory: you tried")],
)
def test_a_batch_that_does_not_fit_is_halved(cause: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    sizes = []

    def infer(batch: Sequence[int]) -> list[int]:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise InferenceError("scoring failed") from cause
        return [2 * item for item in batch]

    lane = InferenceLane(name="m", infer=infer, key=lambda _: 0, max_batch=8, capacity=8)
    answers = asyncio.run(run_through(lane, range(8)))
    assert answers == [2 * item for item in range(8)], "nothing is lost or reordered"
    assert lane.statistics().max_batch == 2
    assert lane.statistics().failed == 0
    assert max(sizes[sizes.index(2) :]) <= 4
    assert "out of memory with batch size" in caplog.text


def test_a_single_window_that_does_not_fit_fails() -> None:
    def infer(batch: Sequence[int]) -> list[int]:
        if 1 in batch:
            raise InferenceError("CUDA out of memory")
        return list(batch)

    lane = InferenceLane(name="m", infer=infer, key=lambda _: 0, max_batch=1)
    assert asyncio.run(run_through(lane, [0, 1, 2])) == [0, None, 2]


def test_an_error_of_the_thread_setup_is_raised() -> None:
    def broken() -> None:
        raise InferenceError("cannot limit threads")

    async def check() -> None:
        worker = InferenceThread(name="w", thread_setup=broken)
        with pytest.raises(InferenceError, match="cannot limit threads"):
            await worker.run(lambda: 1)
        worker.close()

    asyncio.run(check())


def test_a_stuck_thread_does_not_block_the_exit_of_the_process() -> None:
    code = """
import asyncio, threading
from stream.inference.worker import InferenceThread, exit_if_stuck
async def main():
    worker = InferenceThread(name="w", thread_setup=lambda: None)
    try:
        await worker.run(threading.Event().wait, timeout_s=0.1)
    except TimeoutError:
        print("stuck")
asyncio.run(main())
exit_if_stuck(7)
"""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.returncode) == ("stuck\n", 7)
    assert time.monotonic() - began < 10
