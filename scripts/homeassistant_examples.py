"""Example announcements to Home Assistant with the expected state of each entity, as JSON on standard output."""

from __future__ import annotations

import json
from typing import Any

from stream import events
from stream.settings import AlertsSettings, Settings
from stream.settings.alerts import CHANGEABLE
from stream.sinks.mqtt import presence, topics
from stream.sinks.mqtt.home import Home
from stream.sinks.mqtt.homeassistant import identifier
from tests.support import examples

CONDITIONS = {
    **{f"alert_{name}": str(getattr(AlertsSettings(), name)) for name in CHANGEABLE},
    f"rule_{b'loud'.hex()}": "ON",
    f"rule_{b'loud'.hex()}_value": "0.8",
}


def cases() -> list[dict[str, Any]]:
    """Return announcements, published events and expected entity states for each payload format."""
    return [_case(payload) for payload in ("native", "cloudevents")]


def _case(payload: str) -> dict[str, Any]:
    settings = Settings.model_validate(
        {
            "node": "kitchen",
            "rooms": {"enabled": True},
            "alerts": {"rules": [{"name": "loud", "field": "emotion.arousal", "comparison": ">", "value": 0.8}]},
            "speakers": {"enrolled": {"Alice": "alice.wav", "{{ 'Bob' }}": "bob.wav"}},
            "mqtt": {
                "discovery_prefix": "homeassistant",
                "commands": ["pause", "resume", "enroll", "reload", "set_alert"],
                "payload": payload,
                "people": True,
                "areas": {"a/b": "Kitchen"},
            },
        }
    )
    home = Home(settings=settings, prefix="home")
    paused = examples.stream("paused")
    sent = [
        examples.event(paused, source="a/b"),
        examples.event(examples.turn(1), source="a/b"),
        examples.event(examples.emotion("happy").model_copy(update={"arousal": 0.25}), source="a/b"),
        examples.event(examples.alert(), source="a/b"),
        examples.event(_overlap(), source="a/b"),
        examples.event(examples.health(), source=events.NODE),
        examples.event(examples.rooms(), source=events.NODE),
        examples.event(examples.call(), source="c7", call="c7"),
        examples.event(examples.alert(), source="c7", call="c7"),
    ]
    states = {state.topic: state.payload for state in home.start()}
    published: dict[str, str] = {}
    for event in sent:
        states |= {state.topic: state.payload for state in home.observe(event, now_s=0.0)}
        native = json.loads(events.to_json(event))
        wrapped = presence.cloud_event(event, node="kitchen") if payload == "cloudevents" else native
        published[topics.event_topic(event, prefix="home", node="kitchen")] = json.dumps(wrapped)
        if isinstance(event, events.StreamEvent) and (change := presence.stream_state(event)) is not None:
            published[topics.source_topic("home", "kitchen", "a/b", "state")] = change[0].model_dump_json()
    states |= {state.topic: state.payload for state in home.update_levels({"a/b": -30.4})}
    expected = {
        "tonewatch_kitchen": {
            "latency": "40.0",
            "memory": "300.0",
            "streams": "1",
            "rooms": "Alice: kitchen",
            **CONDITIONS,
        },
        "tonewatch_kitchen_c7": {"floor": "customer"},
        identifier("kitchen", "a/b"): {
            "emotion": "happy",
            "confidence": "70.0",
            "arousal": "25.0",
            "level": "-30.4",
            "speaker": "Alice",
            "speakers": "Alice, somebody",
            "speech": "ON",
            "stranger": "ON",
            f"speaks_{b'Alice'.hex()}": "ON",
            "speaks_" + b"{{ 'Bob' }}".hex(): "OFF",
            "listening": "OFF",
        },
        identifier("kitchen", "Alice", kind="person"): {
            "speaks": "ON",
            "room": "kitchen",
            "heard": "2026-01-02T03:04:08Z",
            "emotion": "unknown",
            "location": "home",
        },
    }
    announced = {topic: text for topic, text in states.items() if topic.startswith("homeassistant/")}
    published |= {topic: text for topic, text in states.items() if topic not in announced}
    return {"format": payload, "announced": announced, "published": published, "expected": expected}


def _overlap() -> events.SpeakerBody:
    """Alice, who is enrolled, and a stranger speak at the same time."""
    body = examples.speaker("Alice", state="overlap", others=(None,), enrolled=True)
    alice, stranger = body.speakers
    return body.model_copy(update={"speakers": (alice, stranger.model_copy(update={"enrolled": False}))})


if __name__ == "__main__":
    print(json.dumps(cases()))
