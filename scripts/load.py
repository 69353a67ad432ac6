"""How many calls a node carries: simulated ones over loopback, in real time, against `tonewatch serve` as it ships.

    python -m scripts.load --calls 100 --seconds 60 --system generic
    python -m scripts.load --calls 100 --page              with the wall open in a browser

Every call is the bundled conversation, from a place of its own: the customer hears it from there, the agent half of it
later. The node runs in a process of its own and writes its events to a file; all figures are read from those events.
Sound is lost if a track was heard for less than was sent, or had a gap. Latency runs from the arrival of the last
sample to the event; the achieved hop is how far apart the scored windows were, over the hop that was asked for. Calls
that ran at the same time share the cores with the node: what the callers took is told beside what the node took, and
`waited` is the time in which the node's event loop could have run but did not get a core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.callers import RATE_HZ, SYSTEMS, Link, Sounds

STARTS_S = 2.0
"""Calls begin spread over this time, as they would."""

MOST_LATE_S = 60.0
"""How long the node may take to tell the last of what it heard."""

WATCH = """() => {
  window.drawn = []; window.tasks = [];
  const note = (seen) => tasks.push(...seen.getEntries().map((one) => one.duration));
  new PerformanceObserver(note).observe({ type: "longtask" });
  let last = performance.now();
  const next = (now) => { drawn.push(now - last); last = now; requestAnimationFrame(next); };
  requestAnimationFrame(next);
}"""


async def call(link: Link, piece_s: float, seconds: float, begins_s: float) -> float:
    """One call in real time; returns how late its latest piece was."""
    late_s, length, clock = 0.0, round(piece_s * RATE_HZ), asyncio.get_running_loop().time
    await asyncio.sleep(begins_s - clock())
    await link.begin()
    for number in range(round(seconds / piece_s)):
        due_s = begins_s + (number + 1) * piece_s
        await asyncio.sleep(due_s - clock())
        late_s = max(late_s, clock() - due_s)
        link.send(number * length, length)
    await link.end()
    return late_s


async def drive(arguments: argparse.Namespace, events: Path) -> dict[str, Any]:
    """Start a node, call it, stop it."""
    command = [sys.executable, "-m", "stream", "serve", "--port", "0", "--audiosocket-port", "0", "--quiet"]
    command += ["--sink", str(events)] + (["--dashboard"] if arguments.page else [])
    for setting in arguments.set or []:
        command += ["--set", setting]
    node = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        urls = await _urls(node)
        url = urls["audiosocket" if arguments.system == "audiosocket" else "web"]
        await asyncio.sleep(arguments.settle)  # models are loaded behind the open port
        sounds, system, clock = Sounds(), SYSTEMS[arguments.system], asyncio.get_running_loop().time
        async with _page(urls["web"], shown=arguments.page) as drawn:
            before, own_s, began_s = Usage.of(node.pid), time.process_time(), clock() + 0.5
            apart_s = STARTS_S / arguments.calls
            async with asyncio.TaskGroup() as group:
                calls = [
                    group.create_task(
                        call(system(number, sounds, url), system.piece_s, arguments.seconds, began_s + number * apart_s)
                    )
                    for number in range(arguments.calls)
                ]
            await _heard_out(events, arguments.calls)
            used, own_s, took_s = Usage.of(node.pid), time.process_time() - own_s, clock() - began_s
    finally:
        node.terminate()
        log = (await node.communicate())[1].decode()
    return {
        "callers late at most (s)": round(max(task.result() for task in calls), 3),
        "callers' cores": round(own_s / took_s, 3),
        "node's cores": round((used.all_s - before.all_s) / took_s, 3),
        "of these its event loop": round((used.loop_s - before.loop_s) / took_s, 3),
        "its event loop waited for a core (share)": round((used.waited_s - before.waited_s) / took_s, 3),
        **drawn,
        "log": log,
    }


async def _heard_out(events: Path, calls: int) -> None:
    """Wait until a node that is behind has told the end of every call; who says good-bye is not yet heard out."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(MOST_LATE_S):
            told = ""
            while told.count('"phase":"final"') < calls:
                await asyncio.sleep(0.2)
                told = await asyncio.to_thread(events.read_text, "utf-8")


