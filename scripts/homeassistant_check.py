"""Run inside Home Assistant's own Python: its discovery, its schemas and its templates judge what we announce.

Reads what `scripts/homeassistant_examples.py` writes. Nothing of tonewatch is imported here.
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


async def _judge(cases: list[dict[str, Any]]) -> int:
    home = HomeAssistant(tempfile.gettempdir())
    count = 0
    for case in cases:
        for topic, payload in case["announced"].items():
            _, device, object_id, end = topic.split("/")
            assert (device, end) == ("device", "config"), topic
            parsed = discovery._parse_device_payload(home, payload, object_id, None)  # noqa: SLF001
            assert parsed, f"Home Assistant refuses {payload}"
            common = {key: parsed[key] for key in ("device", "origin", "availability", "availability_mode")}
            assert discovery._valid_origin_info(parsed)  # noqa: SLF001
            for key, component in parsed["components"].items():
                config = {**common, **component}
                platform = import_module(f"homeassistant.components.mqtt.{config.pop('platform')}")
                config.pop("origin")
                checked = platform.DISCOVERY_SCHEMA(config)
                lost = set(config) - set(checked)
                assert not lost, f"{key}: Home Assistant does not know {lost}"
                _shows(home, case, key, checked)
                count += 1
    await home.async_stop(force=True)
    return count


def _shows(home: HomeAssistant, case: dict[str, Any], key: str, config: dict[str, Any]) -> None:
    """The template makes of what is published what the entity must show."""
    template = config["value_template"]
    template = Template(getattr(template, "template", template), home)
    told = case["published"][config["state_topic"]]
    shown = template.async_render_with_possible_json_value(told)
    if key in ("turn", "alert"):
        assert json.loads(shown)["event_type"] in config["event_types"], shown
        return
    assert str(shown) == case["shown"][key], f"{key} shows {shown!r}, not {case['shown'][key]!r}"
    if "options" in config:
        assert shown in config["options"], f"{key}: {shown!r} is not among {config['options']}"


if __name__ == "__main__":
    judged = asyncio.run(_judge(json.load(sys.stdin)))
    print(f"Home Assistant {__version__} takes all {judged} components and shows what it must")
