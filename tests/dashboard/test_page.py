"""The dashboard in a real browser."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from stream.control.commands import EnrollCommand
from stream.errors import CommandRefused
from stream.events import SetAside, SinkHealth
from tests.dashboard.scenes import Scene, conversation, phone_call, seconds_ago
from tests.support import examples
from tests.support.browser import OpenPage
from tests.support.dashboard import RunningDashboard

pytestmark = pytest.mark.slow

TOKEN = "a long enough token"


def names(page: Page) -> list[str]:
    return page.locator(".card .name").all_inner_texts()


def card(page: Page, name: str) -> str:
    return page.locator(".card", has=page.get_by_text(name, exact=True)).inner_text()


def test_card_shows_speaker_emotion_and_times(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    scene = Scene("lobby", started=seconds_ago(75))
    dashboard.apply(
        [scene.stream(), *scene.turn(1, "S2", 5.0, 15.0, label="neutral"), *scene.turn(2, "Alice", 60.0, 74.0)]
    )
    dashboard.apply(
        [scene.speaker("Alice", 74.0, enrolled=True), scene.emotion("angry", 74.0, speaker="Alice", confidence=0.81)]
    )
    page = open_page(dashboard)
    expect(page.locator(".card")).to_have_count(1)
    shown = card(page, "lobby")
    for words in (
        "Alice",
        "speaking, enrolled",
        "angry",
        "81 %",
        "Alice 58 %",
        "S2 42 %",
        "sounds angry",
    ):
        assert words in shown
    assert re.search(r"\b01:\d\d\b", shown)  # 75 s plus the time that the browser takes
    dashboard.apply([scene.speaker(None, 75.0)])
    expect(page.locator(".card")).to_contain_text("silent for")


def test_cards_with_alerts_come_first_and_are_announced(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    scenes = [Scene(f"desk-{number}", started=seconds_ago(60), call=True) for number in range(6)]
    dashboard.apply(scene.call_figures(60.0) for scene in scenes)
    page = open_page(dashboard)
    expect(page.locator(".card")).to_have_count(6)
    assert names(page)[0] == "desk-0"
    dashboard.apply([scenes[4].alert("a1", "anger", 60.0)])
    expect(page.locator(".card .name").first).to_have_text("desk-4")
    expect(page.locator(".card").first).to_contain_text("sustained anger")
    expect(page.locator("#announcements")).to_contain_text("desk-4: sustained anger")  # for screen readers
    expect(page).to_have_title("(1) tonewatch")
    dashboard.apply([scenes[4].alert("a1", "anger", 62.0, phase="end")])
    expect(page.locator(".card .name").first).to_have_text("desk-0")


def test_wall_is_filtered_and_navigated_by_keyboard(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    for number in range(8):
        dashboard.apply(phone_call(f"desk-{number}", number))
    ended = Scene("over")
    dashboard.apply([ended.stream(), ended.stream("ended", 9.0)])
    page = open_page(dashboard)
    expect(page.locator(".card")).to_have_count(9)
    page.keyboard.press("/")
    page.keyboard.type("desk-3")
    expect(page.locator(".card")).to_have_count(1)
    page.keyboard.press("Control+a")
    page.keyboard.type("nothing like it")
    expect(page.get_by_text("No matches")).to_be_visible()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.get_by_role("button", name="Ended").click()
    expect(page.locator(".card .name")).to_have_text(["over"])
    page.get_by_role("button", name="All").click()
    page.get_by_label("Sort by").select_option("name")
    expect(page.locator(".card .name").first).to_have_text("desk-0")
    page.locator(".card").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("desk-1")
    page.keyboard.press("Escape")
    expect(page.locator(".grid")).to_be_visible()


def test_stream_shows_turns_probabilities_level_and_decision(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    dashboard.set_levels({"boardroom": -30.0})
    page = open_page(dashboard)
    dashboard.apply(conversation("boardroom", 3))  # without events for 4 s it is not live, and has no level
    page.evaluate("location.hash = '#/stream/floor%2Fboardroom'")
    expect(page.locator(".lane-name").first).to_have_text("S1")
    assert page.locator(".turn").count() > 3
    expect(page.locator(".plot canvas")).to_be_visible()
    expect(page.get_by_role("meter")).to_have_attribute("aria-valuenow", "-30")
    decision = page.locator("section", has=page.get_by_role("heading", name="Speaker decision")).last
    for words in ("Matches a known voice.", "Runner-up", "Margin", "Threshold", "0.45", "Evidence", "3.2 s"):
        expect(decision).to_contain_text(words)
    expect(page.get_by_text("Audio lost")).to_be_visible()
    page.get_by_text("As a table").click()
    expect(page.get_by_role("region", name="Turns").get_by_role("row").nth(1)).to_contain_text("now")
    turns = page.locator(".turn").count()
    page.get_by_role("button", name="All", exact=True).click()
    assert page.locator(".turn").count() >= turns


def test_correction_is_shown(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    scene = Scene("room", started=seconds_ago(20))
    dashboard.apply([scene.stream(), *scene.turn(1, "S1", 1.0, 9.0, label="happy")])
    page = open_page(dashboard, "#/stream/floor%2Froom")
    expect(page.locator(".lane-name")).to_have_text("S1")

    dashboard.apply([scene.resolved("S1", "Alice", 10.0)])
    expect(page.locator(".lane-name")).to_have_text("Alice")
    expect(page.locator(".log")).to_contain_text("S1 is Alice since 00:00")


def test_call_shows_its_parts_and_why_the_agent_has_no_emotion(
    dashboard: RunningDashboard, open_page: OpenPage
) -> None:
    dashboard.apply(phone_call("desk-1", 3, length_s=100))
    page = open_page(dashboard, "#/stream/floor%2Fdesk-1")
    call = page.locator("section", has=page.get_by_role("heading", name="Call so far")).last
    for words in (
        "Customer",
        "Agent",
        "Crosstalk",
        "Silence",
        "Interruptions",
        "2 · 1.4 s",
        "EU AI Act, Article 5(1)(f)",
        "not inferred",
    ):
        expect(call).to_contain_text(words)
    shares = [int(text.split()[0]) for text in page.locator(".quad b").all_inner_texts()]
    assert 98 <= sum(shares) <= 102
    expect(page.locator(".lane-name")).to_have_text(["agent", "customer"])


def test_pause_button_pauses_and_resumes_the_stream(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    scene = Scene("kitchen", started=seconds_ago(10))
    states = {"pause": "paused", "resume": "resumed"}
    dashboard.pipeline.on_command = lambda command, _: dashboard.page.feed.apply(
        scene.stream(states[command], 10.0), node="floor"
    )
    dashboard.apply([scene.stream(), scene.speaker("S1", 9.0)])
    page = open_page(dashboard, "#/stream/floor%2Fkitchen")
    page.get_by_role("button", name="Pause").click()
    resume = page.get_by_role("button", name="Resume")
    expect(resume).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".speaker-name").first).to_have_text("Paused")
    resume.click()
    expect(page.get_by_role("button", name="Pause")).to_be_enabled()
    assert dashboard.pipeline.commands == [("pause", "kitchen"), ("resume", "kitchen")]


def test_call_is_paused_on_both_tracks(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    dashboard.apply(phone_call("desk-1", 3, length_s=100))
    page = open_page(dashboard, "#/stream/floor%2Fdesk-1")
    expect(page.locator(".lane-name").first).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#toast")).to_contain_text("Paused")
    assert sorted(dashboard.pipeline.commands) == [("pause", "desk-1-agent"), ("pause", "desk-1-customer")]


def test_current_speaker_is_enrolled(open_page: OpenPage) -> None:
    enrolled: list[tuple[str | None, str | None, str]] = []

    async def enroll(command: EnrollCommand) -> dict[str, str]:
        if command.name == "Bob":
            raise CommandRefused("too little speech of S1; continue")
        enrolled.append((command.source, command.voice, command.name))
        return {}

    with RunningDashboard(handlers={"enroll": enroll}) as dashboard:
        scene = Scene("room", started=seconds_ago(9))
        dashboard.apply([scene.stream(), scene.speaker("S1", 8.0)])
        page = open_page(dashboard, "#/stream/floor%2Froom")
        page.get_by_role("button", name="Enrol this voice").click()
        dialog = page.get_by_role("dialog", name="Enrol S1")
        dialog.get_by_label("Name").fill("Bob")
        dialog.get_by_role("button", name="Enrol").click()
        expect(dialog).to_contain_text("too little speech")
        dialog.get_by_label("Name").fill("Alice")
        page.keyboard.press("Enter")
        expect(page.locator("#toast")).to_contain_text("Enrolled S1 as Alice")
        expect(dialog).to_have_count(0)
        assert enrolled == [("room", "S1", "Alice")]
        dashboard.apply([scene.speaker("Alice", 9.0, enrolled=True)])
        expect(page.get_by_role("button", name="Enrol this voice")).to_be_disabled()


def test_unavailable_commands_are_hidden(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    dashboard.apply([Scene("room").stream()])
    page = open_page(dashboard, "#/stream/floor%2Froom")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.get_by_role("button", name="Enrol this voice")).to_be_hidden()
    expect(page.get_by_role("button", name="Microphone")).to_be_hidden()


def test_page_reconnects_after_a_restart_of_the_server(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    dashboard.apply([Scene("before").stream()])
    page = open_page(dashboard)
    expect(page.locator("#link")).to_have_text("Live")
    dashboard.restart()
    after = Scene("after", started=seconds_ago(60), call=True)
    dashboard.apply([after.call_figures(60.0), after.alert("a1", "anger", 60.0)])  # while the page is not connected
    expect(page.locator("#link")).to_have_text("Connection lost")
    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator(".card .name")).to_have_text(["after"])
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#announcements")).to_contain_text("after: sustained anger")


def test_health_and_settings(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    aside = SetAside(topic="s/room/7", reason="404 Not Found", count=3, time=datetime(2026, 1, 1, tzinfo=UTC))
    hook = SinkHealth(sink="https://host/…", sent=9, dropped=0, conflated=0, waiting=0, rejected=3, set_aside=(aside,))
    health = examples.health().model_copy(update={"sinks": (hook,)})
    dashboard.apply([examples.event(health, source="node"), Scene("room").stream()])
    page = open_page(dashboard, "#/health")
    for words in ("Node floor", "40 ms", "20 ms", "windows dropped", "300 MB", "dashboard.host", "speakers.threshold"):
        expect(page.locator("main")).to_contain_text(words)
    listener = page.get_by_role("row", name=re.compile("^twilio "))
    for words in ("5", "unauthorized 1", "4,000", "1.2 MB", "0.5 s"):
        expect(listener).to_contain_text(words)
    expect(page.locator("main")).to_contain_text("s/room/7 (3×): 404 Not Found (https://host/…)")
    page.get_by_label("Filter settings").fill("dashboard.origins")
    expect(page.locator(".settings tbody tr")).to_have_count(1)


def test_names_in_events_are_shown_as_text(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    """A source cannot inject markup through the name of a stream or speaker."""
    evil = "<img src=x onerror=\"document.title='injected'\">"
    scene = Scene(evil[:60], started=seconds_ago(5))
    dashboard.apply(
        [scene.stream(detail=evil), scene.speaker(evil, 3.0), *scene.turn(1, evil, 1.0, 4.0, label="happy")]
    )
    page = open_page(dashboard)
    page.locator(".card").click()
    expect(page.locator(".turn")).to_be_visible()
    assert page.locator("main img").count() == 0
    assert "injected" not in page.title()


def test_link_with_the_token_authorizes_and_the_token_is_not_kept(open_page: OpenPage) -> None:
    with RunningDashboard(token=TOKEN) as dashboard:
        dashboard.apply([Scene("lobby").stream()])
        requests = list[str]()
        page = open_page(dashboard, unauthorized=True)
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{dashboard.url}#token={TOKEN.replace(' ', '%20')}")
        page.reload()  # with only another #, the browser does not load the page again
        expect(page.locator(".card")).to_have_count(1)
        assert page.url.rstrip("/") == dashboard.url.rstrip("/")
        assert not any("token" in url for url in requests)
        assert page.evaluate("document.cookie") == ""
        page.goto(f"{dashboard.url}#token=again")
        page.reload()
        expect(page.locator(".card")).to_have_count(1)
        assert "token" not in page.url


def test_wrong_token_is_reported(open_page: OpenPage) -> None:
    with RunningDashboard(token=TOKEN) as dashboard:
        dashboard.apply([Scene("lobby").stream()])
        page = open_page(dashboard, "#token=wrong", unauthorized=True)
        expect(page.get_by_role("alert")).to_have_text("Wrong token.")
        page.get_by_label("Access token").fill(TOKEN)
        page.get_by_role("button", name="Enter").click()
        expect(page.locator(".card")).to_have_count(1)


def test_filters_are_part_of_the_address(dashboard: RunningDashboard, open_page: OpenPage) -> None:
    for name, queue in (("one", "sales"), ("two", "support")):
        scene = Scene(name, call=True)
        dashboard.apply([scene.stream(party="customer", labels={"caller": f"+49 {name}", "queue": queue})])
    page = open_page(dashboard, "#/?q=sales")
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator(".card")).to_contain_text("+49 one")
    page.get_by_role("button", name="Ended").click()
    expect(page).to_have_url(re.compile(r"#/\?show=ended&q=sales$"))
