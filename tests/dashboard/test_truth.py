"""What a card says is true: its age, its ending, whose emotion it shows, and shares that agree with the figures."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from stream.dashboard.card import Card
from stream.dashboard.overview import MAX_POINTS, Overview
from stream.dashboard.wall import ABANDONED_S, EXPIRY_S, Wall
from stream.events import Event
from tests.dashboard.scenes import Scene
from tests.support import examples


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def card_of(*events: Event) -> Card:
    card = Card(key="floor/room", name="room", node="floor")
    for event in events:
        card.apply(event)
    return card


def cards(wall: Wall, since: int = 0) -> dict[str, Any]:
    return {card["name"]: card for card in json.loads(wall.message(since))["cards"]}


def test_an_emotion_is_shown_with_its_own_voice_only() -> None:
    scene = Scene("room")
    card = card_of(scene.stream(), scene.speaker("S1", 2.0), scene.emotion("sad", 2.5, speaker="S1"))
    assert card.view().emotion is not None
    card.apply(scene.speaker("S2", 3.0))
    assert card.view().emotion is None, "sad is S1's"
    card.apply(scene.emotion("happy", 4.0, speaker="S2"))
    emotion = card.view().emotion
    assert emotion is not None
    assert emotion.since_s == 3.0, "not before S2 spoke"


def test_shares_of_a_call_are_those_of_its_figures() -> None:
    scene = Scene("desk", call=True)
    figures = scene.call_figures(60.0)
    view = card_of(figures).view()
    talk = {share.name: share.seconds for share in view.talk}
    for party in figures.parties:  # type: ignore[union-attr]
        assert talk[party.party] / sum(talk.values()) == pytest.approx(party.talk_share, abs=0.01)


@pytest.mark.parametrize(
    ("outcome", "detail", "text", "shown"),
    [
        ("finished", "the sound has ended", "finished", ""),
        ("hung_up", "", "hung up", ""),
        ("cut", "", "connection lost", ""),
        ("refused", "too fast", "ended by the node", "too fast"),
        ("failed", "damaged", "source failed", "damaged"),
        (None, "", "ended", ""),
    ],
)
def test_an_ended_stream_says_how_it_ended_and_how_it_sounded(outcome: Any, detail: str, text: str, shown: str) -> None:
    scene = Scene("room")
    card = card_of(scene.stream(), *scene.turn(1, "S1", 0.0, 9.0, label="sad"), scene.emotion("sad", 5.0))
    assert card.view().ending is None
    card.apply(scene.stream("ended", 10.0, outcome=outcome, detail=detail))
    view = card.view()
    assert view.ending is not None
    assert (view.ending.text, view.ending.detail) == (text, shown)
    assert next(iter(view.ending.emotions)) == "sad"
    assert view.reason == "", "an end is no alarm"


def test_the_party_that_left_first_has_hung_up() -> None:
    scene = Scene("desk", call=True)
    parties = ("customer", "agent")
    events = [scene.stream(party=party) for party in parties]
    events += [scene.stream("ended", 20.0 + at, party=who, outcome="hung_up") for at, who in enumerate(parties)]
    ending = card_of(*events).view().ending
    assert ending is not None
    assert ending.text == "customer hung up"


@pytest.mark.parametrize(("agent_end_s", "text"), [(20.5, "customer hung up"), (25.0, "agent hung up")])
def test_ends_that_are_published_out_of_order_are_put_in_order(agent_end_s: float, text: str) -> None:
    """The agent's is published first; one that is much later follows a stall of the customer's track."""
    scene = Scene("desk", call=True)
    events = [scene.stream(party=party) for party in ("customer", "agent")]
    events += [
        scene.stream("ended", end_s, party=party, outcome="hung_up")
        for party, end_s in (("agent", agent_end_s), ("customer", 20.0))
    ]
    ending = card_of(*events).view().ending
    assert ending is not None
    assert ending.text == text


def test_a_card_of_which_nothing_is_heard_leaves() -> None:
    clock = Clock()
    wall, scene, paused, ended = Wall(clock=clock), Scene("room"), Scene("hall"), Scene("over")
    for event in (scene.stream(), paused.stream(), paused.stream("paused", 1.0), ended.stream("ended", 2.0)):
        wall.apply(event, node="floor")
    assert cards(wall)["room"]["received_ms"] == clock.now_s * 1000
    clock.now_s += EXPIRY_S + 1
    health = examples.event(examples.health(), source="node")
    wall.apply(
        health.model_copy(update={"time": health.time.fromtimestamp(clock.now_s, health.time.tzinfo)}), node="floor"
    )
    assert wall.expire()
    assert set(cards(wall)) == {"hall", "over"}, "a pause sends nothing while its node lives"
    clock.now_s += EXPIRY_S + 1
    assert wall.expire()
    assert set(cards(wall)) == {"over"}


def test_calls_of_a_node_that_was_cut_off_end_when_it_begins_again() -> None:
    clock = Clock()
    wall, scene = Wall(clock=clock), Scene("desk", call=True)
    for party in ("customer", "agent"):
        wall.apply(scene.stream(party=party), node="floor")
        wall.apply(scene.stream("paused", 3.0, party=party, call_change="hold"), node="floor")
    clock.now_s += ABANDONED_S + 1
    assert not wall.end_abandoned()
    health = examples.event(examples.health(), source="node").model_copy(update={"session": "next"})
    wall.apply(health, node="floor", retained=True)
    assert not wall.end_abandoned(), "a broker may remember the health of any run"
    wall.apply(health, node="elsewhere")
    assert not wall.end_abandoned()
    wall.apply(health, node="floor")
    assert [card.name for card in wall.end_abandoned()] == ["desk"]
    assert cards(wall)["desk"]["ending"]["text"] == "connection lost"
    assert not wall.end_abandoned()


def test_what_only_the_broker_remembers_leaves_when_it_is_old() -> None:
    clock = Clock()
    wall = Wall(clock=clock)
    for name, age_s in (("old", EXPIRY_S + 60), ("recent", 60.0)):
        scene = Scene(name, started=datetime.fromtimestamp(clock.now_s - age_s, UTC))
        wall.apply(scene.speaker("S1", 3.0), node="floor", retained=True)
    wall.update_node("floor", online=False)
    assert wall.expire()
    assert {name: card["state"] for name, card in cards(wall).items()} == {"recent": "offline"}


def test_the_state_of_the_broker_reaches_the_page() -> None:
    wall = Wall(clock=Clock())
    wall.set_broker(name="broker", connected=True)
    version = wall.version
    wall.set_broker(name="broker", connected=False, error="refused")
    assert wall.version > version
    assert json.loads(wall.message(version))["broker"] == {
        "name": "broker", "connected": False, "since_ms": 1_000_000_000.0, "error": "refused",
    }  # fmt: skip


def test_the_overview_of_a_long_stream_is_bounded_and_spans_it() -> None:
    overview = Overview()
    for number in range(1_000):
        overview.add(f"e{number // 100}", 0.5)
    labels = [label for label, _ in overview.points]
    assert len(labels) <= MAX_POINTS
    assert (labels[0], labels[-1]) == ("e0", "e9")
