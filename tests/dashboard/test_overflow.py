"""No text is cut off: every view at every width with the longest real strings, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.dashboard.scenes import Scene, conversation, phone_call, seconds_ago
from tests.support import examples
from tests.support.browser import OpenPage
from tests.support.dashboard import RunningDashboard

pytestmark = pytest.mark.slow

LABELS = {
    "caller": "+49 30 1234567890",
    "caller_name": "Elisabeth Charlotte Brandenburg-Hohenzollern",
    "agent": "Maximilian Schwarzenegger",
    "queue": "Reklamationen und Beschwerden Süddeutschland",
}
NAME = "CA5ef8732a3c49700934481addd5ce1659"
WIDTHS = (390, 640, 768, 1280, 1920)
"""640 px are 1280 at 200 %."""

VIEWS = ("", f"#/stream/floor%2F{NAME}", "#/stream/floor%2Fboardroom", "#/health", "#/alerts")

CLIPPED = """() => {
  const found = [], hidden = ".visually-hidden, .scroll, .wide, svg", drawn = ".lane-track, .axis";
  if (document.documentElement.scrollWidth > innerWidth) found.push(`page: ${document.documentElement.scrollWidth}`);
  for (const element of document.querySelectorAll("main *, header *")) {
    if (!element.textContent.trim() || !element.checkVisibility() || element.closest(hidden)) continue;
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    const name = `${element.tagName}.${element.className}: ${element.textContent.slice(0, 60)}`;
    const overflows = style.overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1;
    if (overflows && !element.matches(".turn, .lane-track, .u-wrap, select")) found.push(`clipped ${name}`);
    const card = element.closest(".card, .panel")?.getBoundingClientRect();
    const outside = card && box.width && (box.right > card.right + 1 || box.left < card.left - 1);
    if (outside && !element.closest(drawn)) found.push(`outside ${name}`);
  }
  return found;
}"""
"""Elements whose text is cut off or juts out of its card; tables and logs scroll on purpose."""


def fill(dashboard: RunningDashboard) -> None:
    call = Scene(NAME, call=True, started=seconds_ago(60))
    alerts: Any = (
        ("a1", "crosstalk", None, 12.0),
        ("a2", "anger", "customer", 14.0),
        ("a3", "monologue", "agent", 20.0),
    )
    dashboard.apply(
        [
            *(call.stream(party=party, labels=LABELS) for party in ("customer", "agent")),
            call.speaker("customer", 60.0, party="customer"),
            call.emotion("angry", 60.0, party="customer", speaker="customer"),
            *(call.alert(name, kind, at_s, speaker=who) for name, kind, who, at_s in alerts),
            call.call_figures(60.0, label="angry", trend=0.3, alerts=alerts),
        ]
    )
    dashboard.apply(conversation("boardroom", 3))
    dashboard.apply(phone_call("desk-1", 3))
    dashboard.apply([examples.event(examples.health(), source="node")])
    refused = Scene("A recording with quite a long name of its own (2026-11-26, front desk).wav")
    detail = "audio is more than 30 s ahead of real time (serve.max_ahead_s)"
    dashboard.apply([refused.stream(), refused.stream("ended", 9.0, outcome="refused", detail=detail)])


DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""What observers of a size do belongs to the frame after a change."""


def clipped(page: Page) -> list[str]:
    page.evaluate(DRAWN)
    found: list[str] = page.evaluate(CLIPPED)
    return found


@pytest.mark.long
def test_no_text_is_cut_off(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    fill(dashboard)
    page, found = open_page(dashboard), {}
    for view in VIEWS:
        page.goto(dashboard.url + view)
        page.wait_for_selector(".panel:visible, .card:visible")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            found[f"{view} at {width} px"] = clipped(page)
    assert {view: texts for view, texts in found.items() if texts} == {}
