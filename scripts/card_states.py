"""Every state of a dashboard's card in a real browser: how long until what the card says is true.

    python -m scripts.card_states               two minutes; prints a table, exits with 1 above --bound-s

A node takes simulated calls and publishes to a mosquitto; Chromium shows its own dashboard and that of
`tonewatch dashboard --mqtt`. Calls stall, are paused, held, hung up, cut and refused; the broker and the node are
killed and started again. The time runs from the cause (the last audio, the signal that kills a process) until the card
and the header show what has happened. A stall has lasted for two seconds before it counts as one.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Page, async_playwright
from playwright.async_api import TimeoutError as NotShownError

from scripts.callers import EncodedConversation, Generic
from scripts.irregular_callers import Caller, PartedCall, PausedCall
from tests.support.mosquitto import Broker

NODE = "floor"
START_TIMEOUT_S, SHOW_TIMEOUT_S, POLL_MS = 90.0, 30.0, 50
MAX_AHEAD_S = 4.0
"""What the node takes ahead of real time; what it has taken is processed before the end."""

SHOWN = """({ key, state, card: said, header }) => {
  const item = document.querySelector(`li[data-key="${key}"] .card`);
  const link = [document.getElementById("link"), document.querySelector("#banner:not([hidden])")];
  return item !== null && state.split("|").includes(item.dataset.state) && new RegExp(said, "i").test(item.innerText)
    && new RegExp(header, "i").test(link.map((one) => one?.innerText ?? "").join(" "));
}"""

Cause = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Row:
    """One state and the seconds until the node's own page and that of the broker showed it; None: not shown."""

    name: str
    own_s: float | None
    broker_s: float | None


@dataclass(slots=True)
class Walk:
    """The pages, and what was measured on them."""

    own: Page
    broker: Page
    rows: list[Row]

    async def state(
        self,
        name: str,
        cause: Cause,
        *,
        call: int,
        state: str,
        card: str = "",
        own: str | None = "^Live",
        broker: str | None = "^Live",
        own_card: str | None = None,
        own_state: str = "",
    ) -> None:
        """Cause a state and wait for it on both pages; `own` and `broker` are their headers (None: not looked at)."""
        began_s, key = time.monotonic(), f"{NODE}/call-{call}"
        of_own = {"key": key, "card": card if own_card is None else own_card, "header": own}
        shown = asyncio.gather(
            self._seen(self.own, began_s, own_state or state, of_own),
            self._seen(self.broker, began_s, state, {"key": key, "card": card, "header": broker}),
        )
        await cause()
        row = Row(name, *await shown)
        self.rows.append(row)
        print(f"{row.name:46} {_seconds(row.own_s)} {_seconds(row.broker_s)}", flush=True)

    async def _seen(self, page: Page, began_s: float, state: str, given: Mapping[str, str | None]) -> float | None:
        if given["header"] is None:
            return None
        expected = {**given, "state": state}
        with contextlib.suppress(NotShownError):
            await page.wait_for_function(SHOWN, arg=expected, polling=POLL_MS, timeout=1000 * SHOW_TIMEOUT_S)
            return time.monotonic() - began_s
        text = await page.evaluate('(key) => document.querySelector(`li[data-key="${key}"]`)?.innerText', given["key"])
        sys.stderr.write(f"not shown: {expected}; the card says {text!r}\n")
        return float("inf")


class Programs:
    """The node and the dashboard of the broker, as processes on fixed ports."""

    def __init__(self, broker_port: int) -> None:
        self.target = f"mqtt://127.0.0.1:{broker_port}/tonewatch"
        self.port, self.service_port, self.broker_page_port = (_free_port() for _ in range(3))
        self.node: asyncio.subprocess.Process

    @property
    def broker_page(self) -> str:
        """Address of the dashboard of the broker."""
        return f"http://127.0.0.1:{self.broker_page_port}/"

    @property
    def url(self) -> str:
        """Where calls go."""
        return f"ws://127.0.0.1:{self.port}"

    async def start_node(self) -> None:
        """Start the node and wait until it takes calls."""
        command = ["serve", "--port", str(self.port), "--audiosocket-port", "0", "--quiet", "--preset", "tiny"]
        options = ["--dashboard", "--sink", self.target, "--set", f"node={NODE}", "--set", "dashboard.alert_days=0"]
        options += ["--set", "mqtt.reconnect_max_s=1", "--set", f"service.port={self.service_port}"]
        options += ["--set", f"serve.max_ahead_s={MAX_AHEAD_S}"]
        self.node = await _start(*command, *options)
        await _answers(f"http://127.0.0.1:{self.service_port}/readyz")

    async def start_broker_page(self) -> asyncio.subprocess.Process:
        """Start the dashboard of the broker."""
        process = await _start("dashboard", "--mqtt", self.target, "--port", str(self.broker_page_port))
        await _answers(self.broker_page)
        return process

    async def change(self, call: int, change: Mapping[str, str]) -> None:
        """Tell the node of a change of a call, as a telephone system does."""
        address = f"http://127.0.0.1:{self.port}/v1/calls/call-{call}"
        request = urllib.request.Request(address, json.dumps(change).encode())
        await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=10).close())  # noqa: S310


