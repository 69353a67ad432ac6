"""The page in a real browser: what a person sees and does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from stream.errors import CommandRefused
from tests.dashboard.scenes import Scene, meeting, telephone
from tests.dashboard.stage import Stage
from tests.support import examples
from tests.support.browser import Visit

HEAVIEST_BYTES = 200_000
FIRST_PAINT_MS = 500
TOKEN = "a long enough token"


def names(page: Page) -> list[str]:
    return page.locator(".card .name").all_inner_texts()


def card(page: Page, name: str) -> str:
    return page.locator(".card", has=page.get_by_text(name, exact=True)).inner_text()


def began(seconds_ago: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds_ago)


def test_a_card_says_who_speaks_how_and_for_how_long(stage: Stage, visit: Visit) -> None:
    scene = Scene("lobby", began=began(75))
    stage.tell([scene.stream(), *scene.turn(1, "S2", 5.0, 15.0, label="neutral"), *scene.turn(2, "Alice", 60.0, 74.0)])
    stage.tell([scene.speaker("Alice", 74.0, enrolled=True), scene.emotion("angry", 74.0, who="Alice", sure=0.81)])
    page = visit(stage)
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
        "42 ms behind",
    ):
        assert words in shown
    assert re.search(r"\b01:\d\d\b", shown)  # a minute and a quarter ago, and a while for the browser
    stage.tell([scene.speaker(None, 75.0)])
    expect(page.locator(".card")).to_contain_text("silent for")


def test_cards_that_need_somebody_come_first_and_are_announced(stage: Stage, visit: Visit) -> None:
    scenes = [Scene(f"desk-{number}", began=began(60), call=True) for number in range(6)]
    stage.tell(scene.so_far(60.0) for scene in scenes)
    page = visit(stage)
    expect(page.locator(".card")).to_have_count(6)
    assert names(page)[0] == "desk-0"
    stage.tell([scenes[4].alert("a1", "anger", 60.0)])
    expect(page.locator(".card .name").first).to_have_text("desk-4")
    expect(page.locator(".card").first).to_contain_text("sustained anger")
    expect(page.locator("#say")).to_contain_text("desk-4: sustained anger")  # for those who listen to the page
    expect(page).to_have_title("(1) tonewatch")
    stage.tell([scenes[4].alert("a1", "anger", 62.0, phase="end")])
    expect(page.locator(".card .name").first).to_have_text("desk-0")


def test_the_wall_can_be_filtered_and_walked_by_keyboard(stage: Stage, visit: Visit) -> None:
    for number in range(8):
        stage.tell(telephone(f"desk-{number}", number))
    ended = Scene("over")
    stage.tell([ended.stream(), ended.stream("ended", 9.0)])
    page = visit(stage)
    expect(page.locator(".card")).to_have_count(9)
    page.keyboard.press("/")
    page.keyboard.type("desk-3")
    expect(page.locator(".card")).to_have_count(1)
    page.keyboard.press("Control+a")
    page.keyboard.type("nothing like it")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
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


def test_a_stream_shows_turns_probabilities_level_and_why(stage: Stage, visit: Visit) -> None:
    stage.tell(meeting("boardroom", 3))
    stage.levels({"boardroom": -30.0})
    page = visit(stage, "#/stream/floor%2Fboardroom")
    expect(page.locator(".lane-name").first).to_have_text("S1")
    assert page.locator(".turn").count() > 3
    expect(page.locator(".plot canvas")).to_be_visible()
    expect(page.get_by_role("meter")).to_have_attribute("aria-valuenow", "-30")
    why = page.locator("section", has=page.get_by_role("heading", name="Why it is thought so")).last
    for words in ("near enough to one that is known", "Runner-up", "Lead", "Needed", "0.45", "Evidence", "3.2 s"):
        expect(why).to_contain_text(words)
    expect(page.get_by_text("Sound was lost")).to_be_visible()
    page.get_by_text("As a table").click()
    expect(page.get_by_role("region", name="Turns").get_by_role("row").nth(1)).to_contain_text("now")
    turns = page.locator(".turn").count()
    page.get_by_role("button", name="All", exact=True).click()
    assert page.locator(".turn").count() >= turns


def test_a_correction_comes_into_view(stage: Stage, visit: Visit) -> None:
    scene = Scene("room", began=began(20))
    stage.tell([scene.stream(), *scene.turn(1, "S1", 1.0, 9.0, label="happy")])
    page = visit(stage, "#/stream/floor%2Froom")
    expect(page.locator(".lane-name")).to_have_text("S1")

    async def resolve() -> None:
        stage.page.feed.apply(scene.resolved("S1", "Alice", 10.0), node="floor")

    stage.do(resolve)
    expect(page.locator(".lane-name")).to_have_text("Alice")
    expect(page.locator(".log")).to_contain_text("S1 is Alice since 00:00")


def test_a_call_shows_where_its_time_went_and_why_the_agent_has_no_emotion(stage: Stage, visit: Visit) -> None:
    stage.tell(telephone("desk-1", 3, length_s=100))
    page = visit(stage, "#/stream/floor%2Fdesk-1")
    call = page.locator("section", has=page.get_by_role("heading", name="The call so far")).last
    for words in (
        "Customer",
        "Agent",
        "Both at once",
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


def test_the_privacy_button_pauses_the_stream_and_lets_it_go_on(stage: Stage, visit: Visit) -> None:
    scene = Scene("kitchen", began=began(10))
    told = {"pause": lambda: scene.stream("paused", 10.0), "resume": lambda: scene.stream("resumed", 10.0)}
    stage.run.told = lambda command, _: stage.page.feed.apply(
        told[command]().model_dump(mode="json", by_alias=True), node="floor"
    )
    stage.tell([scene.stream(), scene.speaker("S1", 9.0)])
    page = visit(stage, "#/stream/floor%2Fkitchen")
    page.get_by_role("button", name="Pause listening").click()
    again = page.get_by_role("button", name="Listen again")
    expect(again).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".who-name").first).to_have_text("Paused")
    again.click()
    expect(page.get_by_role("button", name="Pause listening")).to_be_enabled()
    assert stage.run.asked == [("pause", "kitchen"), ("resume", "kitchen")]


def test_a_call_is_paused_on_both_tracks(stage: Stage, visit: Visit) -> None:
    stage.tell(telephone("desk-1", 3, length_s=100))
    page = visit(stage, "#/stream/floor%2Fdesk-1")
    expect(page.locator(".lane-name").first).to_be_visible()
    page.get_by_role("button", name="Pause listening").click()
    expect(page.locator("#toast")).to_contain_text("Paused")
    assert sorted(stage.run.asked) == [("pause", "desk-1-agent"), ("pause", "desk-1-customer")]


def test_the_current_speaker_is_enrolled_by_name(visit: Visit) -> None:
    asked: list[tuple[str, str, str]] = []

    async def enroll(command: object) -> dict[str, str]:
        one = (command.source, command.voice, command.name)  # type: ignore[attr-defined]
        if command.name == "Bob":  # type: ignore[attr-defined]
            raise CommandRefused("there is too little speech of S1 yet; let them go on")
        asked.append(one)
        return {}

    with Stage(handlers={"enroll": enroll}) as stage:
        scene = Scene("room", began=began(9))
        stage.tell([scene.stream(), scene.speaker("S1", 8.0)])
        page = visit(stage, "#/stream/floor%2Froom")
        page.get_by_role("button", name="Name this voice").click()
        dialog = page.get_by_role("dialog", name="Who is S1?")
        dialog.get_by_label("Name").fill("Bob")
        dialog.get_by_role("button", name="Enrol").click()
        expect(dialog).to_contain_text("too little speech")
        dialog.get_by_label("Name").fill("Alice")
        page.keyboard.press("Enter")
        expect(page.locator("#toast")).to_contain_text("S1 is Alice from now on")
        expect(dialog).to_have_count(0)
        assert asked == [("room", "S1", "Alice")]
        stage.tell([scene.speaker("Alice", 9.0, enrolled=True)])
        expect(page.get_by_role("button", name="Name this voice")).to_be_disabled()


def test_what_cannot_be_done_is_not_offered(stage: Stage, visit: Visit) -> None:
    stage.tell([Scene("room").stream()])
    page = visit(stage, "#/stream/floor%2Froom")
    expect(page.get_by_role("button", name="Pause listening")).to_be_visible()
    expect(page.get_by_role("button", name="Name this voice")).to_be_hidden()
    expect(page.get_by_role("button", name="Microphone")).to_be_hidden()


def test_a_page_finds_back_after_the_server_was_restarted(stage: Stage, visit: Visit) -> None:
    stage.tell([Scene("before").stream()])
    page = visit(stage)
    expect(page.locator("#link")).to_have_text("Live")
    stage.restart()
    expect(page.locator("#link")).to_have_text("Connection lost")
    stage.tell([Scene("after").stream()])
    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator(".card .name")).to_have_text(["after"])
    expect(page.locator("#lost")).to_be_hidden()


def test_health_and_settings(stage: Stage, visit: Visit) -> None:
    stage.tell([examples.event(examples.health(), source="node"), Scene("room").stream()])
    page = visit(stage, "#/health")
    for words in ("Node floor", "40 ms", "20 ms", "windows dropped", "300 MB", "dashboard.host", "speakers.threshold"):
        expect(page.locator("main")).to_contain_text(words)
    listener = page.get_by_role("row", name=re.compile("^twilio "))
    for words in ("5", "unauthorized 1", "4,000", "1.2 MB", "0.5 s"):
        expect(listener).to_contain_text(words)
    page.get_by_label("Filter settings").fill("dashboard.token")
    expect(page.locator(".settings tbody tr")).to_have_count(1)


def test_names_from_outside_stay_text(stage: Stage, visit: Visit) -> None:
    """Whoever may name a stream may not write on the page."""
    evil = "<img src=x onerror=\"document.title='owned'\">"
    scene = Scene(evil[:60], began=began(5))
    stage.tell([scene.stream(detail=evil), scene.speaker(evil, 3.0), *scene.turn(1, evil, 1.0, 4.0, label="happy")])
    page = visit(stage)
    page.locator(".card").click()
    expect(page.locator(".turn")).to_be_visible()
    assert page.locator("main img").count() == 0
    assert "owned" not in page.title()


@pytest.mark.parametrize("route", ["", "#/stream/floor%2Fboardroom", "#/stream/floor%2Fdesk-1", "#/health"])
def test_on_a_phone_nothing_sticks_out(stage: Stage, visit: Visit, route: str) -> None:
    stage.tell(meeting("boardroom", 3))
    stage.tell(telephone("desk-1", 3))
    stage.tell([examples.event(examples.health(), source="node")])
    page = visit(stage, route, width=360, height=740)
    expect(page.locator("main h1")).to_be_attached()
    page.wait_for_load_state("networkidle") if not route else page.wait_for_selector(".panel:visible")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize(
    ("route", "dark"),
    [(route, False) for route in ("", "#/stream/floor%2Fboardroom", "#/stream/floor%2Fdesk-1", "#/health")]
    + [(route, True) for route in ("", "#/stream/floor%2Fboardroom")],
)
def test_the_page_is_usable_without_eyes_or_colours(stage: Stage, visit: Visit, route: str, dark: bool) -> None:  # noqa: FBT001
    """Axe, Deque's checker of the WCAG rules, finds nothing, contrast of text included."""
    stage.tell(meeting("boardroom", 3))
    for number in range(6):
        stage.tell(telephone(f"desk-{number}", number))
    stage.tell([examples.event(examples.health(), source="node")])
    stalled = Scene("kitchen")
    stage.tell([stalled.stream(), stalled.stream("stalled", 3.0)])
    page = visit(stage, route, dark=dark)
    page.wait_for_selector(".panel:visible" if route else ".card")
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    broken = {one["id"]: [node["html"][:120] for node in one["nodes"]][:3] for one in found.response["violations"]}
    assert broken == {}


