"""The pictures of the documentation: the dashboard and a report, from a node that takes simulated calls.

    python -m scripts.pictures                  two minutes; writes docs/pictures/*.png

Calls are the bundled conversation from different offsets, two of its voices on each track. One has ended, one is on
hold, one was transferred; conditions of alerts are low, so that there are some. Every view is taken in both themes.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.async_api import Browser, Page, async_playwright

from scripts.callers import RATE_HZ, EncodedConversation, Generic
from scripts.load import call, read_urls, wait_completed
from stream.demo.conversation import turns

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
SECONDS, ENDS_AFTER_S, APART_S = 80.0, 30.0, 4.0
"""Length of calls, of the one that ends early, and between their starts."""

CUSTOMERS = {"Alice", "Stranger_2"}
"""Voices of the conversation on the customer's track; the others are on the agent's."""

WIDTH, HEIGHT, COLOURS = 1280, 800, 255
THEMES = ("light", "dark")

LABELS: tuple[Mapping[str, str], ...] = (
    {"caller_name": "Clara Lindqvist", "caller": "+46 8 465 004 21", "agent": "Grace", "queue": "Billing"},
    {"caller": "+49 30 23125 180", "agent": "Ada", "queue": "Support"},
    {"caller_name": "Tomás Rey", "caller": "+44 131 496 0402", "agent": "Edsger", "queue": "Support"},
    {"caller": "+44 20 7946 0321", "agent": "Barbara", "queue": "Billing"},
    {"caller_name": "Mei Tanaka", "caller": "+61 2 5550 8890", "agent": "Radia", "queue": "Returns"},
    {"caller": "+1 212 555 0147", "agent": "Alan", "queue": "Returns"},
)
"""Their numbers are of ranges that are kept free for fiction."""

STARTS_S = (0, 22, 10, 31, 41, 5)
"""Where in the conversation each call begins."""

ENDED, HELD, TRANSFERRED, SHOWN = 5, 4, 3, 0

SETTINGS = (
    "dashboard.call_days=1",
    "alerts.monologue_s=9",
    "alerts.dead_air_s=2.5",
    "alerts.anger_on=0.45",
    "alerts.anger_off=0.3",
    "alerts.anger_arousal=0",
    "alerts.anger_s=1",
)


class Dialogue(EncodedConversation):
    """The conversation with each voice on the track of its party, which is silent otherwise."""

    def __init__(self) -> None:
        super().__init__()
        both, time_s = self._pcm[:, 0].copy(), np.arange(len(self._pcm)) / RATE_HZ
        for track, of_customer in enumerate((True, False)):
            own = [turn for turn in turns() if (turn.speaker in CUSTOMERS) is of_customer]
            spoken = np.any([(time_s >= turn.start_s) & (time_s < turn.end_s) for turn in own], axis=0)
            self._pcm[:, track] = np.where(spoken, both, 0)


class LabelledCall(Generic):
    """A call of the generic protocol that says who is on it."""

    def open(self) -> None:
        """Send the header."""
        start = {"type": "start", "rate_hz": RATE_HZ, "channels": 2, "call": name_of(self.call), "events": False}
        parties = {"parties": ["customer", "agent"], "labels": LABELS[self.call]}
        self.text(json.dumps({**start, **parties}))

    def send(self, start: int, length: int) -> None:
        """Send both tracks from where this call begins."""
        begins = STARTS_S[self.call] * RATE_HZ - 7_919 * self.call
        self.binary(self.audio.pcm(self.call, begins + start, length))


def name_of(number: int) -> str:
    """Return the name of a call in events."""
    return f"call-{number}"


async def main(folder: Path) -> None:
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        events = Path(scratch) / "events.ndjson"
        async with _node(events, Path(scratch)) as url, async_playwright() as player:
            browser = await player.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            audio, begins_s = Dialogue(), asyncio.get_running_loop().time() + 1
            calls = [
                asyncio.create_task(
                    call(
                        LabelledCall(number, audio, url),
                        LabelledCall.chunk_s,
                        ENDS_AFTER_S if number == ENDED else SECONDS,
                        begins_s + APART_S * (len(LABELS) - 1 - number),
                    )
                )
                for number in range(len(LABELS))
            ]
            await calls[ENDED]
            await asyncio.sleep(APART_S)
            _change(url, TRANSFERRED, {"change": "transfer", "agent": "Katherine", "queue": "Support"})
            _change(url, HELD, {"change": "hold"})
            await asyncio.sleep(APART_S)
            await _take_pages(browser, url.replace("ws://", "http://"), folder)
            await asyncio.gather(*calls)
            await wait_completed(events, len(calls))
            await _take_report(browser, events, folder)
            await browser.close()


@asynccontextmanager
async def _node(events: Path, state: Path) -> AsyncIterator[str]:
    """Run a node with a dashboard; yields its address."""
    command = [sys.executable, "-m", "stream", "serve", "--port", "0", "--audiosocket-port", "0", "--quiet"]
    command += ["--dashboard", "--sink", str(events)]
    for setting in SETTINGS:
        command += ["--set", setting]
    environment = {**os.environ, "STATE_DIRECTORY": str(state)}
    node = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, env=environment)
    try:
        urls = await read_urls(node)
        await asyncio.sleep(8)  # the port is open before the models are loaded
        yield urls["web"]
    finally:
        node.terminate()
        await node.communicate()


def _change(url: str, number: int, change: Mapping[str, str]) -> None:
    address = f"{url.replace('ws://', 'http://')}/v1/calls/{name_of(number)}"
    urllib.request.urlopen(urllib.request.Request(address, json.dumps(change).encode()), timeout=10).close()  # noqa: S310


async def _take_pages(browser: Browser, url: str, folder: Path) -> None:
    shown = f"#/stream/tonewatch%2F{name_of(SHOWN)}"
    pages = {theme: await _page(browser, url, theme) for theme in THEMES}
    for name, route, marker in (
        ("wall", "#/", ".card"),
        ("alerts", "#/alerts", "ol.alerts li"),
        ("call", shown, ".u-wrap"),
    ):
        for theme, page in pages.items():
            await page.goto(f"{url}/{route}")
            await page.locator(marker).first.wait_for()
            await asyncio.sleep(0.5)  # the chart is drawn
            await _save(page, folder / f"{name}-{theme}.png")


async def _take_report(browser: Browser, events: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "stream", "report", str(events), "--source", name_of(SHOWN)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    if await process.wait():
        raise SystemExit("the report was not written; run the command above to see why")
    for theme in THEMES:
        page = await _page(browser, events.with_suffix(".html").as_uri(), theme)
        await _save(page, folder / f"report-{theme}.png")


async def _page(browser: Browser, address: str, theme: str) -> Page:
    context = await browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
        locale="en-GB",
    )
    page = await context.new_page()
    await page.goto(address)
    return page


async def _save(page: Page, path: Path) -> None:
    """Write a picture with few colours: flat areas need no more, and the repository stays small."""
    await asyncio.to_thread(_reduce, await page.screenshot(), path)


def _reduce(screenshot: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER")
    asyncio.run(main(parser.parse_args().out))
