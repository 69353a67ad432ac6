"""Ended calls as a page, and the report of each: kept with the calls, linked from their cards."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from stream.dashboard.alert_store import DAY_MS, AlertStore
from stream.dashboard.call_page import report_page
from stream.dashboard.feed import Feed
from stream.dashboard.recording import Recording, unpack
from tests.dashboard.scenes import Scene
from tests.support.browser import OpenPage
from tests.support.dashboard import RunningDashboard

NOW_MS = 1_000 * time.time()
FORGED = '"><script>'
LABELS = {"caller": "+49301", "caller_name": "Clara <3", "agent": "Grace", "queue": "Billing"}


def call(scene: Scene | None = None) -> list[Any]:
    scene = scene or Scene("desk", call=True)
    tracks = [scene.stream(party=party, labels=LABELS) for party in ("customer", "agent")]
    ends = [
        scene.stream("ended", end_s, party=party, outcome="hung_up")
        for party, end_s in (("customer", 30.0), ("agent", 31.0))
    ]
    return [
        *tracks,
        *scene.turn(1, "customer", 1.0, 11.0, label="angry", party="customer"),
        scene.emotion("angry", 5.0, speaker="customer", party="customer"),
        scene.speaker("customer", 6.0, party="customer"),
        scene.alert("a1", "anger", 9.0),
        scene.alert("a1", "anger", 12.0, phase="end", since_s=9.0),
        *ends,
        scene.call_figures(31.0, phase="final", state="silence"),
    ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AlertStore]:
    opened = AlertStore(tmp_path / "dashboard.sqlite", alert_days=0, call_days=7, now_ms=NOW_MS)
    yield opened
    opened.close()


def fed(store: AlertStore | None, events: list[Any]) -> Feed:
    feed = Feed()
    if store is not None:
        feed.attach(store)
    for event in events:
        feed.apply(event, node="floor")
    return feed


def test_the_report_of_an_ended_call_has_its_turns_alerts_and_who_hung_up(store: AlertStore) -> None:
    card = fed(store, call()).wall.card("floor/desk")
    assert card is not None
    ending = card.view().ending
    assert ending is not None
    found = store.call(ending.report)
    assert found is not None
    record, events = found
    assert record.outcome == "customer hung up"
    text = report_page(events, record)
    for words in ("Clara &lt;3", "customer hung up", "sustained anger", "00:01–00:11", "queue: Billing"):
        assert words in text
    assert {event.type for event in unpack(events)} == {"stream", "turn", "emotion", "alert", "call"}


def test_a_call_is_kept_once_however_many_tracks_end(store: AlertStore) -> None:
    fed(store, call())
    assert [record.name for record in store.calls()] == ["desk"]


def test_two_calls_of_one_name_are_two(store: AlertStore) -> None:
    scene = Scene("desk", call=True)
    fed(store, [*call(scene), *call(scene)])
    assert len(list(store.calls())) == 2


def test_without_days_nothing_is_kept_and_no_card_has_a_report() -> None:
    card = fed(None, call()).wall.card("floor/desk")
    assert card is not None
    ending = card.view().ending
    assert ending is not None
    assert (ending.report, card.recording) == ("", b"")


def test_reports_are_deleted_with_their_calls(store: AlertStore, tmp_path: Path) -> None:
    fed(store, call())
    (record,) = store.calls()
    later = AlertStore(tmp_path / "dashboard.sqlite", alert_days=0, call_days=7, now_ms=NOW_MS + 8 * DAY_MS)
    assert later.call(record.id) is None
    later.close()


def test_a_recording_is_bounded_but_keeps_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.dashboard.recording.MAX_BYTES", 0)
    scene, recording = Scene("desk"), Recording()
    recording.add(scene.stream())
    recording.add(scene.emotion("angry", 5.0))
    recording.add(scene.stream("ended", 9.0))
    assert [event.type for event in unpack(recording.packed())] == ["stream", "stream"]


@pytest.fixture
def keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningDashboard]:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    with RunningDashboard(more={"call_days": 7}) as running:
        running.apply([*call(), *call(Scene("front", call=True))])
        yield running


def read(address: str) -> tuple[str, str]:
    """Return the text at an address, and its content policy."""
    with urllib.request.urlopen(address, timeout=20) as answer:  # noqa: S310
        return answer.read().decode(), answer.headers["content-security-policy"]


@pytest.mark.slow
def test_the_list_of_calls_is_filtered_and_links_to_reports(keeping: RunningDashboard) -> None:
    whole, policy = read(f"{keeping.url}calls")
    assert whole.count("Open</a>") == 2
    assert "script" not in policy
    assert read(f"{keeping.url}calls?q=front+billing")[0].count("Open</a>") == 1
    nothing, _ = read(f"{keeping.url}calls?q={quote(FORGED)}")
    assert "No call matches" in nothing
    assert "<script>" not in nothing
    with pytest.raises(HTTPError, match="404"):
        read(f"{keeping.url}report?call=other")


@pytest.mark.slow
def test_a_card_links_to_its_report(keeping: RunningDashboard, open_page: OpenPage) -> None:
    page = open_page(keeping)
    page.get_by_role("link", name="Report of Clara <3").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Clara <3")
    expect(page.locator("svg")).to_have_count(1)
    page.goto(f"{keeping.url}calls")
    page.get_by_role("link", name="Open").last.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Clara <3")


@pytest.mark.long
@pytest.mark.parametrize("dark", [False, True])
def test_pages_of_calls_are_accessible_and_fit_a_phone(
    keeping: RunningDashboard,
    open_page: OpenPage,
    dark: bool,  # noqa: FBT001
) -> None:
    page = open_page(keeping, dark=dark, width=390, height=800)
    report = page.get_by_role("link", name="Report of Clara <3").first.get_attribute("href") or ""
    for address in ("calls", report):
        page.goto(keeping.url + address)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
        found = Axe().run(page, options={"resultTypes": ["violations"]})
        broken = {one["id"]: [node["html"][:120] for node in one["nodes"]][:3] for one in found.response["violations"]}
        assert broken == {}
