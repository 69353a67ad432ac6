"""Announcements to Home Assistant.

`scripts/check_homeassistant` validates them with Home Assistant's own discovery, platform schemas and templates. Tested
here: the keys that those schemas require (Home Assistant 2025.4, `components/mqtt/schemas.py`, `sensor.py`, `event.py`,
`switch.py`), and the rules of its documentation.
"""

from __future__ import annotations

import json
import re
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.homeassistant_examples import cases
from stream.events import Event
from stream.settings import Settings
from stream.settings.alerts import CHANGEABLE
from stream.sinks.mqtt.homeassistant import Discovery, identifier
from tests.support import examples

REQUIRED = {
    "sensor": {"state_topic", "unique_id"},
    "binary_sensor": {"state_topic", "unique_id"},
    "event": {"state_topic", "event_types", "unique_id"},
    "switch": {"command_topic", "unique_id"},
    "button": {"command_topic", "unique_id"},
    "number": {"command_topic", "command_template", "state_topic", "min", "max", "unique_id"},
    "text": {"command_topic", "unique_id"},
    "device_tracker": {"state_topic", "source_type", "unique_id"},
    "device_automation": {"automation_type", "topic", "type", "subtype"},
}


@pytest.mark.parametrize("case", cases(), ids=lambda case: str(case["format"]))
def test_devices_have_the_required_keys(case: dict[str, Any]) -> None:
    seen: set[str] = set()
    for topic, payload in case["announced"].items():
        assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", topic)
        device = json.loads(payload)
        assert device["device"]["identifiers"]
        assert device["origin"]["name"]
        assert device["availability_mode"] == "all"
        assert all(one["topic"] for one in device["availability"])
        for component in device["components"].values():
            assert REQUIRED[component["platform"]] <= set(component)
            if "unique_id" in component:
                assert component["unique_id"] not in seen, "identifiers are unique"
                seen.add(component["unique_id"])
            if component.get("device_class") == "enum":
                assert len(set(component["options"])) == len(component["options"]) > 0
                assert not {"state_class", "unit_of_measurement"} & set(component), "an enum has no unit"


def test_a_device_is_announced_again_only_for_new_labels_alerts_and_people() -> None:
    settings = Settings.model_validate({"node": "kitchen", "mqtt": {"discovery_prefix": "ha", "people": True}})
    discovery = Discovery(settings=settings, prefix="home")
    for event in (
        examples.event(examples.stream("started")),
        examples.event(examples.emotion()),
        examples.event(examples.alert()),
        examples.event(examples.speaker("Alice", enrolled=True)),
    ):
        assert discovery.observe(event) is not None
        assert discovery.observe(event) is None
    for event in (
        examples.event(examples.turn(1)),
        examples.event(examples.speaker("S1")),
        examples.event(examples.health(), source="node"),
    ):
        assert discovery.observe(event) is None, "names that come and go change no announcement"
    assert discovery.forget("room") == "ha/device/tonewatch_kitchen_room/config"
    assert discovery.forget("room") is None


