"""A real mosquitto on a loopback port of its own, ended by its process id."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.support.requirements import require

START_TIMEOUT_S = 20.0


class Broker:
    """One broker; it can be killed and started again on the same port."""

    def __init__(
        self,
        folder: Path,
        *,
        users: dict[str, str] | None = None,
        certificates: Path | None = None,
        client_authority: Path | None = None,
        rules: str = "",
        websockets: bool = False,
    ) -> None:
        require("mosquitto")
        self._folder = folder
        self._client_authority = client_authority
        self._rules = rules
        self._users = users or {}
        self._certificates = certificates
        self.port = _free_port()
        self.websocket_port = _free_port() if websockets else 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the broker and wait until it accepts connections."""
        config = self._folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "persistence false", "user root", "max_queued_messages 0"]
        if self._users:
            passwords = self._folder / "passwords"
            passwords.write_text("".join(f"{user}:{password}\n" for user, password in self._users.items()))
            passwords.chmod(0o600)
            subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        else:
            lines.append("allow_anonymous true")
        if self._certificates is not None:
            lines += [f"certfile {self._certificates / 'server.pem'}", f"keyfile {self._certificates / 'server.key'}"]
            if self._client_authority is not None:
                lines += [f"cafile {self._client_authority}", "require_certificate true"]
        if self._rules:
            rules = self._folder / "rules"
            rules.write_text(self._rules)
            rules.chmod(0o600)
            lines.append(f"acl_file {rules}")
        if self.websocket_port:
            lines += [f"listener {self.websocket_port} 127.0.0.1", "protocol websockets", "allow_anonymous true"]
        config.write_text("\n".join(lines) + "\n")
        program = shutil.which("mosquitto") or "mosquitto"
        self._process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self._process.poll() is None, "mosquitto did not start"
                assert time.monotonic() < deadline, "mosquitto does not answer"
                time.sleep(0.02)  # polls another process, which has no event to wait for
            else:
                return

    def freeze(self) -> None:
        """Stop the process, so that the broker answers nothing until it is killed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Kill the broker without closing its connections."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
