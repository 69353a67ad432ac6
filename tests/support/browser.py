"""A real browser, started once; a page in it is a fresh visitor each time and must not complain."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.dashboard.stage import Stage
from tests.support.requirements import require

Visit = Callable[..., Page]
PATIENCE_MS = 60_000
"""For a machine that does other things, too."""


def chromium() -> str:
    """Where the system's Chromium is; the test is skipped without one."""
    require("chromium")
    return shutil.which("chromium") or ""


@pytest.fixture(scope="module")
def player() -> Iterator[Playwright]:
    """Its loop is this thread's for as long as it lives, so that no other test of the module may run one."""
    chromium()
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playing:
        yield playing


@pytest.fixture(scope="module")
def browser(player: Playwright) -> Iterator[Browser]:
    opened = player.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
    yield opened
    opened.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as opened:
        yield opened


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """`visit(stage, "#/health", width=390)`; at the end no page may have logged an error or broken its policy.

    Where the server may turn it away at first, say `refused=True`.
    """
    contexts, complaints = [], list[str]()

    def visiting(
        stage: Stage,
        route: str = "",
        *,
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        refused: bool = False,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        expected = ["ERR_CONNECTION_REFUSED", *(["401 (Unauthorized)"] if refused else [])]  # servers go before pages
        page.on(
            "console",
            lambda line: (
                complaints.append(line.text)
                if line.type == "error" and not any(word in line.text for word in expected)
                else None
            ),
        )
        page.goto(stage.url + route)
        return page

    yield visiting
    for context in contexts:
        context.close()
    assert complaints == []
