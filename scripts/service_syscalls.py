"""System calls of the service, as strace sees them, against the filter of its systemd unit (`SystemCallFilter`).

    python -m scripts.service_syscalls

Runs the demo with MQTT, an outbox and a file of events, and `serve` until it listens, under strace. Needs strace,
systemd (for the groups of system calls) and mosquitto. Prints one line of JSON; exit code 1 if the filter would refuse
a call.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.faults.report import print_result
from tests.support.mosquitto import Broker

UNIT = Path(__file__).parents[1] / "config" / "service" / "tonewatch-serve.service"
START_TIMEOUT_S = 300.0


def allowed(unit: Path = UNIT) -> frozenset[str]:
    """Return the system calls of the unit's filter, groups expanded."""
    found = re.search(r"^SystemCallFilter=(.+)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{unit} has no SystemCallFilter")
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter"],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n\n")
    groups: dict[str, list[str]] = {}
    for part in listed:
        name, *members = [line.strip() for line in part.splitlines() if line.strip()] or [""]
        groups[name] = [member for member in members if not member.startswith("#")]

    def expand(name: str) -> set[str]:
        if not name.startswith("@"):
            return {name}
        return set().union(*map(expand, groups[name]))

    return frozenset(set().union(*map(expand, found[1].split())))


def traced(command: list[str], record: Path, environment: dict[str, str], *, until: str = "") -> set[str]:
    """Run tonewatch under strace, to its end or until a line of its log; return the names of its system calls."""
    words = ["strace", "-f", "-qq", "-c", "-o", str(record), sys.executable, "-m", "stream", *command]
    with subprocess.Popen(
        words,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        for line in process.stderr or ():
            if until and until in line:
                os.killpg(process.pid, signal.SIGTERM)  # strace passes it on
        process.wait(START_TIMEOUT_S)
    rows = (line.split() for line in record.read_text(encoding="utf-8").splitlines())
    return {row[-1] for row in rows if len(row) >= 5 and row[0].replace(".", "").isdigit() and row[-1] != "total"}  # noqa: PLR2004 - columns


def main() -> None:
    """Trace both commands and print what the filter would refuse."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Broker(folder) as broker:
            sinks = ["--sink", f"mqtt://127.0.0.1:{broker.port}/home", "--sink", str(folder / "events.ndjson")]
            outbox = {"TONEWATCH__MQTT__OUTBOX": str(folder / "outbox")}
            used = traced(["demo", "--preset", "tiny", "--quiet", *sinks], folder / "demo", outbox)
        serve = ["serve", "--port", "0", "--preset", "tiny", "--quiet", "--dashboard"]
        used |= traced(serve, folder / "serve", {}, until="listening on ws://")
    refused = sorted(used - allowed())
    print_result("service_syscalls", held=bool(used) and not refused, used=len(used), refused=refused)


if __name__ == "__main__":
    main()
