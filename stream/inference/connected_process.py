"""A process that holds a connection to a cluster for this one, and the socket between the two.

Ray ends a process whose head is gone, so no node connects by itself. Messages travel pickled over a socket pair that
no other process can reach; the process ends when the socket is closed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from multiprocessing.connection import Connection

_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "3",  # seconds; 30 by default, in which calls over `ray://` fail
}


def start(module: str) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start `python -m module DESCRIPTOR`; returns the process and this end of the socket."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-m", module, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # Ray's own log files have it
            start_new_session=True,  # a Ctrl-C is for the node, which then closes the socket
            env=_environment(),
        )
    return process, Connection(ours.detach())


def _environment() -> dict[str, str]:
    """Return the process's environment: without settings, whose secrets a cluster started by it would inherit."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TONEWATCH__")}
    return {**_RAY, **own, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
