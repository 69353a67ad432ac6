"""Models on a Ray cluster, as a node sees them: ensembles whose `infer` sends a batch to a replica and waits for it.

The lanes stay as they are: their threads wait for the cluster instead of computing, so a queue, its deadlines, the
order of the audio and the counts hold unchanged, and calls in flight are bounded by the number of threads. The
connection to the cluster is held by a process of its own (`cluster_bridge`), started again with backoff when it ends.

While no replica answers, windows are scored by the same models on the node itself if there is a fallback, loaded when
it is first needed; without one they fail. Either way the run goes on, and returns to the cluster by itself.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Literal

from stream.errors import ClusterUnavailable, InferenceError, ModelError, SettingsError
from stream.events import ClusterHealth
from stream.inference.cluster_messages import BridgeSettings, BridgeState, Request, Result
from stream.inference.replica import Loader, ModelGroups, describe, encode
from stream.settings import PoolSettings
from stream.types import Ensemble, ModelInfo, Scores, Window, WindowSpec

START_TIMEOUT_S = 120.0
"""Time for the first replica to load its models."""

MAX_BACKOFF_S = 5.0
CLOSE_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class ClusterModels:
    """All models of a run on a cluster.

    Args:
        settings: Address, replicas and timeouts.
        load: Loads the models, in a replica or, as the fallback, here.
        is_lossless: No audio is live: a lost batch is repeated however old it is.
    """

    def __init__(self, *, settings: PoolSettings, load: Loader, is_lossless: bool = False) -> None:
        if find_spec("ray") is None:
            raise SettingsError("pool.cluster needs Ray; install it with `pip install 'tonewatch[ray]'`")
        self._settings = settings
        self._fallback = _Fallback(load, settings) if settings.fallback == "same" else None
        self._link = _Link(_bridge_settings(settings, load))
        self._fresh_s = settings.cluster_timeout_s if is_lossless else settings.deadline_ms / 1000
        self._finalizer = weakref.finalize(self, self._link.close)
        groups = self._start()
        self.ensembles: tuple[RemoteEnsemble, ...] = tuple(
            RemoteEnsemble(self, lane, group) for lane, group in enumerate(groups)
        )

    def close(self) -> None:
        """Disconnect; waits a moment for a cluster of this node's own to end, never for one that is gone."""
        self._finalizer()

    def health(self) -> ClusterHealth:
        """Return the state of the connection."""
        link, local = self._link, self._fallback.windows if self._fallback else 0
        state: Literal["connected", "fallback", "lost"] = "connected"
        if not link.replicas_up:
            state = "fallback" if self._fallback else "lost"
        return ClusterHealth(
            state=state,
            replicas=self._settings.replicas,
            replicas_up=link.replicas_up,
            repeated=link.repeated,
            local=local,
            outages=link.outages,
            detail=link.detail if not link.replicas_up else "",
        )

    def infer(self, lane: int, batch: Sequence[Window]) -> list[list[Scores]]:
        """Score a batch on the cluster, or by the fallback while the cluster is gone.

        Raises `ClusterUnavailable` if neither can, `InferenceError` if the model fails.
        """
        if self._fallback is not None and not self._link.replicas_up:
            return self._fallback.infer(lane, batch)
        if not self._link.replicas_up and not self._link.wait_until_up(self._fresh_s):
            raise ClusterUnavailable(f"the cluster is unavailable: {self._link.detail or 'no replica answers'}")
        result = self._link.ask(
            lane,
            batch,
            is_exact=self._settings.cluster_samples == "float32",
            fresh_s=self._fresh_s,
            timeout_s=self._settings.cluster_timeout_s,
        )
        if result.is_lost:
            raise ClusterUnavailable(f"the cluster is unavailable: {result.error}")
        if result.error:
            raise InferenceError(result.error)
        names = [model.info.name for model in self.ensembles[lane].models]
        return [
            [
                Scores(name, window.source_id, window.index, window.start_sample, window.end_sample, values[number])
                for name, values in zip(names, result.values, strict=True)
            ]
            for number, window in enumerate(batch)
        ]

    def _start(self) -> ModelGroups:
        self._link.start()
        until_s = time.monotonic() + START_TIMEOUT_S
        while not (groups := self._link.models) and time.monotonic() < until_s:
            if self._link.failures:
                break
            self._link.wait_until_up(0.1)
        if groups:
            return groups
        reason = self._link.detail or f"no replica has started within {START_TIMEOUT_S:g} s"
        if self._fallback is None:
            self.close()
            raise ModelError(f"cannot use the cluster {self._settings.cluster!r} (pool.cluster): {reason}")
        log.warning("cluster %s: %s; models run on this node meanwhile", self._settings.cluster, reason)
        self._link.models = describe(self._fallback.ensembles())
        return self._link.models


class RemoteEnsemble:
    """The models of one lane; a model alone is an ensemble of one."""

    def __init__(self, cluster: ClusterModels, lane: int, group: Sequence[tuple[ModelInfo, WindowSpec]]) -> None:
        self.cluster = cluster
        self._lane = lane
        self.models = tuple(RemoteModel(self, index, info, spec) for index, (info, spec) in enumerate(group))

    def infer(self, batch: Sequence[Window]) -> list[list[Scores]]:
        """Score windows of equal length by all models."""
        return self.cluster.infer(self._lane, batch)

    def health(self) -> ClusterHealth:
        """Return the state of the connection."""
        return self.cluster.health()


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """One model on the cluster."""

    ensemble: RemoteEnsemble
    index: int
    info: ModelInfo
    spec: WindowSpec

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        """Score windows of equal length."""
        return [scores[self.index] for scores in self.ensemble.infer(batch)]


