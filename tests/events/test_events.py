"""Wire contract: one golden file per event type, and the JSON Schema.

TONEWATCH_REWRITE_GOLDEN=1 rewrites the files; review the difference before committing it.
"""

from __future__ import annotations

import json
import os
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scripts import events_page
from stream import events
from stream.events import EVENT_TYPES, Body, Event, SpeakerEvent, from_json, is_rolling, read_event, to_json
from tests.support import examples

GOLDEN = Path(__file__).parent / "golden"
VERSION_1 = (Path(__file__).parent / "version1.ndjson").read_text(encoding="utf-8").splitlines()
BODIES: dict[str, Body] = {
    "emotion": examples.emotion(),
    "speaker": examples.speaker(),
    "turn": examples.turn(1),
    "speaker_resolved": examples.resolved(),
    "stream": examples.stream("gap"),
    "call": examples.call(),
    "alert": examples.alert(),
    "health": examples.health(),
    "rooms": examples.rooms(),
}


def golden(name: str, made: Any) -> Any:
    path = GOLDEN / f"{name}.json"
    if os.environ.get("TONEWATCH_REWRITE_GOLDEN") == "1":
        path.write_text(json.dumps(made, indent=2) + "\n")
    return json.loads(path.read_text())


def test_every_type_has_a_golden_file() -> None:
    assert {kind.model_fields["type"].default for kind in EVENT_TYPES} == set(BODIES)


@pytest.mark.parametrize("name", sorted(BODIES))
def test_events_match_their_golden_files(name: str) -> None:
    made = json.loads(to_json(examples.event(BODIES[name])))
    kept = golden(name, made)
    assert made == kept
    assert list(made) == list(kept), "readers rely on the order of fields"


def test_the_schema_matches_its_golden_file() -> None:
    made = events.json_schema()
    assert made == golden("schema", made)


@pytest.mark.parametrize("name", sorted(BODIES))
def test_events_round_trip(name: str) -> None:
    event = examples.event(BODIES[name])
    assert from_json(to_json(event)) == event


@pytest.mark.parametrize("line", VERSION_1, ids=lambda line: json.loads(line)["type"])
def test_events_of_version_1_are_read_as_version_2(line: str) -> None:
    made = dict(examples.event(BODIES[json.loads(line)["type"]]))
    read = dict(read_event(line))
    if "speakers" in made:  # version 1 did not say since when
        assert [one.speaker for one in read.pop("speakers")] == [one.speaker for one in made.pop("speakers")]
    assert read == made


def test_upgrading_keeps_silence_silent_and_rejects_what_is_no_event() -> None:
    silence = read_event(json.dumps(json.loads(VERSION_1[1]) | {"state": "silence"}))
    assert isinstance(silence, SpeakerEvent)
    assert silence.speakers == ()
    health = json.loads(VERSION_1[-1])
    for damaged in (health | {"lanes": 3}, health | {"sinks": None}, health | {"lanes": [1]}, health | {"schema": 0}):
        with pytest.raises(ValueError, match="not a tonewatch event"):
            read_event(json.dumps(damaged))


def test_time_is_utc_in_rfc_3339() -> None:
    time = json.loads(to_json(examples.event(examples.turn(1))))["time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)


@pytest.mark.parametrize(
    "change", [{"surprise": 1}, {"schema": 3}, {"type": "weather"}, {"end_s": -1}, {"time": "2026-01-01"}]
)
def test_deviations_from_the_contract_are_rejected(change: dict[str, Any]) -> None:
    event = json.loads(to_json(examples.event(examples.emotion())))
    with pytest.raises(ValidationError):
        from_json(json.dumps({**event, **change}))


def test_rolling_state_is_distinguished_from_events() -> None:
    kinds: dict[bool, set[str]] = {True: set(), False: set()}
    for body in BODIES.values():
        event: Event = examples.event(body)
        kinds[is_rolling(event)].add(event.type)
    assert kinds == {
        True: {"emotion", "speaker", "call", "health", "rooms"},
        False: {"turn", "speaker_resolved", "stream", "alert"},
    }
    assert not is_rolling(examples.event(examples.call("final"))), (
        "final figures are published once and must not be lost"
    )


def test_every_field_is_documented() -> None:
    assert events_page.PAGE.read_text(encoding="utf-8") == events_page.page(), "run scripts/events_page.py"
    rows = (
        events.ActiveSpeaker,
        events.CallParty,
        events.CallEmotion,
        events.CallAlert,
        events.LaneHealth,
        events.SinkHealth,
    )
    for kind in (*EVENT_TYPES, *rows):
        undescribed = [name for name, field in kind.model_fields.items() if not field.description and name != "type"]
        assert not undescribed, f"{kind.__name__}: {undescribed}"


@given(
    time=st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1)),  # noqa: DTZ001 - zone below
    offset_min=st.integers(-14 * 60, 14 * 60),
)
def test_any_time_is_utc_and_round_trips(time: datetime, offset_min: int) -> None:
    zoned = time.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    plain = examples.event(examples.turn(1))
    event = type(plain).model_validate({**dict(plain), "time": zoned})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", json.loads(to_json(event))["time"])
    assert from_json(to_json(event)) == event
    assert timedelta(0) <= zoned - event.time < timedelta(milliseconds=1)
