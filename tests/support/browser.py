"""A real Chromium, started once a session; every page opens in a fresh context and must log no error."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.support.dashboard import RunningDashboard
from tests.support.requirements import require

OpenPage = Callable[..., Page]
TIMEOUT_MS = 60_000
"""Long enough for a machine that is busy with other work."""


def chromium() -> str:
    """Return the path of the system's Chromium; skips the test without one."""
    require("chromium")
    return shutil.which("chromium") or ""


class Driver:
    """Playwright, whose event loop counts as running in this thread only while `entered` lasts.

    Playwright's loop is suspended inside `run_forever` between calls; without this, other tests of the session could
    run no loop of their own.
    """

    def __init__(self, playwright: Playwright, loop: asyncio.AbstractEventLoop) -> None:
        self.playwright, self._loop = playwright, loop

    @contextmanager
    def entered(self) -> Iterator[Playwright]:
        """Use Playwright; no other loop may run in the meantime."""
        asyncio._set_running_loop(self._loop)
        try:
            yield self.playwright
        finally:
            asyncio._set_running_loop(None)


@pytest.fixture(scope="session")
def driver() -> Iterator[Driver]:
    """Playwright, started once a session."""
    chromium()
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        loop = asyncio.get_running_loop()
        asyncio._set_running_loop(None)
        yield Driver(playwright, loop)
        asyncio._set_running_loop(loop)


@pytest.fixture(scope="session")
def browser(driver: Driver) -> Iterator[Browser]:
    """Chromium, started once a session."""
    with driver.entered() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
    yield opened
    with driver.entered():
        opened.close()


@pytest.fixture
def dashboard() -> Iterator[RunningDashboard]:
    """An empty dashboard without a token."""
    with RunningDashboard() as running:
        yield running


@pytest.fixture
def open_page(driver: Driver, browser: Browser) -> Iterator[OpenPage]:
    """`open_page(dashboard, "#/health", width=390)`; fails at the end if a page logged an error.

    `unauthorized=True` allows the response 401, for dashboards with a token.
    """
    contexts, errors = [], list[str]()

    def opening(
        dashboard: RunningDashboard,
        route: str = "",
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        unauthorized: bool = False,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        expected = ["ERR_CONNECTION_REFUSED", *(["401 (Unauthorized)"] if unauthorized else [])]  # servers close first
        page.on(
            "console",
            lambda line: (
                errors.append(line.text)
                if line.type == "error" and not any(text in line.text for text in expected)
                else None
            ),
        )
        page.goto(dashboard.url + route)
        return page

    with driver.entered():
        yield opening
        for context in contexts:
            context.close()
    assert not errors, errors
