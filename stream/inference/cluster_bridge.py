"""The bridge between a node and the replicas of its models on a Ray cluster, run as a process of its own.

A process that is connected to a cluster is ended by Ray when the cluster's head is gone; the node must not be. So the
bridge holds the connection and the handles of the replicas, and a node that lost its bridge starts another one. The
bridge ends when the node closes the socket, without waiting for the cluster.

A replica takes `CALLS_PER_REPLICA` calls at a time. A call whose replica is lost is repeated once on another one while
its windows are fresh. A replica that has not answered a ping within `PROMPT_S` gets no call while another one answers,
and its calls are repeated; after `PING_TIMEOUT_S` it counts as lost until it answers. Without any replica for
`LOST_AFTER_S` the bridge ends, and the next one creates replicas anew.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import ray
from ray import exceptions

from stream import __version__
from stream.inference.cluster_messages import CALLS_PER_REPLICA, BridgeSettings, BridgeState, Request, Result
from stream.inference.ray_connection import connect, end_process, one_line
from stream.inference.replica import Replica

PING_INTERVAL_S = 0.2
PROMPT_S = 0.5
PING_TIMEOUT_S = 2.0
CHECK_INTERVAL_S = 0.05
LOST_AFTER_S = 5.0
PLACEMENT_WARNING_S = 10.0

_LOST = (exceptions.RayActorError, exceptions.NodeDiedError, exceptions.WorkerCrashedError, exceptions.RaySystemError)


@dataclass(eq=False, slots=True)
class _Seat:
    """A replica as the bridge sees it: its actor, calls in flight, and the ping that is on its way."""

    actor: Any
    is_up: bool = False
    is_prompt: bool = False
    calls: dict[int, Request] = field(default_factory=dict)
    ping: Any = None
    pinged_s: float = 0.0


class Bridge:
    """Connects to the cluster, and passes batches to replicas."""

    def __init__(self, connection: Connection, settings: BridgeSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._sending = threading.Lock()
        self._lock = threading.RLock()
        self._seats: list[_Seat] = []
        self._began_s: dict[int, float] = {}  # of every request that has no result
        self._repeated: set[int] = set()
        self._models: Any = ()
        self._reported: BridgeState | None = None

    def run(self) -> None:
        """Serve until the node closes the socket."""
        threading.Thread(target=self._supervise, name="supervisor", daemon=True).start()
        with suppress(EOFError, OSError):
            while True:
                self._submit(self._connection.recv())

    def _send(self, message: object) -> None:
        with self._sending, suppress(OSError):  # the node is gone, which `run` notices
            self._connection.send(message)

    # the supervisor's thread

    def _supervise(self) -> None:
        try:
            chosen = self._settings
            connect(chosen.address, namespace=chosen.namespace, local_cpus=chosen.replicas * chosen.num_cpus)
            self._seats = [_Seat(self._actor(number)) for number in range(self._settings.replicas)]
            began_s = lost_s = time.monotonic()
            while time.monotonic() - lost_s < LOST_AFTER_S or not self._models:
                self._check_seats()
                if self._count_up():
                    lost_s = time.monotonic()
                elif not self._models and time.monotonic() - began_s > PLACEMENT_WARNING_S:
                    self._report(BridgeState(0, detail=self._placement()))
                time.sleep(CHECK_INTERVAL_S)
        except Exception as error:  # noqa: BLE001 - reported to the node
            self._send(BridgeState(0, detail=one_line(error)))
        os._exit(1)  # the next bridge starts anew

    def _actor(self, number: int) -> Any:
        """Return a replica of this node's own, or with a namespace the one shared by all nodes with equal models."""
        chosen = self._settings
        options: dict[str, Any] = {
            "num_cpus": chosen.num_cpus,
            "num_gpus": chosen.num_gpus,
            "max_restarts": -1,
            "max_concurrency": CALLS_PER_REPLICA + 2,  # pings and `describe` besides
            "scheduling_strategy": "SPREAD",
        }
        if chosen.namespace:
            digest = hashlib.sha256(repr((__version__, chosen.threads, chosen.load)).encode()).hexdigest()[:12]
            options |= {"name": f"tonewatch-{digest}-{number}", "lifetime": "detached", "get_if_exists": True}
            options["max_concurrency"] *= 8  # nodes that share it
        return ray.remote(Replica).options(**options).remote(chosen.load, chosen.threads)

    def _check_seats(self) -> None:
        for seat in self._seats:
            now_s = time.monotonic()
            if seat.ping is None:
                if now_s - seat.pinged_s >= PING_INTERVAL_S:
                    call = seat.actor.ping if self._models else seat.actor.describe
                    seat.ping, seat.pinged_s = call.remote(), now_s
                continue
            done, _ = ray.wait([seat.ping], timeout=0)
            if done:
                self._finish_ping(seat)
            elif now_s - seat.pinged_s > PING_TIMEOUT_S:
                self._set_lost(seat)
            elif now_s - seat.pinged_s > PROMPT_S and seat.is_prompt:
                seat.is_prompt = False
                if any(one.is_prompt for one in self._seats):
                    self._repeat_calls(seat)
        self._report(BridgeState(self._count_up(), self._models, ""))

    def _finish_ping(self, seat: _Seat) -> None:
        ping, seat.ping = seat.ping, None
        try:
            answer = ray.get(ping)
        except exceptions.RayTaskError as error:  # `describe` failed
            raise error.cause from None
        except exceptions.ActorDiedError as error:
            if not self._models:
                raise RuntimeError(one_line(error)) from None
            self._set_lost(seat)
        except _LOST:
            self._set_lost(seat)
        else:
            self._models = self._models or answer
            seat.is_up = seat.is_prompt = True

    def _set_lost(self, seat: _Seat) -> None:
        seat.is_up = seat.is_prompt = False
        self._repeat_calls(seat)

    def _repeat_calls(self, seat: _Seat) -> None:
        with self._lock:
            requests = list(seat.calls.values())
            seat.calls.clear()
        for request in requests:
            self._repeat(request, "its replica does not answer")

    def _count_up(self) -> int:
        return sum(seat.is_up for seat in self._seats)

    def _report(self, state: BridgeState) -> None:
        if state != self._reported and (self._models or state.detail):
            self._reported = state
            self._send(state)

    def _placement(self) -> str:
        total, chosen = ray.cluster_resources(), self._settings
        cpus, gpus = total.get("CPU", 0), total.get("GPU", 0)
        if cpus >= chosen.num_cpus and gpus >= chosen.num_gpus:
            return "no replica has loaded its models yet"
        wanted = f"{chosen.num_cpus:g} CPUs and {chosen.num_gpus:g} GPUs (pool.num_cpus, pool.num_gpus)"
        return f"no replica can start: each needs {wanted}, the cluster has {cpus:g} and {gpus:g}"

    # requests

    def _submit(self, request: Request) -> None:
        self._began_s[request.number] = time.monotonic()
        self._call(request)

    def _call(self, request: Request) -> None:
        """Ask the replica with the fewest calls."""
        with self._lock:
            seats = [seat for seat in self._seats if seat.is_prompt] or [seat for seat in self._seats if seat.is_up]
            if not seats:
                self._finish(Result(request.number, error="no replica answers", is_lost=True))
                return
            seat = min(seats, key=lambda one: len(one.calls))
            seat.calls[request.number] = request
        try:
            reference = seat.actor.infer.remote(request.lane, request.headers, *request.samples)
        except Exception as error:  # noqa: BLE001 - the connection of a Ray client is lost
            self._finish(Result(request.number, error=str(error), is_lost=True))
            return
        reference.future().add_done_callback(lambda done: self._receive(seat, request, done))

    def _receive(self, seat: _Seat, request: Request, done: Any) -> None:
        with self._lock:
            if seat.calls.pop(request.number, None) is None:
                return  # it was repeated or given up
        error = done.exception()
        if error is None:
            self._finish(Result(request.number, values=done.result()))
        elif isinstance(error, _LOST):
            seat.is_up = seat.is_prompt = False  # until it answers a ping
            self._repeat(request, "its replica died")
        else:
            cause = getattr(error, "cause", None) or error
            self._finish(Result(request.number, error=str(cause)))

    def _repeat(self, request: Request, reason: str) -> None:
        age_s = time.monotonic() - self._began_s.get(request.number, 0.0)
        if request.number in self._repeated or age_s > request.fresh_s:
            self._finish(Result(request.number, error=f"{reason}, after {age_s:.1f} s", is_lost=True))
            return
        with self._lock:
            self._repeated.add(request.number)
        if not self._wait_for_seat(request, age_s):
            self._call(request)

    def _wait_for_seat(self, request: Request, age_s: float) -> bool:
        """Ask later if no replica is up and one may be again while the windows are fresh."""
        left_s = min(request.fresh_s - age_s, LOST_AFTER_S)
        if self._count_up() or left_s <= 0:
            return False
        threading.Timer(min(left_s, PROMPT_S), self._call, [request]).start()
        return True

    def _finish(self, result: Result) -> None:
        with self._lock:
            if self._began_s.pop(result.number, None) is None:
                return
            is_repeated = result.number in self._repeated
            self._repeated.discard(result.number)
        self._send(Result(result.number, result.values, result.error, result.is_lost, is_repeated))


def main() -> None:
    """Run a bridge on the socket whose file descriptor is the first argument."""
    connection = Connection(int(sys.argv[1]))
    Bridge(connection, connection.recv()).run()
    end_process()


if __name__ == "__main__":
    main()
