"""The states of rooms and people for Home Assistant."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest

from stream.events import Event
from stream.settings import AlertsSettings, Settings
from stream.sinks.mqtt.home import LEVELS_S, PERSON_S, ROOM_EXPIRY_S, Home, State
from tests.support import examples

ROOM, ALICE = "home/kitchen/room/home", "home/kitchen/person/Alice"


def home(**mqtt: Any) -> Home:
    settings = Settings.model_validate({"node": "kitchen", "mqtt": {"discovery_prefix": "ha", **mqtt}})
    return Home(settings=settings, prefix="home")


def topics_of(states: list[State]) -> list[str]:
    return [state.topic for state in states]


def states_of(one: Home, *sent: Event, now_s: float = 0.0) -> list[State]:
    return [state for event in sent for state in one.observe(event, now_s=now_s)]


def room(states: list[State]) -> dict[str, Any]:
    """The newest state of the room."""
    found: dict[str, Any] = json.loads([state.payload for state in states if state.topic == ROOM][-1])
    return found


started = examples.event(examples.stream("started"))


def test_a_room_is_silent_from_the_first_second() -> None:
    states = states_of(home(), started)
    assert topics_of(states) == ["ha/device/tonewatch_kitchen_room/config", ROOM], "first the device"
    assert room(states) == {
        "speaking": False,
        "speaker": "nobody",
        "speakers": [],
        "stranger": False,
        "emotion": "silence",
        "confidence": 0.0,
        "arousal": None,
        "level_dbfs": None,
    }


def test_a_device_comes_before_each_state_that_needs_it() -> None:
    states = states_of(
        home(people=True),
        started,
        examples.event(examples.emotion()),
        examples.event(examples.speaker("Alice", enrolled=True)),
    )
    devices = [number for number, state in enumerate(states) if "/device/" in state.topic]
    assert [states[number].topic.split("_")[1:3] for number in devices][-1] == ["kitchen", "Alice"]
    assert topics_of(states).index(f"{ALICE}/state") > devices[-1]
    emotions = [number for number, state in enumerate(states) if state.topic == ROOM and "happy" in state.payload]
    assert emotions[0] > devices[1], "the labels are announced before the emotion"


@pytest.mark.parametrize(
    ("speaker", "expected"),
    [
        (examples.speaker("S1"), ("S1", True, True)),
        (examples.speaker("Alice", enrolled=True), ("Alice", True, False)),
        (examples.speaker(None, state="unknown"), ("somebody", True, True)),
        (examples.speaker(None, state="tentative"), ("somebody", True, False)),
        (examples.speaker(None, state="silence"), ("nobody", False, False)),
    ],
)
def test_speaker_speech_and_stranger(speaker: Any, expected: tuple[str, bool, bool]) -> None:
    state = room(states_of(home(), started, examples.event(speaker)))
    assert (state["speaker"], state["speaking"], state["stranger"]) == expected


@pytest.mark.parametrize("end", ["paused", "stalled", "ended"])
def test_a_room_that_is_not_heard_is_silent(end: str) -> None:
    states = states_of(home(), started, examples.event(examples.speaker("S1")), examples.event(examples.stream(end)))
    assert (room(states)["speaking"], room(states)["speaker"]) == (False, "nobody")


def test_a_state_that_did_not_change_is_not_published_again() -> None:
    one, event = home(), examples.event(examples.speaker("S1"))
    assert states_of(one, started, event)
    assert states_of(one, event, event) == []


def test_everyone_who_speaks_is_one_sensor_with_a_list() -> None:
    states = states_of(home(), started, examples.event(examples.speaker(state="overlap", others=("Alice", None))))
    sensor = json.loads(states[0].payload)["components"]["speakers"]

    def shown(key: str, state: dict[str, Any]) -> str:
        return str(jinja2.Template(sensor[key]).render(value_json=state))

    assert shown("value_template", room(states)) == "S1, Alice, somebody"
    assert shown("value_template", room(states_of(home(), started))) == "nobody"
    assert json.loads(shown("json_attributes_template", room(states))) == {"speakers": ["S1", "Alice", "somebody"]}


def test_levels_are_published_when_they_change() -> None:
    one = home()
    states_of(one, started)
    assert json.loads(next(iter(one.update_levels({"room": -30.0}))).payload)["level_dbfs"] == -30.0
    assert list(one.update_levels({"room": -30.4})) == []
    assert json.loads(next(iter(one.update_levels({"room": float("-inf")}))).payload)["level_dbfs"] == -100.0
    assert json.loads(next(iter(one.update_levels({}))).payload)["level_dbfs"] is None


def test_people_are_published_only_if_that_is_on() -> None:
    event = examples.event(examples.speaker("Alice", enrolled=True))
    assert not any("Alice" in state.topic for state in states_of(home(), started, event))
    assert any("Alice" in state.topic for state in states_of(home(people=True), started, event))


def test_strangers_are_no_people() -> None:
    states = states_of(home(people=True), started, examples.event(examples.speaker("S1")))
    assert not any("person" in state.topic for state in states)


def test_a_person_is_heard_speaks_and_falls_silent() -> None:
    one = home(people=True)
    states = states_of(one, started, examples.event(examples.speaker("Alice", enrolled=True)))
    state = json.loads(next(state.payload for state in states if state.topic == f"{ALICE}/state"))
    assert state == {
        "name": "Alice",
        "speaking": True,
        "source": "room",
        "heard": "2026-01-02T03:04:08Z",
        "emotion": None,
    }
    assert [state.payload for state in states if state.topic == f"{ALICE}/location"] == ["home"]
    assert [
        json.loads(state.payload)["emotion"] for state in states_of(one, examples.event(examples.turn(1, name="Alice")))
    ] == ["happy"]
    states = states_of(one, examples.event(examples.speaker(None, state="silence")))
    assert [json.loads(state.payload)["speaking"] for state in states if state.topic == f"{ALICE}/state"] == [False]


def test_who_is_silent_for_long_is_somewhere_unknown_and_not_away() -> None:
    one = home(people=True)
    states_of(one, started, examples.event(examples.speaker("Alice", enrolled=True)))
    assert list(one.forget_locations(now_s=PERSON_S + 1)) == [], "still speaks"
    states_of(one, examples.event(examples.speaker(None, state="silence")))
    assert list(one.forget_locations(now_s=PERSON_S)) == []
    assert [state.payload for state in one.forget_locations(now_s=PERSON_S + 1)] == ["None"]
    assert list(one.forget_locations(now_s=PERSON_S + 2)) == []


def test_mqtt_room_learns_whom_a_room_hears_and_how_near() -> None:
    one = home(discovery_prefix="", room_topic="room_presence")
    alice = examples.event(examples.speaker("Alice", enrolled=True))
    states = states_of(one, started, alice, examples.event(examples.speaker("S1")))
    assert [(state.topic, state.expires_after_s) for state in states] == [("room_presence/room", ROOM_EXPIRY_S)]
    assert json.loads(states[0].payload) == {"id": "Alice", "name": "Alice", "distance": 1.0}
    list(one.update_levels({"room": -40.0}))
    assert json.loads(states_of(one, alice)[0].payload)["distance"] == 10.0


def test_nothing_remains_of_a_source_that_has_gone() -> None:
    one = home(people=True, room_topic="room_presence")
    states_of(one, started, examples.event(examples.speaker("Alice", enrolled=True)))
    assert one.forget("room") == ["ha/device/tonewatch_kitchen_room/config", "room_presence/room"]
    assert not one._rooms
    assert not one._published
    assert f"{ALICE}/state" in one.topics()


def test_enrolled_people_are_announced_at_the_start() -> None:
    settings = Settings.model_validate(
        {
            "node": "kitchen",
            "speakers": {"enrolled": {"Alice": "alice.wav"}},
            "mqtt": {"discovery_prefix": "ha", "people": True},
        }
    )
    one = Home(settings=settings, prefix="home")
    node, alice = topics_of(one.start())
    assert node == "ha/device/tonewatch_kitchen/config"
    assert one.is_lasting_device(alice)
    assert not one.is_lasting_device(node)


def test_a_person_is_in_the_room_that_several_microphones_have_found() -> None:
    one = home(people=True)
    states_of(one, started, examples.event(examples.speaker("Alice", enrolled=True)))
    (moved,) = states_of(one, examples.event(examples.rooms("kitchen"), source="node"))
    assert (moved.topic, json.loads(moved.payload)["source"]) == (f"{ALICE}/state", "kitchen")
    assert not states_of(one, examples.event(examples.rooms("kitchen"), source="node"))
    states = states_of(one, examples.event(examples.speaker(None, state="silence")))
    assert json.loads(states[-1].payload)["source"] == "kitchen", "not the microphone that received her first"


def test_levels_locations_and_conditions_are_updated_without_events() -> None:
    one = home(people=True, commands=["set_alert"])
    states_of(one, started, examples.event(examples.speaker("Alice", enrolled=True)))
    states_of(one, examples.event(examples.speaker(None, state="silence")))
    levels = {"room": -30.0}
    alerts = AlertsSettings.model_validate({"rules": [{"name": "loud", "field": "emotion.arousal", "value": 0.8}]})
    one.attach_levels(lambda: levels)
    one.attach_alerts(lambda: alerts)
    level, conditions = one.update(now_s=100.0)
    assert json.loads(level.payload)["level_dbfs"] == -30.0
    assert conditions.topic == "home/kitchen/conditions"
    assert json.loads(conditions.payload)["rules"] == {"loud": {"value": 0.8, "enabled": True}}
    levels["room"] = -20.0
    assert not list(one.update(now_s=100.0 + LEVELS_S - 1))
    assert len(list(one.update(now_s=100.0 + LEVELS_S))) == 1
    assert [state.payload for state in one.update(now_s=PERSON_S + 1)] == ["None"]
