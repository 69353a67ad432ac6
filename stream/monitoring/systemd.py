"""Notifications to systemd: ready, alive, stopping (`Type=notify`, `WatchdogSec=`).

The protocol is a datagram to the socket in `$NOTIFY_SOCKET` (sd_notify(3)); without that variable nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class SystemdNotifier:
    """Sends datagrams to the service manager, if there is one."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        variables = os.environ if environment is None else environment
        self._address = variables.get("NOTIFY_SOCKET", "")
        timeout_us = variables.get("WATCHDOG_USEC", "")
        own_pid = str(os.getpid())
        is_own = (variables.get("WATCHDOG_PID", "") or own_pid) == own_pid
        self.watchdog_s = int(timeout_us) / 1e6 if timeout_us.isdigit() and is_own else None

    def notify(self, *assignments: str) -> None:
        """Send assignments such as `READY=1`, `WATCHDOG=1`, `STOPPING=1`, `STATUS=…`; after an error, send no more."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.connect(address)
                connection.sendall("\n".join(assignments).encode())
        except OSError as error:
            log.warning("cannot notify systemd (%s); no more notifications are sent", error)
            self._address = ""
