"""A Ray cluster on this machine, of processes that a test can kill one by one, and models for its replicas."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from stream.errors import InferenceError
from stream.inference.cluster import ClusterModels
from stream.inference.pool import SingleModel
from stream.inference.replica import Loader
from stream.settings import PoolSettings
from stream.types import Ensemble, Scores, Window
from tests.support.fakes import FakeModel

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 40.0
STARTED = b"Ray runtime started"
AUTHENTICATION = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-the-tests-0123456789abcdef"}
"""Variables of every process of the cluster, and of nodes that connect to it."""


class RayCluster:
    """A head and worker nodes, each a process group of its own."""

    def __init__(self, folder: Path, *, head_cpus: int = 2) -> None:
        self._folder = folder
        self._head_cpus = head_cpus
        self._host = _own_address()
        self.port, self.client_port = _free_port(), _free_port()
        self.nodes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """Address of the head."""
        return f"{self._host}:{self.port}"

    @property
    def client_address(self) -> str:
        """Address for machines that have not joined."""
        return f"ray://{self._host}:{self.client_port}"

    def __enter__(self) -> Self:
        """Start the head."""
        self.start_head()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all nodes."""
        for node in reversed(self.nodes):
            self.kill(node)

    def start_head(self) -> subprocess.Popen[bytes]:
        """Start the head, and wait until it runs."""
        node = self._start(
            "--head",
            f"--port={self.port}",
            "--include-dashboard=false",
            f"--ray-client-server-port={self.client_port}",
            cpus=self._head_cpus,
        )
        until_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until_s:
            with suppress(OSError), socket.create_connection((self._host, self.client_port), timeout=1):
                return node
            time.sleep(0.1)
        raise TimeoutError("the head does not listen for Ray's client")

    def add_node(self, *, cpus: int) -> subprocess.Popen[bytes]:
        """Start a worker node, and wait until it has joined: two that start at once may take the same socket."""
        return self._start(f"--address={self.address}", cpus=cpus)

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """Kill all processes of a node at once, as a machine that loses power."""
        for pid in descendants(node.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()
        if node.stdout is not None:
            node.stdout.close()
        self.nodes = [one for one in self.nodes if one is not node]

    def _start(self, *options: str, cpus: int) -> subprocess.Popen[bytes]:
        ray = str(Path(sys.executable).with_name("ray"))
        node = subprocess.Popen(
            [
                *(ray, "start", *options, "--block", f"--num-cpus={cpus}"),
                *("--disable-usage-stats", f"--object-store-memory={100 * 2**20}"),
                *((f"--temp-dir={self._folder}",) if "--head" in options else ()),
            ],
            env={
                **os.environ,
                **AUTHENTICATION,
                "PYTHONPATH": str(ROOT),
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_health_check_period_ms": "500",
                "RAY_health_check_timeout_ms": "1000",
                "RAY_health_check_failure_threshold": "3",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.nodes.append(node)
        _wait_until_running(node)
        return node


class ProcessModel(FakeModel):
    """The level of each window, and the process that scored it; a window of ones fails."""

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        """Score windows."""
        if any(window.samples.min() > 0.99 for window in batch):
            raise InferenceError("a window of ones")
        scored = super().infer(batch)
        return [
            Scores(
                one.model,
                one.source_id,
                one.index,
                one.start_sample,
                one.end_sample,
                np.append(one.values, np.float32(os.getpid())),
            )
            for one in scored
        ]


def load_process_model() -> tuple[Sequence[Ensemble], Callable[[int], None]]:
    """Load a `ProcessModel`."""
    return [SingleModel(ProcessModel())], lambda _: None


def connect(
    address: str, load: Loader = load_process_model, *, is_lossless: bool = False, **pool: Any
) -> ClusterModels:
    """Connect to a cluster as a node does."""
    settings = PoolSettings.model_validate({"cluster": address, "num_cpus": 0.5, **pool})
    return ClusterModels(settings=settings, load=load, is_lossless=is_lossless)


def _wait_until_running(node: subprocess.Popen[bytes]) -> None:
    """Wait until `ray start` says that its node runs. Raises `TimeoutError`."""
    assert node.stdout is not None  # requested
    os.set_blocking(node.stdout.fileno(), False)
    until_s, said = time.monotonic() + START_TIMEOUT_S, b""
    while STARTED not in said:
        if time.monotonic() > until_s or node.poll() is not None:
            raise TimeoutError(f"a node of the cluster did not start: {said.decode(errors='replace')}")
        select.select([node.stdout], [], [], 0.2)
        said += node.stdout.read() or b""


def _own_address() -> str:
    """Return this machine's address as Ray finds it; Ray takes a loopback address for this one, and then waits."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing
        address: str = probe.getsockname()[0]
        return address
    return "127.0.0.1"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def descendants(pid: int) -> list[int]:
    """Return a process and all its descendants, the innermost first."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += descendants(int(child))
    return [*found, pid]
