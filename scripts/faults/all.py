"""Every promise of docs/reliability.md put to the test: the commands of its table, one after the other.

    scripts/faults/all                  # all of them, about an hour
    scripts/faults/all --quick          # shorter outages, fewer repetitions: some minutes
    scripts/faults/all crash bit_flips  # those whose command contains one of these words

Exit code 1 if a promise was not kept.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"

QUICK = {
    "bad_commands": "--count 1000",
    "births": "--count 20",
    "bit_flips": "--times 200",
    "broker": "--down-s 3 --times 2",
    "cluster": "--seconds 3 --frozen-s 8",
    "crash": "--times 4",
    "denied": "--seconds 10",
    "hostile_frames": "--count 5000",
    "hostile_streams": "--count 300",
    "idle_sockets": "--idle 200 --slow 50 --seconds 5",
    "microphone": "--times 2",
    "overload": "--seconds 5",
    "soak": "--hours 0.2 --minutes 2",
    "throughput": "--events 2000",
}
"""Arguments of a script that make it short."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A row of the table: the fault, and the command that shows what is promised."""

    fault: str
    command: str

    @property
    def script(self) -> str | None:
        """The name of its script in scripts/faults; None for a test."""
        found = re.search(r"scripts\.faults\.(\w+)", self.command)
        return found[1] if found else None

    def words(self, *, quick: bool) -> tuple[list[str], dict[str, str]]:
        """Return the command to execute, and its additions to the environment."""
        words = shlex.split(self.command)
        environment = {}
        while "=" in words[0]:
            key, _, environment[key] = words.pop(0).partition("=")
        extra = QUICK.get(self.script or "", "") if quick else ""
        return [sys.executable, *words[1:], *shlex.split(extra)], {} if quick else environment


def promises() -> list[Promise]:
    """Return the rows of the table."""
    rows = re.findall(
        r"^\| (.+?) \| .+ \| `((?:\w+=\w+ )?python -m .+?)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return [Promise(fault, command) for fault, command in rows]


def run(chosen: Sequence[Promise], *, quick: bool) -> int:
    """Execute the commands, print one line each, and return how many promises were not kept."""
    broken = 0
    for promise in chosen:
        words, environment = promise.words(quick=quick)
        started_s = time.monotonic()
        done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
        broken += done.returncode != 0
        lines = [line for line in done.stdout.splitlines() if line] or done.stderr.splitlines() or [""]
        outcome = "kept" if done.returncode == 0 else "BROKEN"
        print(f"{outcome:<6} {time.monotonic() - started_s:6.0f} s  {promise.command}\n       {lines[-1]}", flush=True)
    print(f"{len(chosen) - broken} of {len(chosen)} promises kept")
    return broken


def main() -> int:
    """Parse the command line, execute, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="parts of the commands to execute; default: all")
    parser.add_argument("--quick", action="store_true", help="shorter outages, fewer repetitions")
    arguments = parser.parse_args()
    chosen = [one for one in promises() if not arguments.words or any(word in one.command for word in arguments.words)]
    return int(bool(run(chosen, quick=arguments.quick)))


if __name__ == "__main__":
    sys.exit(main())
