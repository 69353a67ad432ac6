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

from scripts.homeassistant_examples import cases
from stream.events import Event, to_json
from stream.settings import Settings
from stream.sinks.mqtt.homeassistant import Discovery
from tests.support import examples

REQUIRED = {
    "sensor": {"state_topic"},
    "binary_sensor": {"state_topic"},
    "event": {"state_topic", "event_types"},
    "switch": {"command_topic"},
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
            assert component["unique_id"] not in seen, "identifiers are unique"
            seen.add(component["unique_id"])
            if component.get("device_class") == "enum":
                assert len(set(component["options"])) == len(component["options"]) > 0
                assert not {"state_class", "unit_of_measurement"} & set(component), "an enum has no unit"


def test_a_device_is_announced_again_only_for_new_values() -> None:
    settings = Settings.model_validate({"node": "kitchen", "mqtt": {"discovery_prefix": "ha"}})
    discovery = Discovery(settings=settings, prefix="home")
    assert discovery.observe(examples.event(examples.stream("started"))) is not None
    assert discovery.observe(examples.event(examples.turn(1))) is None
    assert discovery.observe(examples.event(examples.speaker("S1"))) is not None
    assert discovery.observe(examples.event(examples.speaker("S1"))) is None
    assert discovery.observe(examples.event(examples.emotion())) is not None
    assert discovery.observe(examples.event(examples.emotion())) is None
    assert discovery.observe(examples.event(examples.health(), source="node")) is None
    assert discovery.forget("room") == "ha/device/tonewatch_kitchen_room/config"
    assert discovery.forget("room") is None


@pytest.mark.parametrize("payload", ["native", "cloudevents"])
def test_everyone_who_speaks_is_one_sensor_with_a_list(payload: str) -> None:
    settings = Settings.model_validate({"node": "k", "mqtt": {"discovery_prefix": "ha", "payload": payload}})
    announcement = Discovery(settings=settings, prefix="home").observe(examples.event(examples.turn(1)))
    assert announcement is not None
    sensor = json.loads(announcement[1])["components"]["speakers"]

    def shown(key: str, **speaker: Any) -> str:
        event = examples.event(examples.speaker(**speaker))
        value = json.loads(to_json(event))
        value = {"data": value} if payload == "cloudevents" else value
        return str(jinja2.Template(sensor[key]).render(value_json=value))

    assert shown("value_template", state="overlap", others=("Alice", None)) == "S1, Alice, somebody"
    assert shown("value_template") == "S1"
    assert shown("value_template", name=None, state="silence") == "nobody"
    told = json.loads(shown("json_attributes_template", state="overlap", others=("Alice",)))
    assert [one["speaker"] for one in told["speakers"]] == ["S1", "Alice"]


def test_the_switch_needs_both_commands() -> None:
    settings = Settings.model_validate({"node": "k", "mqtt": {"discovery_prefix": "ha", "commands": ["pause"]}})
    announcement = Discovery(settings=settings, prefix="home").observe(examples.event(examples.stream("started")))
    assert announcement is not None
    assert "listening" not in json.loads(announcement[1])["components"]


def test_different_streams_are_different_devices() -> None:
    settings = Settings.model_validate({"node": "k", "mqtt": {"discovery_prefix": "ha"}})
    discovery = Discovery(settings=settings, prefix="home")
    names = ["a/b", "a_b", "a b", "ä"]
    topics = {discovery.observe(examples.event(examples.turn(1), source=name)) for name in names}
    assert len({topic for topic, _ in filter(None, topics)}) == len(names)


def test_components_of_calls_tracks_and_streams() -> None:
    settings = Settings.model_validate({"node": "k", "mqtt": {"discovery_prefix": "ha"}})
    discovery = Discovery(settings=settings, prefix="home")

    def components(event: Event) -> tuple[set[str], dict[str, Any]]:
        announcement = discovery.observe(event)
        assert announcement is not None
        device = json.loads(announcement[1])
        return set(device["components"]), device

    call, device = components(examples.event(examples.call(), source="c7", call="c7"))
    assert call == {"floor", "alert"}
    assert [one["topic"] for one in device["availability"]] == ["home/k/availability"], "a call has none of its own"
    track, device = components(examples.event(examples.turn(1), source="c7-agent", call="c7", party="agent"))
    assert track == {"turn", "speech"}
    assert device["components"]["speech"]["state_topic"] == "home/k/c7-agent/speaker"
    stream, _ = components(examples.event(examples.turn(1)))
    assert stream == {"turn", "speech", "speaker", "speakers"}
    assert discovery.forget("c7") == "ha/device/tonewatch_k_c7/config"
    assert discovery.forget("c7") is None
