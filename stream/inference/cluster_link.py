"""The bridge's process as the node sees it: it is asked, listened to, and started again when it ends."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection

from stream.inference import connected_process
from stream.inference.cluster_messages import BridgeSettings, BridgeState, Request, Result
from stream.inference.replica import ModelGroups, encode
from stream.types import Window, WindowSpec

MAX_BACKOFF_S = 5.0
CLOSE_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class ClusterLink:
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
        self._process, connection = connected_process.start("stream.inference.cluster_bridge")
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
