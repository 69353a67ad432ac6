"""The wall in a real browser: hundreds of calls, groups, rows, filters in the address, and what it says without any."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from stream.events import Refusal
from stream.server.doors import Door
from tests.dashboard.scenes import Scene, phone_call, seconds_ago
from tests.support import examples
from tests.support.browser import OpenPage
from tests.support.dashboard import RunningDashboard

pytestmark = pytest.mark.slow

CALLS = 500
PHONE_PX = 620
MAX_CARDS_IN_DOCUMENT = 100
MAX_BUSY = 0.5
"""Share of a core that the page's main thread may use for 500 calls with three events a second each."""


def calls(number: int) -> list[Scene]:
    return [Scene(f"call-{index:03}", started=seconds_ago(100), call=True) for index in range(number)]


def begin(scene: Scene, index: int) -> Any:
    labels = {"agent": ("Ada", "Grace", "Mary")[index % 3], "queue": ("sales", "support")[index % 2]}
    return scene.stream(party="customer", labels={"caller": f"+49 30 {index:04}", **labels})


def titles(page: Page) -> list[str]:
    return page.locator(".card .name").all_inner_texts()


def busy_s(page: Page) -> float:
    """Return the processor time of the page's main thread."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    measured = devtools.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in measured if one["name"] == "TaskDuration"))


@pytest.mark.long
def test_of_five_hundred_calls_those_in_sight_are_in_the_document(
    dashboard: RunningDashboard, open_page: OpenPage
) -> None:
    scenes = calls(CALLS)
    dashboard.apply(begin(scene, index) for index, scene in enumerate(scenes))
    page = open_page(dashboard, width=1600, height=1000)
    expect(page.get_by_role("button", name=f"All {CALLS}")).to_be_visible()
    assert 20 <= page.locator(".card").count() <= MAX_CARDS_IN_DOCUMENT
    first = page.locator(".grid li").first
    expect(first).to_have_attribute("aria-setsize", str(CALLS))
    page.locator(".card").first.focus()
    page.keyboard.press("End")
    expect(page.locator(".card:focus .name")).to_have_text("+49 30 0499")
    assert page.locator(".card").count() <= MAX_CARDS_IN_DOCUMENT
    page.keyboard.press("ArrowUp")
    expect(page.locator(".card:focus .name")).to_have_text("+49 30 0494")
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator(".card .name").first).to_have_text("+49 30 0000")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.locator(".card:focus .name")).to_have_text("+49 30 0494")  # the focus comes back with its card
    dashboard.apply([scenes[250].alert("a1", "anger", 100.0)])
    page.evaluate("scrollTo(0, 0)")
    page.locator(".card").first.hover()
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    expect(page.locator(".card .name").first).to_have_text("+49 30 0250")


@pytest.mark.long
def test_five_hundred_calls_cost_little_time(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    scenes, steps = calls(CALLS), 4
    dashboard.apply(begin(scene, index) for index, scene in enumerate(scenes))
    page = open_page(dashboard, width=1600, height=1000)
    expect(page.get_by_role("button", name=f"All {CALLS}")).to_be_visible()
    before_s = busy_s(page)
    for step in range(steps):
        for part in range(10):
            dashboard.apply(
                event
                for scene in scenes[part::10]
                for event in (
                    scene.speaker("customer", 100.0 + step, party="customer"),
                    scene.emotion("happy", 100.0 + step, party="customer"),
                    scene.call_figures(100.0 + step),
                )
            )
            page.wait_for_timeout(1)
    expect(page.locator(".card").first).to_contain_text("happy")
    assert (busy_s(page) - before_s) / steps < MAX_BUSY


def test_groups_rows_and_filters_are_part_of_the_address(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    scenes = calls(12)
    dashboard.apply(begin(scene, index) for index, scene in enumerate(scenes))
    dashboard.apply([scenes[1].stream("ended", 5.0, party="customer", outcome="hung_up")])
    dashboard.apply([scenes[7].alert("a1", "anger", 100.0)])
    page = open_page(dashboard, width=1600, height=1000)
    expect(page.locator(".card")).to_have_count(12)
    page.get_by_label("Group by").select_option("queue")
    expect(page.locator(".group span")).to_have_text(["sales", "support"])
    expect(page.locator(".group b")).to_have_text(["6", "6"])
    expect(page.locator(".group").last).to_contain_text(re.compile(r"\d need attention"))
    page.get_by_label("Agent", exact=True).select_option("Grace")
    expect(page.locator(".card")).to_have_count(4)
    page.get_by_role("button", name="Rows").click()
    heights = page.locator(".card").evaluate_all("(cards) => cards.map((card) => card.offsetHeight)")
    assert max(heights) < 80
    page.get_by_role("button", name="Ended").click()  # the others are without data after a while, which needs attention
    expect(page.locator(".card")).to_have_count(1)
    address = page.evaluate("location.hash")
    assert address == "#/?show=ended&agent=Grace&group=queue&view=rows"
    page.reload()
    expect(page.locator(".card")).to_have_count(1)
    assert page.evaluate("location.hash") == address
    other = open_page(dashboard, address)  # another browser
    expect(other.locator(".card")).to_have_count(1)
    page.goto(dashboard.url)  # without an address, the layout is this browser's, and the filters are gone
    expect(page.locator(".card")).to_have_count(12)
    expect(page.get_by_role("button", name="Rows")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1600


@pytest.mark.long
@pytest.mark.parametrize("width", [390, 1280])
def test_groups_and_rows_are_accessible(dashboard: RunningDashboard, open_page: OpenPage, width: int) -> None:
    for number in range(6):
        dashboard.apply(phone_call(f"desk-{number}", number))
    page = open_page(dashboard, "#/?group=queue&view=rows", width=width, dark=True)
    expect(page.locator(".card")).to_have_count(6)
    folded = page.get_by_role("button", name="Filters")
    expect(folded).to_be_visible() if width < PHONE_PX else expect(folded).to_be_hidden()
    if width < PHONE_PX:
        expect(page.get_by_label("Group by")).to_be_hidden()
        folded.click()
    expect(page.get_by_label("Group by")).to_be_visible()
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    assert {one["id"]: one["nodes"][0]["html"][:120] for one in found.response["violations"]} == {}
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_empty_wall_says_where_calls_go_and_who_was_refused(open_page: OpenPage) -> None:
    doors = (Door("Vonage, Infobip", path="/v1/vonage"), Door("Asterisk AudioSocket", port=9092))
    with RunningDashboard(doors=doors) as dashboard:
        health = examples.health()
        (row,), message = health.protocols, "missing or wrong token"
        refusal = Refusal(time=seconds_ago(5), peer="192.0.2.7", reason="unauthorized", message=message, count=3)
        protocols = (row.model_copy(update={"refusals": (refusal,)}),)
        dashboard.apply([examples.event(health.model_copy(update={"protocols": protocols}), source="node")])
        page = open_page(dashboard)
        host = dashboard.url.split("/")[2]
        expect(page.get_by_text(f"ws://{host}/v1/vonage")).to_be_visible()
        expect(page.get_by_text(f"{host.split(':')[0]}:9092")).to_be_visible()
        expect(page.get_by_text("twilio, 192.0.2.7")).to_be_visible()
        expect(page.get_by_text(f"(3 times): {message}")).to_be_visible()
        found = Axe().run(page, options={"resultTypes": ["violations"]})
        assert [one["id"] for one in found.response["violations"]] == []
        dashboard.apply([Scene("desk").stream()])
        expect(page.locator(".card")).to_have_count(1)
        expect(page.get_by_text("Send audio to")).to_be_hidden()


def test_an_ended_card_leads_to_its_summary(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    scene = Scene("over")
    dashboard.apply([scene.stream(), *scene.turn(1, "Ada", 0.0, 5.0), scene.stream("ended", 9.0)])
    page = open_page(dashboard)
    page.get_by_text("Summary").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("over")
    expect(page.locator(".lane-name").first).to_have_text("Ada")
