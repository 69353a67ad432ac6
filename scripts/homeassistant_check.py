"""Validate announcements with Home Assistant's own discovery, schemas and templates; runs in its Python.

Reads the output of `scripts/homeassistant_examples.py` on standard input. Nothing of tonewatch is imported here.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from homeassistant.components.automation.config import AUTOMATION_BLUEPRINT_SCHEMA, PLATFORM_SCHEMA
from homeassistant.components.blueprint.models import Blueprint, BlueprintInputs
from homeassistant.components.mqtt import discovery
from homeassistant.const import __version__
from homeassistant.core import HomeAssistant
from homeassistant.helpers.template import Template
from homeassistant.util.yaml import load_yaml, load_yaml_dict

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples" / "homeassistant"

PLATFORMS = {"device_automation": "device_trigger"}
"""Modules of platforms that are not named after them."""


async def _validate(cases: list[dict[str, Any]]) -> int:
    home_assistant = HomeAssistant(tempfile.gettempdir())
    count = 0
    for case in cases:
        for topic, payload in case["announced"].items():
            _, device, object_id, end = topic.split("/")
            assert (device, end) == ("device", "config"), topic
            parsed = discovery._parse_device_payload(home_assistant, payload, object_id, None)  # noqa: SLF001
            assert parsed, f"Home Assistant rejects {payload}"
            common = {key: parsed[key] for key in ("device", "origin", "availability", "availability_mode")}
            assert discovery._valid_origin_info(parsed)  # noqa: SLF001
            for key, component in parsed["components"].items():
                config = {**common, **component}
                platform = import_module(
                    f"homeassistant.components.mqtt.{PLATFORMS.get(config['platform'], config['platform'])}"
                )
                if config["platform"] == "device_automation":
                    config = {key: value for key, value in component.items() if key != "platform"} | {
                        "device": config["device"]
                    }
                    checked = platform.TRIGGER_DISCOVERY_SCHEMA(config)
                else:
                    del config["platform"]
                    checked = platform.DISCOVERY_SCHEMA({k: v for k, v in config.items() if k != "origin"})
                unknown = set(config) - set(checked) - {"origin"}
                assert not unknown, f"{key}: Home Assistant does not know {unknown}"
                _check_state(home_assistant, case, (object_id, key), checked)
                count += 1
        assert not any(case["expected"].values()), f"not announced: {case['expected']}"
        assert case["triggered"] == {"trigger_turn_ended", "trigger_alert_anger"}, case["triggered"]
    await home_assistant.async_stop(force=True)
    return count


def _check_state(
    home_assistant: HomeAssistant, case: dict[str, Any], entity: tuple[str, str], config: dict[str, Any]
) -> None:
    """Check that the template turns the published payload into the expected state."""
    identifier, key = entity
    topic = config.get("state_topic") or config.get("topic")
    if topic is None:  # a button or text field
        assert config["command_topic"].endswith("/command")
        return
    if topic not in case["published"]:
        assert identifier not in case["expected"], f"{key}: nothing is published on {topic}"
        return
    payload = state = case["published"][topic]
    if (template := config.get("value_template")) is not None:
        template = Template(getattr(template, "template", template), home_assistant)
        state = template.async_render_with_possible_json_value(payload)
    if key in ("turn", "alert"):
        assert json.loads(state)["event_type"] in config["event_types"], state
    elif "payload" in config:  # a trigger
        assert isinstance(state, str), key
        case.setdefault("triggered", set()).update({key} if state == config["payload"] else ())
    else:
        expected = case["expected"][identifier].pop(key)
        assert str(state) == expected, f"{identifier} {key} shows {state!r}, not {expected!r}"
        if "options" in config:
            assert state in config["options"], f"{key}: {state!r} is not among {config['options']}"


async def _validate_automations() -> int:
    """Check the blueprint and the automations of `docs/examples` with Home Assistant's own schemas."""
    home_assistant = HomeAssistant(tempfile.gettempdir())
    text = load_yaml_dict(EXAMPLES / "stranger.yaml")
    blueprint = Blueprint(text, path="stranger.yaml", expected_domain="automation", schema=AUTOMATION_BLUEPRINT_SCHEMA)
    assert not blueprint.validate()
    given = {"stranger": "binary_sensor.home_kitchen_stranger", "actions": [{"action": "notify.notify"}]}
    inputs = BlueprintInputs(blueprint, {"use_blueprint": {"path": "stranger.yaml", "input": given}})
    inputs.validate()
    automations = [inputs.async_substitute(), *load_yaml(EXAMPLES / "automations.yaml")]
    for automation in automations:
        PLATFORM_SCHEMA(automation)
    await home_assistant.async_stop(force=True)
    return len(automations)


if __name__ == "__main__":
    count = asyncio.run(_validate(json.load(sys.stdin)))
    print(f"Home Assistant {__version__} accepts all {count} components and shows the expected states")
    print(f"and all {asyncio.run(_validate_automations())} automations")
