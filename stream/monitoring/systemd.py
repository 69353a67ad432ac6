"""Telling systemd that we are ready, alive and stopping (`Type=notify`, `WatchdogSec=`).

The protocol is a datagram to the socket in `$NOTIFY_SOCKET` (sd_notify(3)); without one, nothing is told to nobody.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class SystemdNotifier:
    """A line to the service manager, where there is one."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        known = os.environ if environment is None else environment
        self._address = known.get("NOTIFY_SOCKET", "")
        timeout_us = known.get("WATCHDOG_USEC", "")
        meant_for = known.get("WATCHDOG_PID", "") or str(os.getpid())
        self.watchdog_s = int(timeout_us) / 1e6 if timeout_us.isdigit() and meant_for == str(os.getpid()) else None

    def tell(self, *lines: str) -> None:
        """Send `READY=1`, `WATCHDOG=1`, `STOPPING=1`, `STATUS=…`."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.connect(address)
                line.sendall("\n".join(lines).encode())
        except OSError as error:
            log.warning("the service manager cannot be told anything (%s)", error)
            self._address = ""
