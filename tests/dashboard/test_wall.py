"""The wall: versions, snapshots, deltas, bounds."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.dashboard.wall import MAX_CARDS, MAX_ENDED_CARDS, MAX_NODES, Wall
from stream.events import Event
from tests.dashboard.scenes import Scene, phone_call
from tests.support import examples


def apply(wall: Wall, *events: Event, node: str = "floor") -> None:
    for event in events:
        wall.apply(event, node=node)


class Page:
    """The state of a page after the messages that it received."""

    def __init__(self) -> None:
        self.version, self.cards, self.nodes = 0, dict[str, Any](), dict[str, Any]()

    def update(self, wall: Wall) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(wall.message(self.version))
        if message["t"] == "snapshot":
            self.cards, self.nodes = {}, {}
        self.cards |= {card["key"]: card for card in message["cards"]}
        self.nodes |= {node["node"]: node for node in message["nodes"]}
        for key in message["removed"]:
            self.cards.pop(key, None)
        self.version = message["version"]
        return message


def test_delta_has_each_changed_card_once() -> None:
    wall, page = Wall(), Page()
    scenes = [Scene(f"desk-{number}") for number in range(5)]
    apply(wall, *(scene.stream() for scene in scenes))
    assert page.update(wall)["t"] == "snapshot"
    apply(wall, scenes[2].speaker("S1", 1.0), scenes[2].speaker("S1", 1.5), scenes[4].speaker("S2", 1.5))
    assert [card["name"] for card in page.update(wall)["cards"]] == ["desk-2", "desk-4"]
    assert page.update(wall)["cards"] == []


def test_tracks_of_a_call_are_one_card() -> None:
    wall, page = Wall(), Page()
    apply(wall, *phone_call("desk-7", 3))
    page.update(wall)
    assert list(page.cards) == ["floor/desk-7"]


def test_streams_of_one_name_on_two_nodes_are_two_cards() -> None:
    wall, page = Wall(), Page()
    for node in ("kitchen", "hall"):
        apply(wall, Scene("microphone").stream(), node=node)
    page.update(wall)
    assert set(page.cards) == {"kitchen/microphone", "hall/microphone"}


def test_cards_of_an_offline_node_are_offline() -> None:
    wall, page = Wall(), Page()
    apply(wall, Scene("a").stream(), node="kitchen")
    apply(wall, Scene("b").stream(), node="hall")
    page.update(wall)
    wall.update_node("kitchen", online=False)
    page.update(wall)
    assert {key: card["state"] for key, card in page.cards.items()} == {"kitchen/a": "offline", "hall/b": "live"}
    assert page.cards["kitchen/a"]["reason"] == "node is offline"
    wall.update_node("kitchen", online=True)
    page.update(wall)
    assert page.cards["kitchen/a"]["state"] == "live"


def test_version_and_health_of_a_node_are_kept_when_it_goes_offline() -> None:
    wall, page = Wall(), Page()
    wall.update_node("floor", version="1.2")
    apply(wall, examples.event(examples.health(), source="node"))
    wall.update_node("floor", online=False)
    page.update(wall)
    node = page.nodes["floor"]
    assert (node["online"], node["version"], node["health"]["latency_p95_ms"]) == (False, "1.2", 40.0)
    assert page.cards == {}


def test_ended_streams_are_removed_first() -> None:
    wall, page = Wall(), Page()
    apply(wall, Scene("live").stream())
    for number in range(MAX_ENDED_CARDS + 30):
        scene = Scene(f"desk-{number}")
        apply(wall, scene.stream(), scene.stream("ended", 1.0))
        if number % 7 == 0:
            page.update(wall)
    page.update(wall)
    assert len(wall) == len(page.cards) <= MAX_ENDED_CARDS + 1
    assert "floor/live" in page.cards


@pytest.mark.slow
def test_cards_are_bounded() -> None:
    wall = Wall()
    for number in range(MAX_CARDS + 50):
        apply(wall, Scene(f"desk-{number}").stream(), node=f"node-{number % MAX_NODES}")
    assert len(wall) == MAX_CARDS


def test_nodes_beyond_the_limit_are_ignored() -> None:
    """A full dashboard keeps the nodes that it has, with what it knows of them."""
    wall, page = Wall(), Page()
    for number in range(MAX_NODES):
        wall.update_node(f"node-{number}", version=str(number))
    wall.update_node("further", version="further")
    apply(wall, Scene("stream").stream(), examples.event(examples.health(), source="node"), node="further")
    page.update(wall)
    assert list(page.nodes) == [f"node-{number}" for number in range(MAX_NODES)]
    assert (page.nodes["node-0"]["version"], page.nodes["node-0"]["health"]) == ("0", None)
    assert page.cards == {}
    assert wall.ignored_events == 3
    apply(wall, Scene("stream").stream(), node="node-0")
    page.update(wall)
    assert list(page.cards) == ["node-0/stream"]


def test_lone_surrogates_are_encoded() -> None:
    """The name of a file may hold bytes that are no UTF-8; Python then gives it lone surrogates."""
    wall, page = Wall(), Page()
    wall.update_node("floor", version="\ud800")
    apply(wall, Scene("caf\udce9").stream())
    page.update(wall)
    assert list(page.cards) == ["floor/caf\udce9"]
    assert page.nodes["floor"]["version"] == "\ud800"


@pytest.mark.slow
def test_page_far_behind_receives_a_snapshot() -> None:
    wall, page = Wall(), Page()
    apply(wall, Scene("first").stream())
    page.update(wall)
    for number in range(2_500):
        scene = Scene(f"desk-{number}")
        apply(wall, scene.stream(), scene.stream("ended", 1.0))
    assert page.update(wall)["t"] == "snapshot"
    assert page.cards.keys() == {card["key"] for card in json.loads(wall.message())["cards"]}


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_pages_end_with_the_same_state_at_any_rate_of_updates(rng: random.Random) -> None:
    wall, frequent, rare = Wall(), Page(), Page()
    events = [event for number in range(4) for event in phone_call(f"desk-{number}", rng.randint(0, 99), length_s=60)]
    rng.shuffle(events)
    for event in events[:150]:
        apply(wall, event)
        if rng.random() < 0.3:
            frequent.update(wall)
    frequent.update(wall)
    rare.update(wall)
    assert frequent.cards == rare.cards
    assert frequent.nodes == rare.nodes