@contextlib.asynccontextmanager
async def _page(url: str, *, shown: bool) -> AsyncIterator[dict[str, str]]:
    """The wall in a headless browser; afterwards, how it was drawn."""
    drawn: dict[str, str] = {}
    if not shown:
        yield drawn
        return
    from playwright.async_api import async_playwright  # noqa: PLC0415 - only who wants a page needs it

    async with async_playwright() as player:
        browser = await player.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1600, "height": 1000})
        await page.goto(url.replace("ws://", "http://"))
        await page.evaluate(WATCH)
        yield drawn
        seen = await page.evaluate("() => ({ frames: drawn, tasks, cards: document.querySelectorAll('.card').length })")
        frames = sorted(seen["frames"])
        p50, p95 = (frames[int(len(frames) * share)] for share in (0.5, 0.95))
        drawn["page: cards"] = str(seen["cards"])
        drawn["page: frame times p50, p95, longest (ms)"] = f"{p50:.0f}, {p95:.0f}, {frames[-1]:.0f}"
        drawn["page: long tasks (over 50 ms), the longest (ms)"] = (
            f"{len(seen['tasks'])}, {max(seen['tasks'], default=0):.0f}"
        )
        await browser.close()


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time of a process so far, of its first thread, and how long that waited for a core (Linux)."""

    all_s: float
    loop_s: float
    waited_s: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Read it from /proc."""
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ran_ns, waited_ns, _ = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text(encoding="ascii").split()
        all_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return cls(all_s, int(ran_ns) / 1e9, int(waited_ns) / 1e9)


async def _urls(node: asyncio.subprocess.Process) -> dict[str, str]:
    """Where the node says that it listens."""
    found: dict[str, str] = {}
    assert node.stderr is not None  # noqa: S101 - it was asked for
    while len(found) < 2:  # noqa: PLR2004
        line = (await node.stderr.readline()).decode()
        if not line:
            raise SystemExit("the node has not started")
        if place := re.search(r"ws://[\w.]+:\d+", line):
            found["web"] = place[0]
        elif place := re.search(r"AudioSocket on ([\w.]+:\d+)", line):
            found["audiosocket"] = f"tcp://{place[1]}"
    return found


def account(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures, from the events."""
    ends: dict[str, float] = {}
    finals, kinds, latencies = 0, Counter[str](), defaultdict[str, list[float]](list)
    gaps, health = 0, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        kinds[event["type"]] += 1
        if event["type"] == "stream":
            gaps += event["state"] == "gap"
            if event["state"] == "ended":
                ends[event["source"]] = event["end_s"]
        elif event["type"] == "health":
            health = event
        elif event["type"] == "call" and event["phase"] == "final":
            finals += 1
        if event["type"] in ("emotion", "call", "turn"):
            latencies[event["type"]].append(event["latency_ms"])
    piece_s = SYSTEMS[arguments.system].piece_s
    sent_s = round(arguments.seconds / piece_s) * piece_s
    figures: dict[str, Any] = {
        "calls": arguments.calls,
        "tracks ended": len(ends),
        "calls summed up": finals,
        "sound sent (s)": round(sent_s * arguments.calls * 2, 1),
        "sound heard (s)": health.get("audio_s"),
        "tracks with sound lost": sum(end_s < sent_s - 0.001 for end_s in ends.values()),
        "gaps": gaps,
    }
    for lane in health.get("lanes", ()):
        if lane["cut"]:
            name = lane["model"]
            figures[f"{name}: windows due, dropped"] = f"{lane['cut']}, {lane['dropped']}"
            figures[f"{name}: mean batch, ms a batch"] = f"{lane['mean_batch']}, {lane['inference_ms']}"
            figures[f"{name}: achieved hop over the asked one"] = round(lane["cut"] / max(1, lane["inferred"]), 3)
    for kind, found in latencies.items():
        found.sort()
        parts = [found[min(len(found) - 1, int(share * len(found)))] for share in (0.5, 0.95, 0.99)]
        figures[f"{kind}: latency p50, p95, p99 (ms)"] = ", ".join(f"{part:.0f}" for part in parts)
    figures["events"] = sum(kinds.values())
    figures["events dropped by a sink"] = sum(sink["dropped"] for sink in health.get("sinks", ()))
    figures["memory (MB)"] = health.get("memory_mb")
    return figures


def main() -> None:
    """Drive and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--system", choices=sorted(SYSTEMS), default="generic")
    parser.add_argument("--page", action="store_true", help="Open the wall in Chromium meanwhile.")
    parser.add_argument("--settle", type=float, default=6.0, help="Seconds for the node to load its models.")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="A setting of the node.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events.ndjson"
        driven = asyncio.run(drive(arguments, events))
        figures = account(events, arguments) | driven
    log = figures.pop("log")
    for name, value in figures.items():
        print(f"{name:48} {value}")
    for line, count in Counter(log.splitlines()).items():
        print(f"{line} ({count} times)", file=sys.stderr)


if __name__ == "__main__":
    main()
