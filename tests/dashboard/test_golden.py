"""The messages that a page receives, compared with JSON files, so that every change of them is visible.

`TONEWATCH_REWRITE_GOLDEN=1` rewrites the files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stream.control.commands import CommandReply
from stream.dashboard.feed import PageCapabilities
from stream.dashboard.page_connection import LABELS, hello
from stream.dashboard.views import View
from stream.dashboard.wall import Wall
from stream.events import Event
from tests.dashboard.scenes import Scene, conversation, phone_call
from tests.support import examples

GOLDEN = Path(__file__).parent / "golden"
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def check(name: str, message: Any) -> None:
    path = GOLDEN / f"{name}.json"
    if os.environ.get("TONEWATCH_REWRITE_GOLDEN") == "1":
        path.write_text(json.dumps(message, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert message == json.loads(path.read_text(encoding="utf-8"))


def as_json(message: View) -> Any:
    return json.loads(message.to_json())


def stream_events() -> list[Event]:
    """One stream with every type of event that a stream has."""
    scene = Scene("room", started=STARTED)
    return [
        scene.stream(detail="16000 Hz, 1 channel(s)"),
        *scene.turn(1, "S1", 0.6, 4.2, label="happy"),
        scene.speaker("S1", 2.0, state="tentative", reason="too_short", runner_up=None, margin=None),
        scene.emotion("happy", 2.5),
        scene.speaker("S1", 3.0, probability=0.9, mixed=True),
        scene.emotion("silence", 4.5, speaker=None, confidence=0.0),
        scene.speaker(None, 4.5),
        scene.stream("gap", 6.0, start_s=5.0, lost_s=1.0),
        *scene.turn(2, "Alice", 6.2, 9.0),
        scene.speaker("Alice", 8.0, enrolled=True, best="Alice"),
        scene.emotion("angry", 8.5, speaker="Alice", confidence=0.8),
    ]


def call_events() -> list[Event]:
    """A call with both tracks, an alert that ended and one that has not."""
    scene = Scene("desk", started=STARTED, call=True)
    return [
        *(scene.stream(party=party, detail="8000 Hz, 1 channel(s)") for party in ("customer", "agent")),
        *scene.turn(1, "agent", 0.4, 5.0, label="neutral", party="agent"),
        *scene.turn(1, "customer", 5.2, 12.0, party="customer"),
        scene.speaker("customer", 8.0, party="customer"),
        scene.speaker("agent", 8.0, party="agent"),
        scene.emotion("angry", 8.0, speaker="customer", party="customer"),
        scene.alert("a1", "crosstalk", 9.0, speaker=None),
        scene.alert("a1", "crosstalk", 10.0, speaker=None, phase="end", since_s=9.0),
        scene.alert("a2", "anger", 11.0),
        scene.call_figures(12.0, label="angry", trend=0.2, alerts=(("a2", "anger", "customer", 11.0),)),
    ]


def wall(events: Iterable[Event]) -> Wall:
    made = Wall(clock=lambda: STARTED.timestamp() + 12)
    for event in events:
        made.apply(event, node="floor")
    return made


@pytest.mark.parametrize(("name", "events"), [("room", stream_events()), ("desk", call_events())])
def test_snapshot_and_detail(name: str, events: list[Event]) -> None:
    made = wall(events)
    check(f"snapshot_{name}", json.loads(made.message()))
    card = made.card(f"floor/{name}")
    assert card is not None
    check(f"detail_{name}", as_json(card.detail()))


def test_delta_since_a_version() -> None:
    made = wall([*stream_events(), *call_events()])
    version, card = made.version, made.card("floor/room")
    assert card is not None
    serial, scene = card.serial, Scene("room", started=STARTED)
    later = [scene.stream("stalled", 9.5), examples.event(examples.health(), source="node")]
    for event in later:
        made.apply(event, node="floor")
    check("delta", json.loads(made.message(version)))
    check("detail_later", as_json(card.detail(serial)))


def test_many_cards() -> None:
    """Cards of whole scenes, without their histories."""
    now = datetime(2026, 1, 2, 4, 0, tzinfo=UTC)
    events = [event for seed in range(4) for event in conversation(f"room-{seed}", seed, now=now)]
    events += [event for seed in range(8) for event in phone_call(f"desk-{seed}", seed, now=now)]
    check("snapshot_floor", json.loads(wall(events).message()))


def test_hello() -> None:
    async def execute(text: str) -> CommandReply:
        return CommandReply(ok=bool(text))

    full = PageCapabilities(
        commands=("pause", "resume"), execute=execute, levels=dict, microphone="/v1/stream", about={"node": "floor"}
    )
    for name, capabilities in (("hello", full), ("hello_read_only", PageCapabilities())):
        message = as_json(hello(capabilities))
        assert message.pop("now_ms") > 0
        assert message.pop("version")
        assert message.pop("labels") == LABELS
        check(name, message)
