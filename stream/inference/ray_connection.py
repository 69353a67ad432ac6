"""Connection to a Ray cluster; imported only in the processes that hold one (`connected_process`)."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from typing import Any

import ray

CONNECT_TIMEOUT_S = 3.0
SHUTDOWN_S = 3.0
LOCAL_OBJECT_STORE_BYTES = 100 * 2**20
"""Windows travel inside calls, so a cluster of this node's own needs hardly any shared memory."""


def connect(address: str, *, namespace: str = "", local_cpus: float) -> None:
    """Connect to the cluster at `address`; `local` starts one with `local_cpus` cores.

    Raises `OSError` if nothing listens there, and what Ray raises.
    """
    options: dict[str, Any] = {"namespace": namespace or None, "log_to_driver": False, "logging_level": "error"}
    if address == "local":
        options |= {
            "address": "local",
            "num_cpus": max(1, round(local_cpus)),
            "include_dashboard": False,
            "object_store_memory": LOCAL_OBJECT_STORE_BYTES,
        }
    else:
        _check_reachable(address)
        options["address"] = address
    ray.init(**options)


def end_process() -> None:
    """Disconnect, and end this process, also if the cluster does not answer."""
    timer = threading.Timer(SHUTDOWN_S, os._exit, [0])
    timer.daemon = True
    timer.start()
    with suppress(Exception):
        ray.shutdown()
    os._exit(0)


def one_line(error: BaseException) -> str:
    """Return the line of an error that names its cause; in a remote trace the lines above it are calls."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in reversed(lines) if "Error: " in line), lines[0])


def _check_reachable(address: str) -> None:
    """Raise `OSError` if nothing listens at an address: Ray itself would try for a minute or more."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdecimal():
        return  # `auto`, or a form that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise OSError(f"nothing answers at {address}: {error.strerror or error}; start it with `ray start`") from None
