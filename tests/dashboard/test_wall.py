"""The wall: versions, snapshots, deltas, bounds."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from stream.dashboard.wall import ENDED_KEPT, MOST_CARDS, MOST_NODES, Wall
from stream.events import Event
from tests.dashboard.scenes import Scene, telephone
from tests.support import examples


def tell(wall: Wall, *told: Event, node: str = "floor") -> None:
    for event in told:
        wall.apply(event.model_dump(mode="json", by_alias=True), node=node)


class Page:
    """What a page makes of its messages."""

    def __init__(self) -> None:
        self.version, self.cards, self.nodes = 0, dict[str, Any](), dict[str, Any]()

    def look(self, wall: Wall) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(wall.message(self.version))
        if message["t"] == "snapshot":
            self.cards, self.nodes = {}, {}
        self.cards |= {card["key"]: card for card in message["cards"]}
        self.nodes |= {node["node"]: node for node in message["nodes"]}
        for key in message["gone"]:
            self.cards.pop(key, None)
        self.version = message["v"]
        return message


def test_a_delta_holds_only_what_changed_and_each_card_once() -> None:
    wall, page = Wall(), Page()
    scenes = [Scene(f"desk-{number}") for number in range(5)]
    tell(wall, *(scene.stream() for scene in scenes))
    assert page.look(wall)["t"] == "snapshot"
    tell(wall, scenes[2].speaker("S1", 1.0), scenes[2].speaker("S1", 1.5), scenes[4].speaker("S2", 1.5))
    assert [card["name"] for card in page.look(wall)["cards"]] == ["desk-2", "desk-4"]
    assert page.look(wall)["cards"] == []


def test_the_tracks_of_a_call_are_one_card() -> None:
    wall, page = Wall(), Page()
    tell(wall, *telephone("desk-7", 3))
    page.look(wall)
    assert list(page.cards) == ["floor/desk-7"]


def test_streams_of_the_same_name_on_two_nodes_are_two() -> None:
    wall, page = Wall(), Page()
    for node in ("kitchen", "hall"):
        tell(wall, Scene("microphone").stream(), node=node)
    page.look(wall)
    assert set(page.cards) == {"kitchen/microphone", "hall/microphone"}


def test_a_node_that_goes_offline_takes_its_cards_along() -> None:
    wall, page = Wall(), Page()
    tell(wall, Scene("a").stream(), node="kitchen")
    tell(wall, Scene("b").stream(), node="hall")
    page.look(wall)
    wall.tell_of("kitchen", online=False)
    page.look(wall)
    assert {key: card["state"] for key, card in page.cards.items()} == {"kitchen/a": "offline", "hall/b": "live"}
    assert page.cards["kitchen/a"]["why"] == "node is offline"
    wall.tell_of("kitchen", online=True)
    page.look(wall)
    assert page.cards["kitchen/a"]["state"] == "live"


def test_health_belongs_to_the_node() -> None:
    wall, page = Wall(), Page()
    tell(wall, examples.event(examples.health(), source="node"))
    page.look(wall)
    assert page.nodes["floor"]["health"]["latency_p95_ms"] == 40.0
    assert page.cards == {}


def test_ended_streams_are_forgotten_first_and_pages_drop_them() -> None:
    wall, page = Wall(), Page()
    tell(wall, Scene("stays").stream())
    for number in range(ENDED_KEPT + 30):
        scene = Scene(f"desk-{number}")
        tell(wall, scene.stream(), scene.stream("ended", 1.0))
        if number % 7 == 0:
            page.look(wall)
    page.look(wall)
    assert len(wall) == len(page.cards) <= ENDED_KEPT + 1
    assert "floor/stays" in page.cards


def test_memory_is_bounded_whoever_publishes() -> None:
    wall = Wall()
    for number in range(MOST_CARDS + 50):
        tell(wall, Scene(f"desk-{number}").stream(), node=f"node-{number}")
    assert len(wall) == MOST_CARDS
    assert len(json.loads(wall.message())["nodes"]) == MOST_NODES


def test_a_page_far_behind_begins_anew() -> None:
    wall, page = Wall(), Page()
    tell(wall, Scene("first").stream())
    page.look(wall)
    for number in range(2_500):
        scene = Scene(f"desk-{number}")
        tell(wall, scene.stream(), scene.stream("ended", 1.0))
    assert page.look(wall)["t"] == "snapshot"
    assert page.cards.keys() == {card["key"] for card in json.loads(wall.message())["cards"]}


@settings(max_examples=15, deadline=None)
@given(some.randoms(use_true_random=False))
def test_however_often_a_page_looks_it_ends_with_the_same(dice: random.Random) -> None:
    wall, often, seldom = Wall(), Page(), Page()
    told = [event for number in range(4) for event in telephone(f"desk-{number}", dice.randint(0, 99), length_s=60)]
    dice.shuffle(told)
    for event in told[:150]:
        tell(wall, event)
        if dice.random() < 0.3:
            often.look(wall)
    often.look(wall)
    seldom.look(wall)
    assert often.cards == seldom.cards
    assert often.nodes == seldom.nodes
