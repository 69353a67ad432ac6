"""Call capacity of a node: simulated calls over loopback, in real time, against an unmodified `tonewatch serve`.

    python -m scripts.load --calls 100 --seconds 60 --system generic
    python -m scripts.load --calls 100 --page              with the dashboard open in a browser

Every call is the bundled conversation from a different offset; the agent's track is half of the conversation later. The
node runs in a separate process and writes its events to a file, from which all figures are taken. Audio is lost if less
of a track was processed than sent, or if it has a gap. Latency runs from the arrival of the last sample to the event;
the achieved hop is the mean distance of scored windows, divided by the configured hop. The callers share the CPU cores
with the node, so their usage is printed beside the node's; the share of time in which the event loop was runnable but
had no core is printed, too.
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

from scripts.callers import RATE_HZ, SYSTEMS, EncodedConversation, Link

START_SPREAD_S = 2.0
"""Time over which the starts of the calls are spread."""

MAX_COMPLETION_S = 60.0
"""Time the node may take to publish its last events after the calls have ended."""

WATCH = """() => {
  window.drawn = []; window.tasks = [];
  const note = (seen) => tasks.push(...seen.getEntries().map((one) => one.duration));
  new PerformanceObserver(note).observe({ type: "longtask" });
  let last = performance.now();
  const next = (now) => { drawn.push(now - last); last = now; requestAnimationFrame(next); };
  requestAnimationFrame(next);
}"""


async def call(link: Link, chunk_s: float, seconds: float, begins_s: float) -> float:
    """Make one call in real time; returns the largest delay of a chunk."""
    late_s, length, clock = 0.0, round(chunk_s * RATE_HZ), asyncio.get_running_loop().time
    await asyncio.sleep(begins_s - clock())
    await link.begin()
    for number in range(round(seconds / chunk_s)):
        due_s = begins_s + (number + 1) * chunk_s
        await asyncio.sleep(due_s - clock())
        late_s = max(late_s, clock() - due_s)
        link.send(number * length, length)
    await link.end()
    return late_s


async def drive(arguments: argparse.Namespace, events: Path) -> dict[str, Any]:
    """Start a node, call it, stop it; returns the figures and the node's log."""
    command = [sys.executable, "-m", "stream", "serve", "--port", "0", "--audiosocket-port", "0", "--quiet"]
    command += ["--preset", "tiny", "--sink", str(events)] + (["--dashboard"] if arguments.page else [])
    for setting in arguments.set or []:
        command += ["--set", setting]
    node = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    try:
        urls = await read_urls(node)
        url = urls["audiosocket" if arguments.system == "audiosocket" else "web"]
        await asyncio.sleep(arguments.settle)  # the port is open before the models are loaded
        audio, system, clock = EncodedConversation(), SYSTEMS[arguments.system], asyncio.get_running_loop().time
        async with _page(urls["web"], shown=arguments.page) as drawn:
            before, own_s, began_s = Usage.of(node.pid), time.process_time(), clock() + 0.5
            apart_s = START_SPREAD_S / arguments.calls
            async with asyncio.TaskGroup() as group:
                calls = [
                    group.create_task(
                        call(system(number, audio, url), system.chunk_s, arguments.seconds, began_s + number * apart_s)
                    )
                    for number in range(arguments.calls)
                ]
            await wait_completed(events, arguments.calls)
            used, own_s, took_s = Usage.of(node.pid), time.process_time() - own_s, clock() - began_s
    finally:
        node.terminate()
        log = (await node.communicate())[1].decode()
    return {
        "largest delay of a caller (s)": round(max(task.result() for task in calls), 3),
        "CPU cores used by the callers": round(own_s / took_s, 3),
        "CPU cores used by the node": round((used.all_s - before.all_s) / took_s, 3),
        "CPU cores used by its event loop": round((used.loop_s - before.loop_s) / took_s, 3),
        "share of time its event loop waited for a core": round((used.waited_s - before.waited_s) / took_s, 3),
        **drawn,
        "log": log,
    }


