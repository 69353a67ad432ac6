"""Validate announcements with Home Assistant's own discovery, schemas and templates; runs in its Python.

Reads the output of `scripts/homeassistant_examples.py` on standard input. Nothing of tonewatch is imported here.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from importlib import import_module
from typing import Any

from homeassistant.components.mqtt import discovery
from homeassistant.const import __version__
from homeassistant.core import HomeAssistant
from homeassistant.helpers.template import Template


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
                platform = import_module(f"homeassistant.components.mqtt.{config.pop('platform')}")
                config.pop("origin")
                checked = platform.DISCOVERY_SCHEMA(config)
                unknown = set(config) - set(checked)
                assert not unknown, f"{key}: Home Assistant does not know {unknown}"
                _check_state(home_assistant, case, key, checked)
                count += 1
    await home_assistant.async_stop(force=True)
    return count


def _check_state(home_assistant: HomeAssistant, case: dict[str, Any], key: str, config: dict[str, Any]) -> None:
    """Check that the template turns the published payload into the expected state."""
    template = config["value_template"]
    template = Template(getattr(template, "template", template), home_assistant)
    payload = case["published"][config["state_topic"]]
    state = template.async_render_with_possible_json_value(payload)
    if key in ("turn", "alert"):
        assert json.loads(state)["event_type"] in config["event_types"], state
        return
    expected = case["expected"][key]
    assert str(state) == expected, f"{key} shows {state!r}, not {expected!r}"
    if "options" in config:
        assert state in config["options"], f"{key}: {state!r} is not among {config['options']}"


if __name__ == "__main__":
    count = asyncio.run(_validate(json.load(sys.stdin)))
    print(f"Home Assistant {__version__} accepts all {count} components and shows the expected states")
