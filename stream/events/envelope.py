"""Event types: bodies in an envelope, one pydantic model per type, under one schema version.

A body (`EmotionBody`, `SpeakerBody`, …) holds the result; the `Envelope` identifies the event, its stream, wall time,
models and latency. `stamp` combines them. Field names are stable within `SCHEMA_VERSION`; a new optional field does not
raise it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter, field_serializer

from stream.events.base import EventModel, ModelRef, Party, TimeOfDay
from stream.events.bodies import Body, EmotionBody, SpeakerBody, SpeakerResolvedBody, StreamBody, TurnBody
from stream.events.call_bodies import AlertBody, CallBody
from stream.events.health_bodies import HealthBody
from stream.events.room_bodies import RoomsBody

SCHEMA_VERSION = 2


class Envelope(EventModel):
    """Fields common to all events."""

    schema_version: Literal[2] = Field(default=2, alias="schema", description="Version of this schema.")
    id: str = Field(description="Unique identifier: `session/source/seq`.")
    session: str = Field(description="Identifier of the run of the process.")
    seq: int = Field(ge=0, description="Number of the event within its source, from 0 without holes.")
    source: str = Field(description="Name of the stream; `node` for the whole process.")
    call: str | None = Field(
        default=None,
        description="Name of the call, which is the `source` of the call's own events; null outside calls.",
    )
    party: Party | None = Field(
        default=None, description="Party of the track; null for the call's own events and outside calls."
    )
    time: TimeOfDay = Field(description="UTC wall time at `end_s`.")
    models: tuple[ModelRef, ...] = Field(default=(), description="Name and revision of the models behind the event.")
    latency_ms: float = Field(ge=0, description="Time from the capture of the last sample used to the event.")

    @field_serializer("time")
    def _rfc3339(self, time: datetime) -> str:
        return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class EmotionEvent(EmotionBody, Envelope):
    """Emotion of the current speaker (rolling state: the newest event replaces the one before)."""


class SpeakerEvent(SpeakerBody, Envelope):
    """Current speaker (rolling state: the newest event replaces the one before)."""


class SpeakerResolvedEvent(SpeakerResolvedBody, Envelope):
    """Correction of earlier speaker names (kept in order, never conflated)."""


class TurnEvent(TurnBody, Envelope):
    """Start or end of a turn (kept in order, never conflated)."""


class StreamEvent(StreamBody, Envelope):
    """State of a stream: started, interrupted or ended (kept in order, never conflated)."""


class CallEvent(CallBody, Envelope):
    """Figures of a call (rolling state while `live`; the `final` event is always kept)."""


class AlertEvent(AlertBody, Envelope):
    """Start or end of an alert (kept in order, never conflated)."""


class HealthEvent(HealthBody, Envelope):
    """Statistics of the node (rolling state: the newest event replaces the one before)."""


class RoomsEvent(RoomsBody, Envelope):
    """Who is in which room (rolling state: the newest event replaces the one before)."""


Event = (
    EmotionEvent
    | SpeakerEvent
    | SpeakerResolvedEvent
    | TurnEvent
    | StreamEvent
    | CallEvent
    | AlertEvent
    | HealthEvent
    | RoomsEvent
)
EVENT_TYPES: tuple[type[Event], ...] = get_args(Event)
_EVENT_OF: dict[str, type[Event]] = {kind.model_fields["type"].default: kind for kind in EVENT_TYPES}
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def stamp(body: Body, **envelope: Any) -> Event:
    """Combine a body with the fields of its envelope."""
    return _EVENT_OF[body.type](**dict(body), **envelope)


def is_rolling(event: Event) -> bool:
    """Return whether a newer event of the same source and type supersedes this one."""
    if isinstance(event, CallEvent):
        return event.phase == "live"
    return isinstance(event, EmotionEvent | SpeakerEvent | HealthEvent | RoomsEvent)


def is_last(event: Event) -> bool:
    """Return whether this is the last event of its source, unless the source is opened again."""
    if isinstance(event, CallEvent):
        return event.phase == "final"
    return isinstance(event, StreamEvent) and event.state == "ended"


def to_json(event: Event) -> str:
    """Serialise to one line of JSON, without a newline."""
    return event.model_dump_json(by_alias=True)


def from_json(line: str | bytes) -> Event:
    """Parse an event of this schema version. Raises pydantic's `ValidationError`."""
    return _ADAPTER.validate_json(line)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the closed union of events."""
    schema = _ADAPTER.json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tonewatch event", **schema}
