"""Write what README.md, docs/replay.md and docs/mqtt.md show of the demo: what the commands print on this machine.

python -m scripts.demo_output
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from stream.events import Event, HealthEvent, from_json
from stream.sinks.terminal.panel import render
from stream.sinks.terminal.panel_state import PanelState

HOME = Path(__file__).parent.parent
TONEWATCH = (sys.executable, "-m", "stream")
WIDTH, HEIGHT = 80, 24

PANEL_S = 39.5
"""Media time of the panel shown: one person has become angry."""

REPLAYED = ("--from", "00:04", "--to", "00:12")
"""Part of the demo that docs/replay.md explains."""

PLACES = {
    "panel": ("README.md", r"the turns so far:\n\n```text\n"),
    "start": ("README.md", r"head -n 1\n```\n```json\n"),
    "replay": ("docs/replay.md", r"tonewatch replay demo [^\n]*\n```\n```text\n"),
    "end": ("docs/mqtt.md", r"A turn that has ended:\n\n```json\n"),
}
"""The page of each output, and what is before it; three backticks end it."""


def shown(name: str) -> str:
    """Return an output as its page shows it. Raises `LookupError` if the page has no place for it."""
    return _place(name)[1]


def printed(lines: list[str]) -> dict[str, str]:
    """Return what the pages show of a run of the demo, of which `lines` are the events."""
    turns = [line for line in lines if json.loads(line)["type"] == "turn"]
    end = next(line for line in turns if json.loads(line)["phase"] == "end")
    return {"panel": panel(lines), "start": turns[0] + "\n", "end": end + "\n"}


def replayed() -> str:
    """Return what `tonewatch replay demo --explain` prints of the part `REPLAYED`."""
    command = [*TONEWATCH, "replay", "demo", "--explain", *REPLAYED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return trimmed(done.stdout.removeprefix("demo\n").split("\ndemo\n")[0])


def panel(lines: list[str]) -> str:
    """Return the panel at `PANEL_S`, as the demo shows it on a terminal."""
    state = PanelState()
    for line in lines:
        event: Event = from_json(line)
        if not isinstance(event, HealthEvent) and event.end_s > PANEL_S:  # the time of `health` is the node's
            break
        state.apply(event)
    console = Console(width=WIDTH, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(render(state, width=WIDTH, height=HEIGHT))
    assert isinstance(console.file, io.StringIO)  # noqa: S101 - it was given
    return trimmed(console.file.getvalue())


def demo_events(*options: str) -> list[str]:
    """Return the events of the demo, one JSON object each."""
    done = subprocess.run([*TONEWATCH, "demo", "--quiet", *options], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def trimmed(text: str) -> str:
    """Return the text without spaces before line ends and without empty lines at its end."""
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip() + "\n"


def _place(name: str) -> tuple[str, str, str]:
    page, before = PLACES[name]
    text = (HOME / page).read_text(encoding="utf-8")
    found = re.search(f"({before})(.*?)(```)", text, re.DOTALL)
    if found is None:
        raise LookupError(f"{page} has no place for the output {name!r}")
    return text[: found.end(1)], found[2], text[found.start(3) :]


def main() -> None:
    """Run the demo in real time and put what it prints into the pages."""
    for name, output in {**printed(demo_events("--realtime")), "replay": replayed()}.items():
        before, _, after = _place(name)
        (HOME / PLACES[name][0]).write_text(before + output + after, encoding="utf-8")
    sys.stdout.write("wrote README.md, docs/replay.md and docs/mqtt.md\n")


if __name__ == "__main__":
    main()