def test_the_page_is_light_and_quick(stage: Stage, visit: Visit) -> None:
    stage.tell(meeting("boardroom", 3))
    page = visit(stage, "#/stream/floor%2Fboardroom")
    expect(page.locator(".plot canvas")).to_be_visible()  # the heaviest view, its library included
    weights = page.evaluate(
        "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
        ".map((one) => [one.name, one.decodedBodySize])"
    )
    assert sum(weight for _, weight in weights) < HEAVIEST_BYTES, weights
    assert all(name.startswith((stage.url, "data:")) for name, _ in weights)  # nothing from elsewhere
    page = visit(stage)
    page.wait_for_selector(".card")
    paint_ms = min(_first_paint_ms(page, stage) for _ in range(2))
    assert paint_ms < FIRST_PAINT_MS


def _first_paint_ms(page: Page, stage: Stage) -> float:
    page.goto(stage.url)
    page.wait_for_selector(".card")
    observe = "new PerformanceObserver((seen) => seen.getEntries().forEach((one) => tell(one.startTime)))"
    told = page.evaluate(f"() => new Promise((tell) => {observe}.observe({{type: 'paint', buffered: true}}))")
    return float(told)


def test_two_hundred_cards_do_not_stutter(stage: Stage, visit: Visit) -> None:
    """While every card changes ten times a second the page goes on drawing: half of all frames come in time."""
    scenes = [Scene(f"desk-{number}", began=began(100)) for number in range(200)]
    stage.tell(scene.stream() for scene in scenes)
    page = visit(stage, width=1600, height=1000)
    expect(page.locator(".card")).to_have_count(200)
    page.evaluate(
        "() => { const frames = []; let last = performance.now(); window.drawn = new Promise((tell) => {"
        " const next = (now) => { frames.push(now - last); last = now;"
        " if (frames.length < 90) requestAnimationFrame(next); else tell(frames); }; requestAnimationFrame(next); }); }"
    )
    for step in range(20):
        for scene in scenes:
            label = ("neutral", "happy", "angry", "sad")[step % 4]
            stage.tell(
                [scene.speaker(f"S{step % 3}", step / 2), scene.emotion(label, step / 2, sure=0.4 + step % 5 / 10)]
            )
    frames = sorted(page.evaluate("window.drawn"))
    median, slow = frames[len(frames) // 2], frames[int(len(frames) * 0.95)]
    assert median < 50, (median, slow)  # a busy machine draws at 20 Hz at least
    expect(page.locator(".card").first).to_contain_text("S1")


def test_a_link_with_the_token_leads_in_and_leaves_it_nowhere(visit: Visit) -> None:
    with Stage(token=TOKEN) as stage:
        stage.tell([Scene("lobby").stream()])
        asked = list[str]()
        page = visit(stage, refused=True)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{stage.url}#token={TOKEN.replace(' ', '%20')}")
        page.reload()  # a browser that stands there already only moves within the page
        expect(page.locator(".card")).to_have_count(1)
        assert page.url.rstrip("/") == stage.url.rstrip("/")
        assert not any("token" in url for url in asked)
        assert page.evaluate("document.cookie") == ""
        page.goto(f"{stage.url}#token=again")
        page.reload()
        expect(page.locator(".card")).to_have_count(1)
        assert "token" not in page.url


def test_a_wrong_token_is_told_so(visit: Visit) -> None:
    with Stage(token=TOKEN) as stage:
        page = visit(stage, "#token=wrong", refused=True)
        expect(page.get_by_role("alert")).to_have_text("That is not the token.")
        page.get_by_label("This page needs its token.").fill(TOKEN)
        page.get_by_role("button", name="Enter").click()
        expect(page.locator("#main")).to_be_visible()
