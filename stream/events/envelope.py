"""The wire contract: what leaves tonewatch, one pydantic model a type of event, under one version number.

An event is what was found (its *body*: `EmotionBody`, `SpeakerBody`, `SpeakerResolvedBody`, `TurnBody`, `StreamBody`, `CallBody`, `AlertBody`,
`HealthBody`) in an `Envelope` that says which one it is, of which stream, when, and by which models. `rolling/` finds
bodies and knows no time of day; `stamp` puts the envelope around. Field names are stable within `SCHEMA_VERSION`;
adding an optional field does not raise it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, TypeAdapter, field_serializer

from stream.events.base import EventModel, ModelRef, Party, TimeOfDay
from stream.events.bodies import Body, EmotionBody, SpeakerBody, SpeakerResolvedBody, StreamBody, TurnBody
from stream.events.call_bodies import AlertBody, CallBody
from stream.events.health_bodies import HealthBody

SCHEMA_VERSION = 1


class Envelope(EventModel):
    """What every event carries beside its body."""

    schema_version: Literal[1] = Field(default=1, alias="schema", description="The version of this contract.")
    id: str = Field(description="Unique: `session/source/seq`.")
    session: str = Field(description="One run of the process.")
    seq: int = Field(ge=0, description="Counts this source's events from 0, without holes.")
    source: str = Field(description="The stream; `node` for the whole process.")
    call: str | None = Field(
        default=None, description="The call it is of, also the `source` of the call's own events; null outside calls."
    )
    party: Party | None = Field(
        default=None, description="Whose track of the call it is; null for the call's own events and outside calls."
    )
    time: TimeOfDay = Field(description="UTC time of day at `end_s`.")
    models: tuple[ModelRef, ...] = Field(default=(), description="Name and revision of the models it rests on.")
    latency_ms: float = Field(ge=0, description="From the last sample captured to this event.")

    @field_serializer("time")
    def _rfc3339(self, time: datetime) -> str:
        return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class EmotionEvent(EmotionBody, Envelope):
    """How the speaker sounds (rolling state: the newest replaces the one before)."""


class SpeakerEvent(SpeakerBody, Envelope):
    """Who is speaking (rolling state: the newest replaces the one before)."""


class SpeakerResolvedEvent(SpeakerResolvedBody, Envelope):
    """A correction of who spoke (kept in order, never conflated)."""


class TurnEvent(TurnBody, Envelope):
    """A turn began or ended (kept in order, never conflated)."""


class StreamEvent(StreamBody, Envelope):
    """A stream began, lost sound, or ended (kept in order, never conflated)."""


class CallEvent(CallBody, Envelope):
    """The figures of a call (rolling state while `live`; the `final` one is always kept)."""


class AlertEvent(AlertBody, Envelope):
    """An alert was raised or ended (kept in order, never conflated)."""


class HealthEvent(HealthBody, Envelope):
    """Statistics of the node (rolling state)."""


Event = (
    EmotionEvent | SpeakerEvent | SpeakerResolvedEvent | TurnEvent | StreamEvent | CallEvent | AlertEvent | HealthEvent
)
EVENT_TYPES: tuple[type[Event], ...] = get_args(Event)
_EVENT_OF: dict[str, type[Event]] = {kind.model_fields["type"].default: kind for kind in EVENT_TYPES}
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def stamp(body: Body, **envelope: Any) -> Event:
    """Put the envelope around a body."""
    return _EVENT_OF[body.type](**dict(body), **envelope)


def is_rolling(event: Event) -> bool:
    """Whether a newer event of the same source and type makes this one worthless."""
    if isinstance(event, CallEvent):
        return event.phase == "live"
    return isinstance(event, EmotionEvent | SpeakerEvent | HealthEvent)


def is_last(event: Event) -> bool:
    """Whether nothing more is told of its source, unless it begins anew."""
    if isinstance(event, CallEvent):
        return event.phase == "final"
    return isinstance(event, StreamEvent) and event.state == "ended"


def to_json(event: Event) -> str:
    """One line of JSON, without the newline."""
    return event.model_dump_json(by_alias=True)


def from_json(line: str | bytes) -> Event:
    """Read an event back. Raises pydantic's `ValidationError`."""
    return _ADAPTER.validate_json(line)


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the closed union of events."""
    schema = _ADAPTER.json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tonewatch event", **schema}
