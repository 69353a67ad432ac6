"""What a node publishes beside its events: node information, state of each stream, losses (pure).

Every value here is the payload of one retained topic, so that a later subscriber gets the current one. A stream is
`online` while it provides audio or can be resumed (`paused`); `stalled` and `ended` streams are offline.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stream import __version__, events
from stream.control.commands import CommandName
from stream.events import StreamEvent
from stream.settings import Settings

StreamState = Literal["listening", "paused", "stalled", "ended"]
_STATES: dict[str, StreamState] = {
    "started": "listening",
    "resumed": "listening",
    "paused": "paused",
    "stalled": "stalled",
    "ended": "ended",
}


class _PresenceModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class NodeInfo(_PresenceModel):
    """Version, models and capabilities of a node."""

    node: str = Field(description="Name of the node.")
    version: str = Field(description="Version of tonewatch.")
    schema_version: int = Field(alias="schema", description="Version of the event schema.")
    payload: Literal["native", "cloudevents"] = Field(description="Format of event payloads.")
    models: dict[str, str] = Field(description="Model of each task.")
    commands: tuple[CommandName, ...] = Field(description="Commands accepted over MQTT.")


class SourceState(_PresenceModel):
    """State of a stream."""

    state: StreamState = Field(description="Current state.")
    since: str = Field(description="UTC time at which the state began.")
    detail: str = Field(description="Reason as text.")


class OutboxState(_PresenceModel):
    """Messages that were not delivered; published after the first loss only."""

    dropped: int = Field(description="Events of this run dropped from a full outbox.")
    refused: int = Field(description="Messages of this run that the broker refused.")
    oldest: str | None = Field(description="`id` of the first event that was dropped.")
    newest: str | None = Field(description="`id` of the last event that was dropped.")


def node_info(settings: Settings) -> NodeInfo:
    """Return the information of a node with these settings."""
    models = {task: getattr(settings.models, task).name for task in ("emotion", "speaker", "identity", "overlap")}
    return NodeInfo(
        node=settings.node,
        version=__version__,
        schema_version=events.SCHEMA_VERSION,
        payload=settings.mqtt.payload,
        models={task: name for task, name in models.items() if name},
        commands=settings.mqtt.commands,
    )


def stream_state(event: StreamEvent) -> tuple[SourceState, Literal["online", "offline"]] | None:
    """Return the stream's state and availability after `event`; None if it does not change them (a gap)."""
    state = _STATES.get(event.state)
    if state is None:
        return None
    since = event.model_dump()["time"]
    availability: Literal["online", "offline"] = "offline" if state in ("stalled", "ended") else "online"
    return SourceState(state=state, since=since, detail=event.detail), availability


def cloud_event(event: events.Event, *, node: str) -> dict[str, Any]:
    """Wrap an event as a CloudEvents 1.0 object (structured mode of its MQTT binding)."""
    data = event.model_dump(mode="json", by_alias=True)
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": f"urn:tonewatch:{node}",
        "subject": event.source,
        "type": f"tonewatch.{event.type}.v{events.SCHEMA_VERSION}",
        "time": data["time"],
        "datacontenttype": "application/json",
        "data": data,
    }
