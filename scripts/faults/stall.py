"""A broker that accepts connections and never answers: listening goes on, memory stays bounded, events wait on disk.

    python -m scripts.faults.stall

The bundled conversation is heard in full, as often as asked, with such a broker as its sink; beside it a file that must
hold every event. What the broker did not take must lie in the outbox.
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

from scripts.faults.report import say
from stream.events import from_json


def _take(server: socket.socket, taken: list[socket.socket]) -> None:
    """Accept, and say nothing."""
    while True:
        try:
            taken.append(server.accept()[0])
        except OSError:  # closed
            return


def main() -> None:
    """Run the program against a socket that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as folder:
        taken: list[socket.socket] = []
        threading.Thread(target=_take, args=(server, taken), daemon=True).start()
        port = server.getsockname()[1]
        words = [sys.executable, "-m", "stream", "demo", "--quiet", "--sink", f"{folder}/events.ndjson"]
        words += ["--sink", f"mqtt://127.0.0.1:{port}/home", "--set", f"mqtt.outbox={folder}/box"]
        began_s = time.monotonic()
        done = subprocess.run(words, env=os.environ, capture_output=True, text=True, timeout=300, check=False)
        took_s = time.monotonic() - began_s
        told = [from_json(line) for line in Path(f"{folder}/events.ndjson").read_text(encoding="utf-8").splitlines()]
        ordered = [event.id for event in told if event.type in ("turn", "stream")]
        (file,) = Path(f"{folder}/box").glob("*.sqlite")
        with closing(sqlite3.connect(file)) as database:
            rows = database.execute("SELECT payload FROM owed ORDER BY number").fetchall()
        owed = [from_json(payload).id for (payload,) in rows]
        health = told[-1]
        memory_mb = getattr(health, "memory_mb", None)
    say(
        "stall",
        held=owed == ordered and bool(taken) and "Traceback" not in done.stderr,
        connections=len(taken),
        events=len(told),
        turn_and_stream_events=len(ordered),
        in_outbox=len(owed),
        same_order=owed == ordered,
        memory_mb=memory_mb,
        took_s=round(took_s, 1),
        said=re.sub(r"127\.0\.0\.1:\d+", "BROKER", done.stderr.strip().splitlines()[-1]) if done.stderr else "",
    )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