@pytest.mark.parametrize("case", cases(), ids=lambda case: str(case["format"]))
def test_a_cleared_state_is_no_error(case: dict[str, Any]) -> None:
    """Home Assistant renders the templates of a device that is about to be removed with an empty message."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)  # noqa: S701 - no HTML
    rendered = set()
    for payload in case["announced"].values():
        for key, component in json.loads(payload)["components"].items():
            if component["platform"] == "event":  # events are not retained
                continue
            for name in component.keys() & {"value_template", "json_attributes_template"}:
                rendered.add(environment.from_string(component[name]).render(value=""))
                assert rendered <= {"None", "{}"}, key
    assert rendered == {"None", "{}"}


def test_names_are_no_options() -> None:
    settings = Settings.model_validate({"node": "kitchen", "mqtt": {"discovery_prefix": "ha"}})
    announcement = Discovery(settings=settings, prefix="home").observe(examples.event(examples.emotion()))
    assert announcement is not None
    components = json.loads(announcement[1])["components"]
    assert {key for key, component in components.items() if "options" in component} == {"emotion"}
    assert components["emotion"]["options"] == ["happy", "sad", "uncertain", "silence"]


def test_the_rooms_sensor_needs_arbitration_and_lists_everyone_within_the_limit() -> None:
    plain, rooms = (
        Discovery(settings=Settings.model_validate({"mqtt": {"discovery_prefix": "ha"}, **more}), prefix="home").node()
        for more in ({}, {"rooms": {"enabled": True}})
    )
    assert "rooms" not in json.loads(plain[1])["components"]
    template = jinja2.Template(json.loads(rooms[1])["components"]["rooms"]["value_template"])
    body = examples.rooms()
    stranger = body.people[0].model_copy(update={"speaker": None, "source": "hall"})
    for people, shown in (
        ((), "nobody"),
        ((*body.people, stranger), "Alice: kitchen, somebody: hall"),
        (body.people * 40, ("Alice: kitchen, " * 40)[:255]),
    ):
        state = body.model_copy(update={"people": people}).model_dump(mode="json")
        assert template.render(value_json=state) == shown


def test_the_switch_needs_both_commands() -> None:
    settings = Settings.model_validate({"node": "k", "mqtt": {"discovery_prefix": "ha", "commands": ["pause"]}})
    announcement = Discovery(settings=settings, prefix="home").observe(examples.event(examples.stream("started")))
    assert announcement is not None
    assert "listening" not in json.loads(announcement[1])["components"]


names = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(
    ["a", "a_b", "b", "b_c", "c", "a__b", "a/b", "ä"]
)


@given(one=st.tuples(names, names, st.sampled_from(["", "person"])), other=st.tuples(names, names, st.just("")))
def test_different_things_have_different_identifiers(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    identifiers = {identifier(node, name, kind=kind) for node, name, kind in {one, other}}
    assert len(identifiers) == len({one, other})
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", text) for text in identifiers)
    nodes = {identifier(one[0]), identifier(other[0])}
    assert len(nodes) == len({one[0], other[0]})
    assert not nodes & identifiers


@pytest.mark.parametrize(("one", "other"), [(("a", "lobby_1"), ("a_lobby", "1")), (("a", "b_c"), ("a_b", "c"))])
def test_a_node_and_its_stream_are_not_another_node_and_its_stream(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    announced = []
    for node, source in (one, other):
        settings = Settings.model_validate({"node": node, "mqtt": {"discovery_prefix": "ha"}})
        discovery = Discovery(settings=settings, prefix="home")
        announced.append(discovery.observe(examples.event(examples.turn(1), source=source)))
    topics = {announcement[0] for announcement in announced if announcement is not None}
    assert len(topics) == 2


def plain(components: set[str]) -> set[str]:
    """Leave out triggers."""
    return {key for key in components if not key.startswith("trigger_")}


def test_components_of_calls_tracks_and_streams() -> None:
    settings = Settings.model_validate({"node": "k", "mqtt": {"discovery_prefix": "ha"}})
    discovery = Discovery(settings=settings, prefix="home")

    def components(event: Event) -> tuple[set[str], dict[str, Any]]:
        announcement = discovery.observe(event)
        assert announcement is not None
        device = json.loads(announcement[1])
        return set(device["components"]), device

    call, device = components(examples.event(examples.call(), source="c7", call="c7"))
    assert plain(call) == {"floor", "alert"}
    assert [one["topic"] for one in device["availability"]] == ["home/k/availability"], "a call has none of its own"
    track, device = components(examples.event(examples.turn(1), source="c7-agent", call="c7", party="agent"))
    assert plain(track) == {"turn", "speech", "level", "emotion", "confidence"}
    assert device["components"]["speech"]["state_topic"] == "home/k/c7-agent/home"
    stream, _ = components(examples.event(examples.turn(1)))
    assert plain(stream) == {*plain(track), "speaker", "speakers", "stranger"}
    assert discovery.forget("c7") == "ha/device/tonewatch_k_c7/config"
    assert discovery.forget("c7") is None


def test_a_room_has_its_event_entity_of_alerts_before_the_first_rule_is_raised() -> None:
    rule = {"name": "stranger", "field": "speaker.stranger"}
    for rules, has_alerts in (([], False), ([rule], True)):
        settings = Settings.model_validate({"mqtt": {"discovery_prefix": "ha"}, "alerts": {"rules": rules}})
        announced = Discovery(settings=settings, prefix="home").observe(examples.event(examples.stream()))
        assert announced is not None
        assert ("alert" in json.loads(announced[1])["components"]) == has_alerts


def test_alert_conditions_are_numbers_and_rules_are_switches_where_the_command_is_allowed() -> None:
    rules = [
        {"name": 'a "b"', "field": "emotion.arousal", "comparison": ">", "value": 0.8},
        {"name": "stranger", "field": "speaker.stranger"},
    ]
    plain, home, allowed = (
        json.loads(
            Discovery(
                settings=Settings.model_validate(
                    {
                        "alerts": {"rules": rules},
                        "mqtt": {"discovery_prefix": "ha", "commands": commands},
                        "sources": sources,
                    }
                ),
                prefix="home",
            ).node()[1]
        )["components"]
        for commands, sources in (([], []), (["set_alert"], [{"target": "a.wav"}]), (["set_alert"], []))
    )
    loud, stranger = (f"rule_{name.encode().hex()}" for name in ('a "b"', "stranger"))
    built_in = {f"alert_{name}" for name in CHANGEABLE}
    assert set(allowed) - set(plain) == {loud, f"{loud}_value", stranger, *built_in}
    assert set(allowed) - set(home) == built_in, "a node that takes no calls has none of theirs"
    state = {"rules": {'a "b"': {"value": 0.8, "enabled": False}}}
    shown = [
        jinja2.Template(allowed[key]["value_template"]).render(value_json=state) for key in (loud, f"{loud}_value")
    ]
    assert shown == ["OFF", "0.8"]
    sent = jinja2.Template(allowed[f"{loud}_value"]["command_template"]).render(value=0.7)
    assert json.loads(sent) == {"command": "set_alert", "name": 'a "b"', "value": 0.7}
    assert json.loads(allowed[stranger]["payload_off"])["enabled"] is False
