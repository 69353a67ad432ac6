"""A Ray cluster of three nodes that loses a replica, a node and its head under 20 live streams; one node is frozen.

    python -m scripts.faults.cluster --seconds 10 --frozen-s 20

A real cluster on this machine; its processes are killed with SIGKILL, as by a loss of power, or stopped (SIGSTOP). The
lane must go on: every window gets a result or is counted as dropped or failed, the counts add up, other replicas take
over at once, the loss of the head falls back to this machine, and everything goes back by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from scripts.faults.report import print_result
from stream.inference.batching import InferenceLane
from stream.inference.cluster import ClusterModels
from stream.inference.cluster_messages import CALLS_PER_REPLICA
from stream.types import Window
from tests.support.ray_cluster import AUTHENTICATION, RayCluster, connect, descendants

STREAMS = 20
HOP_S = 0.5
REPLICAS = 2
BACK_S = 40.0
MAX_TAKE_OVER_S = 4.0


Fault = tuple[Callable[[], None], float, Callable[[], None] | None]
"""What breaks the cluster, for how many seconds, and what repairs it; None: Ray does."""


class LiveStreams:
    """Twenty streams that submit a window each hop, and what became of the windows."""

    def __init__(self, models: ClusterModels) -> None:
        self.models = models
        self.lane: InferenceLane[Window, Any] = InferenceLane(
            name="cluster",
            infer=lambda batch: models.infer(0, batch),
            key=lambda window: len(window.samples),
            workers=REPLICAS * CALLS_PER_REPLICA,
            max_wait_s=0.005,
            deadline_s=1.0,
            active=lambda: STREAMS,
        )
        self.answered = 0
        self.latencies_ms: list[float] = []

    async def run(self, stream: str) -> None:
        """Submit windows until cancelled."""
        window = Window(stream, 0, 0, np.full(48_000, 0.2, np.float32), 1.0, 48_000)
        async with asyncio.TaskGroup() as waiting:
            while True:
                future = await self.lane.submit(stream, window, policy="drop_oldest")
                waiting.create_task(self._wait(future))
                await asyncio.sleep(HOP_S)

    async def _wait(self, future: asyncio.Future[Any]) -> None:
        began_s = time.monotonic()
        if await future is not None:
            self.latencies_ms.append((time.monotonic() - began_s) * 1000)
        self.answered += 1

    async def observe_all(self, faults: Mapping[str, Fault]) -> dict[str, dict[str, Any]]:
        """Run the lane and the streams through all faults, and return the figures of each."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.lane.workers):
                group.create_task(self.lane.run_worker(), name=f"worker {number}")
            tasks = [group.create_task(self.run(f"line-{number}")) for number in range(STREAMS)]
            figures = {name: await self.observe(*what) for name, what in faults.items()}
            for task in tasks:
                task.cancel()
            self.lane.close()
        return figures

    async def observe(
        self, fault: Callable[[], None], seconds_s: float, repair: Callable[[], None] | None
    ) -> dict[str, Any]:
        """Cause a fault, repair it, wait until all replicas answer, and return the figures of that time.

        `repair_s` is how long new nodes take to start, `back_s` how long after that not all replicas answer; after the
        fault itself where Ray repairs it.
        """
        self.latencies_ms, before, began_s = [], self.lane.statistics(), time.monotonic()
        await asyncio.to_thread(fault)
        taken_over_s = await self.until(lambda: bool(self.latencies_ms))
        back_s: float | None = 0.0
        repair_s = 0.0
        if repair is None:
            await self.until(lambda: not self.is_full)
            back_s = await self.until(lambda: self.is_full) and round(time.monotonic() - began_s, 1)
        await asyncio.sleep(seconds_s)
        state = self.models.health().state
        if repair is not None:
            repair_began_s = time.monotonic()
            await asyncio.to_thread(repair)
            repair_s = round(time.monotonic() - repair_began_s, 1)
            back_s = await self.until(lambda: self.is_full)
        after = self.lane.statistics()
        return {
            "scored_after_s": taken_over_s,
            "state": state,
            "repair_s": repair_s,
            "back_s": back_s,
            "took_s": round(time.monotonic() - began_s, 1),
            "scored": after.inferred - before.inferred,
            "dropped": after.dropped - before.dropped,
            "failed": after.failed - before.failed,
            "p95_ms": round(float(np.percentile(self.latencies_ms, 95)), 1) if self.latencies_ms else None,
        }

    @property
    def is_full(self) -> bool:
        """Whether all replicas answer."""
        return self.models.health().replicas_up == REPLICAS

    async def until(self, condition: Callable[[], bool]) -> float | None:
        """Wait for a condition; returns how long it took, None if too long."""
        began_s = time.monotonic()
        while time.monotonic() - began_s < BACK_S:
            if condition():
                return round(time.monotonic() - began_s, 1)
            await asyncio.sleep(0.02)
        return None


def _signal(pid: int, number: signal.Signals) -> None:
    for process in descendants(pid):
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _is_within(seconds_s: float | None) -> bool:
    return seconds_s is not None and seconds_s < MAX_TAKE_OVER_S


async def _measure(cluster: RayCluster, *, seconds_s: float, frozen_s: float) -> None:
    workers = [cluster.add_node(cpus=1) for _ in range(REPLICAS)]
    models = await asyncio.to_thread(connect, cluster.address, replicas=REPLICAS, num_cpus=1)
    streams = LiveStreams(models)
    await streams.until(lambda: streams.is_full)

    def lose_head() -> None:
        for node in list(cluster.nodes):
            cluster.kill(node)

    def start_again() -> None:
        cluster.start_head()
        for _ in range(REPLICAS):
            cluster.add_node(cpus=1)

    def kill_replica() -> None:
        os.kill(int(models.infer(0, [Window("", 0, 0, np.zeros(48_000, np.float32), 1.0, 1)])[0][0].values[2]), 9)

    def replace_frozen() -> None:
        _signal(workers[0].pid, signal.SIGCONT)
        cluster.kill(workers[0])  # Ray has removed a node that was silent, and its processes end
        cluster.add_node(cpus=1)

    def add_node() -> None:
        cluster.add_node(cpus=1)

    def nothing() -> None:
        pass

    faults: dict[str, Fault] = {
        "none": (nothing, seconds_s, nothing),
        "replica_killed": (kill_replica, seconds_s, None),
        "node_frozen": (
            lambda: _signal(workers[0].pid, signal.SIGSTOP),
            frozen_s,
            replace_frozen,
        ),
        "node_killed": (lambda: cluster.kill(workers[1]), seconds_s, add_node),
        "head_killed": (lose_head, seconds_s, start_again),
    }
    figures = await streams.observe_all(faults)
    counts = streams.lane.statistics()
    began_s = time.monotonic()
    await asyncio.to_thread(models.close)
    print_result(
        "cluster",
        held=counts.submitted == counts.inferred + counts.dropped + counts.failed
        and counts.waiting == 0
        and figures["head_killed"]["state"] == "fallback"
        and all(one["back_s"] is not None and _is_within(one["scored_after_s"]) for one in figures.values()),
        submitted=counts.submitted,
        faults=figures,
        closed_s=round(time.monotonic() - began_s, 1),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--frozen-s", type=float, default=20.0)
    options = parser.parse_args()
    os.environ.update(AUTHENTICATION)
    with tempfile.TemporaryDirectory() as temporary, RayCluster(Path(temporary), head_cpus=0) as running:
        asyncio.run(_measure(running, seconds_s=options.seconds, frozen_s=options.frozen_s))