async def _walk_calls(walk: Walk, programs: Programs, audio: EncodedConversation) -> None:
    """Go through the states of calls."""
    first = Caller(Generic(1, audio, programs.url), Generic.chunk_s)
    await walk.state("live: the first audio", first.begin, call=1, state="live")
    await asyncio.sleep(3)
    await walk.state("stalled: the sender sends nothing", first.be_silent, call=1, state="stalled", card="no audio")
    await walk.state("live: it sends again", _cause(first.speak), call=1, state="live")
    hold, resume = ({"change": change} for change in ("hold", "retrieve"))
    await walk.state("held", lambda: programs.change(1, hold), call=1, state="paused", card="on hold")
    await walk.state("live: taken off hold", lambda: programs.change(1, resume), call=1, state="live")
    genesys = PausedCall(2, audio, programs.url)
    second = Caller(genesys, PausedCall.chunk_s)
    await second.begin()
    await asyncio.sleep(3)

    async def pause() -> None:
        await second.be_silent()
        genesys.pause()

    await walk.state("paused: secure pause", pause, call=2, state="paused", card="paused")
    genesys.resume(1.0)
    second.speak()
    parted = PartedCall(3, audio, programs.url)
    third = Caller(parted, PartedCall.chunk_s)
    await third.begin()
    await asyncio.sleep(3)

    async def leave() -> None:
        await third.be_silent()
        await parted.leave()

    await walk.state("ended: the customer hangs up", leave, call=3, state="ended", card="customer hung up")
    await walk.state("ended: hung up", second.hang_up, call=2, state="ended", card="hung up")
    await walk.state("ended: the connection is cut", first.cut, call=1, state="ended", card="connection lost")
    again = Caller(Generic(1, audio, programs.url), Generic.chunk_s)
    await walk.state("replaced: a new call of the same name", again.begin, call=1, state="live", card=r"0:0\d")
    await walk.state("ended: refused (too fast)", again.flood, call=1, state="ended", card="ended by the node")
    await again.be_silent()


async def _walk_faults(walk: Walk, programs: Programs, audio: EncodedConversation, broker: Broker) -> None:
    """Kill the broker, then the node; stop it at the end."""
    caller = Caller(Generic(4, audio, programs.url), Generic.chunk_s)
    await caller.begin()
    await asyncio.sleep(4)
    down = {"own": "unreachable", "broker": "broker unreachable"}
    await walk.state(
        "broker killed",
        _cause(broker.kill),
        call=4,
        state="stale",
        card="no data",
        own_state="live",
        own_card="",
        **down,
    )
    await asyncio.sleep(3)
    started = asyncio.to_thread(broker.start)
    await walk.state("live: broker started again", lambda: started, call=4, state="live")
    gone = {"own": "connection lost", "broker": f"node {NODE} is offline"}

    async def kill() -> None:
        programs.node.kill()
        await caller.be_silent()

    await walk.state("node killed", kill, call=4, state="offline|stale", card="no data|offline", **gone)
    await programs.start_node()
    await walk.state(
        "ended: cut by the kill, once the node is back",
        _cause(int),
        call=4,
        state="ended",
        card="connection lost",
        own=None,
    )
    await walk.own.wait_for_function("document.getElementById('link').dataset.state === 'open'")
    next_one = Caller(Generic(5, audio, programs.url), Generic.chunk_s)
    await walk.state("live: first call after the node's start", next_one.begin, call=5, state="live")
    await asyncio.sleep(3)
    stop = _cause(programs.node.terminate)
    await walk.state(
        "ended: the node is stopped", stop, call=5, state="ended", card="node stopped", own=None, broker=""
    )
    await next_one.be_silent()


def _cause(function: Callable[[], Any]) -> Cause:
    """Return a cause from a plain function."""

    async def causing() -> None:
        function()

    return causing


async def _start(*command: str) -> asyncio.subprocess.Process:
    nothing = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stream", *command, stdout=nothing, stderr=nothing
    )


async def _answers(address: str) -> None:
    """Wait until an address answers with 200."""

    def answers() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=2):  # noqa: S310 - http
            return True
        return False

    async with asyncio.timeout(START_TIMEOUT_S):
        while not await asyncio.to_thread(answers):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _seconds(value: float | None) -> str:
    return f"{'–' if value is None else f'{value:.1f}':>8}"


@asynccontextmanager
async def _pages(programs: Programs) -> AsyncIterator[Walk]:
    """Open both dashboards in one browser."""
    async with async_playwright() as player:
        browser = await player.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        own, broker = await browser.new_page(), await browser.new_page()
        await own.goto(programs.url.replace("ws://", "http://"))
        await broker.goto(programs.broker_page)
        yield Walk(own, broker, [])
        await browser.close()


async def main(bound_s: float) -> int:
    """Go through all states; returns the exit status."""
    audio = EncodedConversation()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder)) as broker:
        programs = Programs(broker.port)
        await programs.start_node()
        page_process = await programs.start_broker_page()
        try:
            async with _pages(programs) as walk:
                print(f"{'state':46} {'node':>8} {'broker':>8}   seconds until the page shows it", flush=True)
                await _walk_calls(walk, programs, audio)
                await _walk_faults(walk, programs, audio, broker)
        finally:
            for process in (programs.node, page_process):
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
    slowest_s = max(one for row in walk.rows for one in (row.own_s, row.broker_s) if one is not None)
    print(f"slowest: {slowest_s:.1f} s (bound {bound_s:g} s)")
    return 0 if slowest_s <= bound_s else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bound-s", type=float, default=3.0)
    sys.exit(asyncio.run(main(parser.parse_args().bound_s)))
