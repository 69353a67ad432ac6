"""A broker that accepts connections and never responds: processing goes on, memory is bounded, events wait on disk.

    python -m scripts.faults.stall

The bundled conversation is processed with such a broker as its sink, and a file that must hold every event. What the
broker did not accept must be in the outbox.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

from scripts.faults.report import print_result
from stream.events import from_json


def _accept(server: socket.socket, connections: list[socket.socket]) -> None:
    """Accept connections and send nothing."""
    while True:
        try:
            connections.append(server.accept()[0])
        except OSError:  # closed
            return


def main() -> None:
    """Run the demo against a socket that sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as folder:
        connections: list[socket.socket] = []
        threading.Thread(target=_accept, args=(server, connections), daemon=True).start()
        port = server.getsockname()[1]
        command = [sys.executable, "-m", "stream", "demo", "--quiet", "--preset", "tiny"]
        command += [
            "--sink",
            f"{folder}/events.ndjson",
            "--sink",
            f"mqtt://127.0.0.1:{port}/home",
            "--set",
            f"mqtt.outbox={folder}/box",
        ]
        began_s = time.monotonic()
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=300, check=False)
        took_s = time.monotonic() - began_s
        events = [from_json(line) for line in Path(f"{folder}/events.ndjson").read_text(encoding="utf-8").splitlines()]
        ordered = [event.id for event in events if event.type in ("turn", "stream")]
        (file,) = Path(f"{folder}/box").glob("*.sqlite")
        with closing(sqlite3.connect(file)) as database:
            rows = database.execute("SELECT payload FROM pending ORDER BY number").fetchall()
        pending = [from_json(payload).id for (payload,) in rows]
        health = events[-1]
        memory_mb = getattr(health, "memory_mb", None)
    print_result(
        "stall",
        held=pending == ordered and bool(connections) and "Traceback" not in done.stderr,
        connections=len(connections),
        events=len(events),
        turn_and_stream_events=len(ordered),
        in_outbox=len(pending),
        same_order=pending == ordered,
        memory_mb=memory_mb,
        took_s=round(took_s, 1),
        message=re.sub(r"127\.0\.0\.1:\d+", "BROKER", done.stderr.strip().splitlines()[-1]) if done.stderr else "",
    )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
