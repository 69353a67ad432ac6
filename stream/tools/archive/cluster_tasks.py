"""The tasks of an archive on a Ray cluster; run as a process of its own, connected to the command by a socket.

Per core of the cluster two tasks are on their way, so that none waits for the next one; nodes that join meanwhile get
theirs. The bytes of a recording are sent only if the machine does not see the file. A task whose process or machine is
lost is repeated by Ray, up to `MAX_RETRIES` times; one that ends its process each time is a failure of the recording.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import ray
from ray import exceptions

from stream.inference.ray_connection import connect, end_process, one_line
from stream.tools.archive.messages import ArchiveAnswer, ArchiveRequest
from stream.tools.archive.task import Outcome, process

MAX_RETRIES = 3
PLACEMENT_S = 10.0
RESOURCES_INTERVAL_S = 2.0
TASKS_PER_CORE = 2

_LOST = (
    exceptions.WorkerCrashedError,
    exceptions.OutOfMemoryError,
    exceptions.NodeDiedError,
    exceptions.ObjectLostError,
)


class ArchiveTasks:
    """The tasks of a request."""

    def __init__(self, request: ArchiveRequest) -> None:
        self._request = request
        self._shared = ray.put(request.shared)
        self._task = ray.remote(
            num_cpus=request.num_cpus,
            num_gpus=request.num_gpus,
            max_retries=MAX_RETRIES,
            max_calls=0,  # a process goes on with its models, also where it has a GPU
            scheduling_strategy="SPREAD",
        )(process)
        self._waiting = deque(range(len(request.recordings)))
        self._running: dict[Any, int] = {}
        self._limit = 0
        self._looked_s, self._placed_s = 0.0, time.monotonic()

    def run(self, connection: Connection) -> None:
        """Run all tasks, and send an answer for each as it ends."""
        while self._waiting or self._running:
            self._submit()
            if not self._running:
                time.sleep(RESOURCES_INTERVAL_S)  # no machine has what a task needs
                continue
            done, _ = ray.wait(list(self._running), num_returns=1, timeout=RESOURCES_INTERVAL_S)
            for reference in done:
                number = self._running.pop(reference)
                outcome = self._outcome(reference, number)
                if outcome is not None:
                    connection.send(ArchiveAnswer(number, outcome))

    def _submit(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= RESOURCES_INTERVAL_S:
            self._looked_s = now_s
            self._limit = TASKS_PER_CORE * self._places()
            if self._limit:
                self._placed_s = now_s
            elif now_s - self._placed_s > PLACEMENT_S:
                raise OSError(self._lack())
        while self._waiting and len(self._running) < self._limit:
            number = self._waiting.popleft()
            self._running[self._task.remote(self._shared, self._request.recordings[number])] = number

    def _places(self) -> int:
        """Return how many tasks the cluster runs at the same time."""
        total = ray.cluster_resources()
        return int(min(total.get(name, 0) / count for name, count in self._needs.items()))

    @property
    def _needs(self) -> dict[str, float]:
        needs = {"CPU": self._request.num_cpus, "GPU": self._request.num_gpus}
        return {name: count for name, count in needs.items() if count} or {"CPU": 1.0}

    def _lack(self) -> str:
        total, chosen = ray.cluster_resources(), self._request
        wanted = f"{chosen.num_cpus:g} CPUs and {chosen.num_gpus:g} GPUs (pool.num_cpus, pool.num_gpus)"
        there = f"{total.get('CPU', 0):g} and {total.get('GPU', 0):g}"
        return f"no task can start: each needs {wanted}, the cluster has {there}"

    def _outcome(self, reference: Any, number: int) -> Outcome | None:
        """Return the outcome of a task, None if it was started again with the recording's bytes."""
        recording = self._request.recordings[number]
        try:
            outcome: Outcome = ray.get(reference)
        except _LOST:
            return Outcome(failure="its process or machine was lost several times", is_lost=True)
        if not outcome.is_absent:
            return outcome
        try:
            content = recording.path.read_bytes()
        except OSError as error:
            return Outcome(failure=f"cannot read {recording.path.name!r} ({error.strerror})", is_lost=True)
        self._running[self._task.remote(self._shared, recording, content)] = number
        return None


def main() -> None:
    """Run the request that comes through the socket whose file descriptor is the first argument."""
    connection = Connection(int(sys.argv[1]))
    request: ArchiveRequest = connection.recv()
    threading.Thread(target=_end_with, args=[connection], daemon=True).start()
    try:
        connect(request.address, local_cpus=request.local_cpus)
        ArchiveTasks(request).run(connection)
    except Exception as error:  # noqa: BLE001 - reported to the command
        with suppress(OSError):
            connection.send(ArchiveAnswer(0, Outcome(error=one_line(error))))
    end_process()


def _end_with(connection: Connection) -> None:
    with suppress(EOFError, OSError):
        connection.recv()  # nothing is sent any more: it returns when the command ends
    end_process()


if __name__ == "__main__":
    main()
