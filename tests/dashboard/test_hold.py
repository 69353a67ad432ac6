"""Hold and transfer on a card and in the history."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stream.dashboard.call_export import calls_csv
from stream.dashboard.card import Card
from stream.events import Event
from tests.dashboard.scenes import Scene


def later(event: Event, seconds: float) -> Event:
    return event.model_copy(update={"time": event.time + timedelta(seconds=seconds)})


def test_a_card_shows_the_hold_and_sums_it_up() -> None:
    scene, card = Scene("desk", call=True), Card(key="floor/desk", name="desk", node="floor")
    for party in ("customer", "agent"):
        card.apply(scene.stream(party=party, labels={"agent": "Ada"}))
    for party in ("customer", "agent"):
        card.apply(scene.stream("paused", 5.0, party=party, call_change="hold"))
    assert card.view().state == "paused"
    assert card.view().hold_since_ms is not None
    for party in ("customer", "agent"):
        event = scene.stream("described", 5.0, party=party, call_change="transfer", labels={"agent": "Grace"})
        card.apply(event)
        card.apply(later(scene.stream("resumed", 5.0, party=party, call_change="retrieve"), 65.0))
    view = card.view()
    assert (view.state, view.hold_since_ms, view.transfers, view.about["agent"]) == ("live", None, 1, "Grace")
    assert view.held_s == pytest.approx(65.0)
    card.apply(later(scene.stream("paused", 8.0, party="customer", call_change="hold"), 100.0))
    for party in ("customer", "agent"):
        card.apply(later(scene.stream("ended", 8.0, party=party, outcome="hung_up"), 110.0))
    record = card.record()
    assert record.held_s == pytest.approx(75.0)
    assert record.transfers == 1
    assert ",75.0,1," in calls_csv([record])


def test_a_pause_is_no_hold() -> None:
    scene, card = Scene("desk", call=True), Card(key="floor/desk", name="desk", node="floor")
    card.apply(scene.stream(party="customer"))
    card.apply(scene.stream("paused", 5.0, party="customer"))
    assert (card.view().state, card.view().hold_since_ms, card.view().held_s) == ("paused", None, 0.0)
