"""Example announcements to Home Assistant with the expected state of each entity, as JSON on standard output."""

from __future__ import annotations

import json
from typing import Any

from stream import events
from stream.settings import Settings
from stream.sinks.mqtt import presence, topics
from stream.sinks.mqtt.homeassistant import Discovery
from tests.support import examples


def cases() -> list[dict[str, Any]]:
    """Return announcements, published events and expected entity states for each payload format."""
    return [_case(payload) for payload in ("native", "cloudevents")]


def _case(payload: str) -> dict[str, Any]:
    settings = Settings.model_validate(
        {
            "node": "kitchen",
            "speakers": {"enrolled": {"Alice": "alice.wav"}},
            "mqtt": {"discovery_prefix": "homeassistant", "commands": ["pause", "resume"], "payload": payload},
        }
    )
    discovery = Discovery(settings=settings, prefix="home")
    announced = dict([discovery.node()])
    sent = [
        examples.event(examples.stream("paused"), source="a/b"),
        examples.event(examples.turn(1), source="a/b"),
        examples.event(examples.emotion("happy"), source="a/b"),
        examples.event(examples.speaker("S1"), source="a/b"),
        examples.event(examples.health(), source=events.NODE),
        examples.event(examples.call(), source="c7", call="c7"),
        examples.event(examples.alert(), source="c7", call="c7"),
    ]
    published = {}
    for event in sent:
        announced |= dict([announcement] if (announcement := discovery.observe(event)) else [])
        native = json.loads(events.to_json(event))
        wrapped = presence.cloud_event(event, node="kitchen") if payload == "cloudevents" else native
        published[topics.event_topic(event, prefix="home", node="kitchen")] = json.dumps(wrapped)
        if isinstance(event, events.StreamEvent) and (change := presence.stream_state(event)) is not None:
            published[topics.source_topic("home", "kitchen", "a/b", "state")] = change[0].model_dump_json()
    expected = {
        "emotion": "happy",
        "confidence": "70.0",
        "speaker": "S1",
        "speech": "ON",
        "floor": "customer",
        "listening": "OFF",
        "latency": "40.0",
        "memory": "300.0",
        "streams": "1",
    }
    return {"format": payload, "announced": announced, "published": published, "expected": expected}


if __name__ == "__main__":
    print(json.dumps(cases()))
