"""What a node tells of itself beside its events: who is there, in which state, and what was lost (pure).

Every value here is the whole payload of one retained topic, so that whoever comes later knows at once. A stream is
`online` while it gives sound or could at the push of a button (`paused` is online); `stalled` and `ended` are offline.
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
    """What the node is."""

    node: str = Field(description="Its name.")
    version: str = Field(description="Version of tonewatch.")
    schema_version: int = Field(alias="schema", description="Version of the events' contract.")
    payload: Literal["native", "cloudevents"] = Field(description="How events are wrapped.")
    models: dict[str, str] = Field(description="The model behind each task.")
    commands: tuple[CommandName, ...] = Field(description="Commands that may come over MQTT.")


class SourceState(_PresenceModel):
    """What a stream is doing."""

    state: StreamState = Field(description="What it does now.")
    since: str = Field(description="UTC time of day since when.")
    detail: str = Field(description="Why, for people.")


class OutboxState(_PresenceModel):
    """What did not get through; told only once something was lost."""

    dropped: int = Field(description="Events of this run given up because they were too many, too old or too big.")
    refused: int = Field(description="Messages of this run that the broker refused to take.")
    oldest: str | None = Field(description="`id` of the first event that was dropped.")
    newest: str | None = Field(description="`id` of the last one.")


def info(settings: Settings) -> NodeInfo:
    """The node as its settings make it."""
    models = {task: getattr(settings.models, task).name for task in ("emotion", "speaker", "identity", "overlap")}
    return NodeInfo(
        node=settings.node,
        version=__version__,
        schema_version=events.SCHEMA_VERSION,
        payload=settings.mqtt.payload,
        models={task: name for task, name in models.items() if name},
        commands=settings.mqtt.commands,
    )


def after(event: StreamEvent) -> tuple[SourceState, Literal["online", "offline"]] | None:
    """A stream's state and availability after what happened to it; None where nothing changes (a gap)."""
    state = _STATES.get(event.state)
    if state is None:
        return None
    since = event.model_dump()["time"]
    there: Literal["online", "offline"] = "offline" if state in ("stalled", "ended") else "online"
    return SourceState(state=state, since=since, detail=event.detail), there


def cloud_event(event: events.Event, *, node: str) -> dict[str, Any]:
    """An event as a CloudEvents 1.0 object (structured mode of its MQTT binding)."""
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
