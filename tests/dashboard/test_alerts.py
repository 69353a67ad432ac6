"""Alerts as objects: kept for all pages and over restarts, and what supervisors do with them."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from stream.dashboard.alert_book import MAX_ALERTS, AlertBook
from stream.dashboard.alert_store import DAY_MS, AlertStore
from stream.dashboard.call_export import calls_csv
from stream.dashboard.feed import Feed
from tests.dashboard.scenes import Scene, phone_call
from tests.support.browser import OpenPage
from tests.support.dashboard import RunningDashboard

NOW_MS = 1_000 * time.time()


def fed(*events: Any, store: AlertStore | None = None) -> Feed:
    feed = Feed()
    if store is not None:
        feed.attach(store)
    for event in events:
        feed.apply(event, node="floor")
    return feed


def opened(folder: Path, **days: int) -> AlertStore:
    given = {"alert_days": 30, "call_days": 0, **days}
    return AlertStore(folder / "dashboard.sqlite", now_ms=NOW_MS, **given)


def call_with_alert() -> list[Any]:
    scene = Scene("desk", call=True)
    started = scene.stream(party="customer", labels={"caller": "+49301", "agent": "Grace"})
    return [
        started,
        scene.alert("a1", "anger", 9.0),
        scene.alert("a1", "anger", 12.0, phase="end", since_s=9.0),
        scene.alert("a2", "dead_air", 20.0, speaker=None),
        scene.stream("ended", 30.0, party="customer", outcome="cut"),
    ]


def test_an_alert_has_its_cause_its_call_and_its_length() -> None:
    first, second = fed(*call_with_alert()).alerts.since(0)
    assert (first.label, first.cause, first.about["agent"]) == ("sustained anger", "anger 70%", "Grace")
    assert first.end_ms == pytest.approx(first.start_ms + 3_000)
    assert (second.end_ms, second.card) == (None, "floor/desk")


def test_supervisors_acknowledge_put_off_and_write_notes() -> None:
    book = fed(*call_with_alert()).alerts
    name, version = book.since(0)[0].id, book.version
    assert book.act(name, "acknowledge") == book.act(name, "note", "called back") == ""
    (changed,) = book.since(version)
    assert (changed.acknowledged_ms is not None, changed.note) == (True, "called back")
    assert book.act(name, "reopen") == book.act(name, "snooze", 10) == ""
    assert book.since(version)[0].acknowledged_ms is None
    for action, value in (("snooze", 0), ("snooze", "x"), ("explode", None)):
        assert book.act(name, action, value)  # type: ignore[arg-type]
    assert "not known" in book.act("other", "acknowledge")


def test_alerts_survive_a_restart_and_their_call_is_not_kept(tmp_path: Path) -> None:
    store = opened(tmp_path)
    feed = fed(*call_with_alert(), store=store)
    feed.alerts.act(feed.alerts.since(0)[0].id, "acknowledge")
    before = feed.alerts.since(0)
    store.close()
    again = opened(tmp_path)
    assert [record.id for record in fed(store=again).alerts.since(0)] == [record.id for record in before]
    assert any(record.acknowledged_ms for record in fed(store=again).alerts.since(0))
    assert not list(again.calls()), "off by default"
    again.close()


def test_old_alerts_and_calls_are_deleted(tmp_path: Path) -> None:
    store = opened(tmp_path, call_days=7)
    fed(*call_with_alert(), store=store)
    assert [call.outcome for call in store.calls(query="grace lost")] == ["connection lost"]
    assert not list(store.calls(query="nobody"))
    store.close()
    later = AlertStore(tmp_path / "dashboard.sqlite", alert_days=30, call_days=7, now_ms=NOW_MS + 40 * DAY_MS)
    assert not later.newest_alerts(10)
    assert not list(later.calls())
    later.close()


def test_a_store_that_fails_is_given_up_and_the_page_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = opened(tmp_path)
    other = sqlite3.connect(tmp_path / "dashboard.sqlite", isolation_level=None)
    other.execute("DROP TABLE alerts")
    assert len(fed(*call_with_alert(), store=store).alerts.since(0)) == 2
    assert caplog.text.count("kept in memory only") == 1
    other.close()


def test_the_book_is_bounded() -> None:
    book = AlertBook(clock=lambda: 0.0)
    scene = Scene("desk", call=True)
    for number in range(MAX_ALERTS + 10):
        event = scene.alert(f"a{number}", "anger", float(number))
        book.apply(event, node="floor", name="desk", about={})  # type: ignore[arg-type]
    assert len(book.since(0)) == MAX_ALERTS


def test_calls_are_exported_without_formulas(tmp_path: Path) -> None:
    store = opened(tmp_path, call_days=7)
    scene = Scene("desk", call=True)
    labels = {"caller": "+49 301", "agent": "=HYPERLINK(1)"}
    fed(scene.stream(labels=labels), scene.stream("ended", 30.0, outcome="finished"), store=store)
    (row,) = csv.DictReader(io.StringIO(calls_csv(list(store.calls()))))
    assert (row["caller"], row["agent"], row["duration_s"]) == ("+49 301", "'=HYPERLINK(1)", "30.0")
    store.close()


@pytest.mark.slow
def test_alerts_on_the_page_survive_reload_second_browser_and_restart(open_page: OpenPage) -> None:
    with RunningDashboard(alert_days=30) as dashboard:
        dashboard.apply(phone_call("desk-1", 1))
        page = open_page(dashboard, "#/alerts")
        row = page.locator(".alerts li").first
        expect(row).to_contain_text("Sustained anger")
        row.get_by_role("button", name="Note").click()
        page.get_by_label("Text").fill("call back")
        page.get_by_role("button", name="Save").click()
        expect(row).to_contain_text("call back")
        row.get_by_role("button", name="Acknowledge").click()
        expect(page.locator(".alerts li")).to_have_count(0)
        second = open_page(dashboard, "#/alerts")
        second.get_by_role("button", name="All").click()
        expect(second.locator(".alerts li").first).to_contain_text("Acknowledged at")
        dashboard.restart()
        expect(second.locator(".alerts li").first).to_contain_text("call back")
        expect(second.locator("#link")).to_have_attribute("data-state", "open")


def test_a_page_receives_the_alerts_as_json() -> None:
    record = fed(*call_with_alert()).alerts.since(0)[0]
    assert json.loads(record.to_json())["kind"] == "anger"


def test_a_change_waits_for_no_disk(tmp_path: Path) -> None:
    """The event loop writes it: a flush a commit held up everybody else, by a second for a few hundred commands."""
    store = opened(tmp_path)
    assert store._database is not None
    assert store._database.execute("PRAGMA synchronous").fetchone() == (1,)  # NORMAL
