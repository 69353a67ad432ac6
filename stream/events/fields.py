"""The fields of events that alert rules can watch: their names, their kinds, and their values in a body (pure).

A field is `TYPE.NAME`: every number, text and yes or no of `emotion`, `speaker`, `turn`, `stream` and `call` events, a
number of a table by its key (`emotion.probabilities.angry`), and a few that follow from several fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from stream.events.base import EventModel
from stream.events.bodies import Body, EmotionBody, SpeakerBody, StreamBody, TurnBody
from stream.events.call_bodies import CallBody

FieldKind = Literal["number", "text", "yes or no"]
FieldValue = float | str | bool

WATCHED: tuple[type[EventModel], ...] = (EmotionBody, SpeakerBody, TurnBody, StreamBody, CallBody)
LEFT_OUT = frozenset({"type", "phase", "turn", "start_s", "end_s", "since_s", "raw"})

DERIVED: Mapping[str, FieldKind] = {
    "speaker.stranger": "yes or no",
    "speaker.people": "number",
    "turn.duration_s": "number",
}
"""Fields that follow from others: whether anybody is certainly not enrolled, how many speak, a turn's length."""

MOMENTARY = frozenset({"turn", "stream"})
"""Types of events that say what has happened, not what holds on."""

NAMES = frozenset({"speaker.speaker", "emotion.speaker", "turn.speaker"})
"""Fields that name a person."""

CERTAIN_STATES = frozenset({"confirmed", "unknown", "overlap"})


@dataclass(frozen=True, slots=True)
class WatchedField:
    """A field of one type of event; `is_table` if its name continues with a key, `choices` if its text has a few."""

    name: str
    type: str
    kind: FieldKind
    choices: tuple[str, ...] = ()
    is_table: bool = False


def _watched_fields() -> dict[str, WatchedField]:
    fields: dict[str, WatchedField] = {}
    for body in WATCHED:
        kind: str = body.model_fields["type"].default
        for name, info in body.model_fields.items():
            if name not in LEFT_OUT and (found := _field(f"{kind}.{name}", kind, info.annotation)) is not None:
                fields[found.name] = found
        fields |= {name: WatchedField(name, kind, of) for name, of in DERIVED.items() if name.partition(".")[0] == kind}
    return fields


def _field(name: str, kind: str, annotation: Any) -> WatchedField | None:
    """Return the field of an annotation, None if its values cannot be compared."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _field(name, kind, get_args(annotation)[0])
    if origin in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not NoneType]
        return _field(name, kind, parts[0]) if len(parts) == 1 else None
    if origin is Literal:
        return WatchedField(name, kind, "text", choices=get_args(annotation))
    if origin is dict and (value := _field(name, kind, get_args(annotation)[1])) is not None:
        return WatchedField(name, kind, value.kind, is_table=True)
    kinds: dict[Any, FieldKind] = {bool: "yes or no", float: "number", int: "number", str: "text"}
    return WatchedField(name, kind, kinds[annotation]) if annotation in kinds else None


FIELDS: Mapping[str, WatchedField] = _watched_fields()
"""All fields by name; those of tables without a key."""


def find_field(name: str) -> WatchedField | None:
    """Return the field called `name`, with a key if it is a table; None if there is none."""
    if (found := FIELDS.get(name)) is not None:
        return None if found.is_table else found
    table = FIELDS.get(name.rpartition(".")[0])
    return table if table is not None and table.is_table and not name.endswith(".") else None


def field_names() -> list[str]:
    """Return all names, with `LABEL` for the key of a table."""
    return [f"{name}.LABEL" if field.is_table else name for name, field in FIELDS.items()]


def values(name: str, body: Body) -> tuple[FieldValue, ...] | None:
    """Return the values of a field in a body of its type; None if the body does not say.

    Only the people who speak at the same time are several.
    """
    if isinstance(body, SpeakerBody) and name in ("speaker.speaker", "speaker.stranger", "speaker.people"):
        return _of_people(name, body)
    if name == "turn.duration_s" and isinstance(body, TurnBody):
        return (body.end_s - body.start_s,)
    _, field, *key = name.split(".", 2)
    value: Any = getattr(body, field)
    if key:
        value = value.get(key[0])
    return None if value is None else (value,)


def _of_people(name: str, body: SpeakerBody) -> tuple[FieldValue, ...] | None:
    if body.state not in CERTAIN_STATES and body.state != "silence":
        return None
    people = () if body.state == "silence" else body.speakers
    if name == "speaker.people":
        return (len(people),)
    if name == "speaker.stranger":
        return (any(not one.enrolled for one in people),)
    return tuple(one.speaker for one in people if one.speaker is not None)