async def wait_completed(events: Path, calls: int) -> None:
    """Wait until the node has published the end of every call: it may be behind when the callers hang up."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(MAX_COMPLETION_S):
            written = ""
            while written.count('"phase":"final"') < calls:
                await asyncio.sleep(0.2)
                written = await asyncio.to_thread(events.read_text, "utf-8")


@contextlib.asynccontextmanager
async def _page(url: str, *, shown: bool) -> AsyncIterator[dict[str, str]]:
    """Open the dashboard in a headless browser; yields figures that are filled in at the end."""
    drawn: dict[str, str] = {}
    if not shown:
        yield drawn
        return
    from playwright.async_api import async_playwright  # noqa: PLC0415 - needed only with --page

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
    """CPU time of a process and of its first thread, and how long that thread waited for a core (Linux)."""

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


async def read_urls(node: asyncio.subprocess.Process) -> dict[str, str]:
    """Read the addresses on which the node listens from its standard error."""
    found: dict[str, str] = {}
    assert node.stderr is not None  # noqa: S101 - it was asked for
    while len(found) < 2:  # noqa: PLR2004
        line = (await node.stderr.readline()).decode()
        if not line:
            raise SystemExit("the node did not start; run `tonewatch serve` to see why")
        if place := re.search(r"ws://[\w.]+:\d+", line):
            found["web"] = place[0]
        elif place := re.search(r"AudioSocket on ([\w.]+:\d+)", line):
            found["audiosocket"] = f"tcp://{place[1]}"
    return found


def figures_of(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that follow from the events."""
    ends: dict[str, float] = {}
    summaries, types, latencies = 0, Counter[str](), defaultdict[str, list[float]](list)
    gaps, health = 0, {}
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        types[event["type"]] += 1
        if event["type"] == "stream":
            gaps += event["state"] == "gap"
            if event["state"] == "ended":
                ends[event["source"]] = event["end_s"]
        elif event["type"] == "health":
            health = event
        elif event["type"] == "call" and event["phase"] == "final":
            summaries += 1
        if event["type"] in ("emotion", "call", "turn"):
            latencies[event["type"]].append(event["latency_ms"])
    chunk_s = SYSTEMS[arguments.system].chunk_s
    sent_s = round(arguments.seconds / chunk_s) * chunk_s
    figures: dict[str, Any] = {
        "calls": arguments.calls,
        "tracks ended": len(ends),
        "call summaries": summaries,
        "audio sent (s)": round(sent_s * arguments.calls * 2, 1),
        "audio processed (s)": health.get("audio_s"),
        "tracks with audio lost": sum(end_s < sent_s - 0.001 for end_s in ends.values()),
        "gaps": gaps,
    }
    for lane in health.get("lanes", ()):
        if lane["submitted"]:
            name = lane["model"]
            figures[f"{name}: windows submitted, dropped"] = f"{lane['submitted']}, {lane['dropped']}"
            figures[f"{name}: mean batch, ms per batch"] = f"{lane['mean_batch']}, {lane['inference_ms']}"
            figures[f"{name}: achieved hop / configured hop"] = round(lane["submitted"] / max(1, lane["inferred"]), 3)
    for kind, found in latencies.items():
        found.sort()
        parts = [found[min(len(found) - 1, int(share * len(found)))] for share in (0.5, 0.95, 0.99)]
        figures[f"{kind}: latency p50, p95, p99 (ms)"] = ", ".join(f"{part:.0f}" for part in parts)
    figures["events"] = sum(types.values())
    figures["events dropped by a sink"] = sum(sink["dropped"] for sink in health.get("sinks", ()))
    figures["memory (MB)"] = health.get("memory_mb")
    return figures


def main() -> None:
    """Make the calls and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--system", choices=sorted(SYSTEMS), default="generic")
    parser.add_argument("--page", action="store_true", help="Keep the dashboard open in Chromium.")
    parser.add_argument("--settle", type=float, default=6.0, help="Seconds the node gets to load its models.")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="A setting of the node.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        events = Path(folder) / "events.ndjson"
        driven = asyncio.run(drive(arguments, events))
        figures = figures_of(events, arguments) | driven
    log = figures.pop("log")
    for name, value in figures.items():
        print(f"{name:48} {value}")
    for line, count in Counter(log.splitlines()).items():
        print(f"{line} ({count} times)", file=sys.stderr)


if __name__ == "__main__":
    main()