class _Fallback:
    """The same models on this node; `pool.workers` batches at a time."""

    def __init__(self, load: Loader, settings: PoolSettings) -> None:
        self._load = load
        self._loading = threading.Lock()
        self._computing = threading.Semaphore(settings.workers)
        self._ensembles: Sequence[Ensemble] = ()
        self.windows = 0

    def ensembles(self) -> Sequence[Ensemble]:
        """Return the models; the first call loads them."""
        with self._loading:
            if not self._ensembles:
                self._ensembles, _ = self._load()
            return self._ensembles

    def infer(self, lane: int, batch: Sequence[Window]) -> list[list[Scores]]:
        """Score a batch."""
        ensembles = self.ensembles()
        with self._computing:
            results = [list(scores) for scores in ensembles[lane].infer(batch)]
            self.windows += len(batch)
        return results


class _Link:
    """The bridge's process and the results that are waited for; a thread reads, and starts the next bridge."""

    def __init__(self, settings: BridgeSettings) -> None:
        self._settings = settings
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Result]] = {}
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()
        self.models: ModelGroups = ()
        self.replicas_up = self.repeated = self.outages = self.failures = 0
        self.detail = ""

    def start(self) -> None:
        """Start the first bridge."""
        threading.Thread(target=self._run, name="tonewatch-cluster", daemon=True).start()

    def close(self) -> None:
        """End the bridge."""
        self._closing.set()
        process = self._process
        self._disconnect()
        if process is not None:
            try:
                process.wait(CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def wait_until_up(self, timeout_s: float) -> bool:
        """Wait until a replica answers; returns whether one does."""
        with self._changed:
            return self._changed.wait_for(lambda: self.replicas_up > 0, timeout_s)

    def ask(self, lane: int, batch: Sequence[Window], *, is_exact: bool, fresh_s: float, timeout_s: float) -> Result:
        """Send a batch and wait for its result."""
        number = next(self._numbers)
        headers, samples = zip(*(encode(window, is_exact=is_exact) for window in batch), strict=True)
        answer = self._waiting[number] = Future()
        try:
            with self._sending:
                if self._connection is None:
                    return Result(number, error=self.detail, is_lost=True)
                self._connection.send(Request(number, lane, headers, samples, fresh_s))
            return answer.result(timeout_s)
        except OSError:
            return Result(number, error="the connection is lost", is_lost=True)
        except TimeoutError:
            reason = f"no result within {timeout_s:g} s (pool.cluster_timeout_s)"
            return Result(number, error=reason, is_lost=True)
        finally:
            self._waiting.pop(number, None)

    def _run(self) -> None:
        while not self._closing.is_set():
            began_s = time.monotonic()
            self._connect()
            self._read()
            self._disconnect()
            self._lose()
            backoff_s = min(2.0 ** min(self.failures, 4) / 4, MAX_BACKOFF_S)
            self._closing.wait(max(0.0, backoff_s - (time.monotonic() - began_s)))

    def _connect(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-m", "stream.inference.cluster_bridge", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # Ray's own log files have it
                start_new_session=True,  # a Ctrl-C is for the node, which then closes the socket
                env={
                    "RAY_USAGE_STATS_ENABLED": "0",
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
            )
        connection = Connection(ours.detach())
        with suppress(OSError):
            connection.send(self._settings)
        with self._sending:
            self._connection = connection

    def _read(self) -> None:
        connection = self._connection
        with suppress(EOFError, OSError):
            while connection is not None:
                message = connection.recv()
                if isinstance(message, BridgeState):
                    self._take_state(message)
                else:
                    self.repeated += message.is_repeated
                    answer = self._waiting.get(message.number)
                    if answer is not None and not answer.done():
                        answer.set_result(message)

    def _take_state(self, state: BridgeState) -> None:
        is_other = bool(self.models and state.models) and _names(state.models) != _names(self.models)
        detail = "its replicas hold other models than this node was started with" if is_other else state.detail
        replicas_up = 0 if is_other else state.replicas_up
        if replicas_up != self.replicas_up or detail:
            log.log(
                logging.INFO if replicas_up else logging.WARNING,
                "cluster: %d of %d replicas answer%s",
                replicas_up,
                self._settings.replicas,
                f"; {detail}" if detail else "",
            )
        with self._changed:
            self.outages += bool(self.replicas_up and not replicas_up)
            self.models = self.models or state.models
            self.replicas_up, self.detail = replicas_up, detail or self.detail
            if replicas_up:
                self.failures = 0
            self._changed.notify_all()

    def _disconnect(self) -> None:
        with self._sending:
            connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as copy:
                copy.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
            connection.close()

    def _lose(self) -> None:
        """Give up all requests; the bridge has ended."""
        with self._changed:
            self.outages += bool(self.replicas_up)
            self.replicas_up = 0
            self.failures += 1
            self.detail = self.detail or "the connection is lost"
            self._changed.notify_all()
        for number, answer in list(self._waiting.items()):
            if not answer.done():
                answer.set_result(Result(number, error="the connection is lost", is_lost=True))
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_TIMEOUT_S)
            self._process.kill()
            self._process.wait()


def _names(groups: ModelGroups) -> list[list[tuple[str, str, WindowSpec]]]:
    return [[(info.name, info.revision, spec) for info, spec in group] for group in groups]


def _bridge_settings(settings: PoolSettings, load: Loader) -> BridgeSettings:
    return BridgeSettings(
        address=settings.cluster,
        namespace=settings.namespace,
        replicas=settings.replicas,
        num_cpus=settings.num_cpus,
        num_gpus=settings.num_gpus,
        threads=settings.threads or max(1, int(settings.num_cpus)),
        load=load,
    )
