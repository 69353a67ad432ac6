"""What a node publishes beside its events: node information, state of each stream, losses (pure).

Every value here is the payload of one retained topic, so that a later subscriber gets the current one. A stream is
`online` while it provides audio or can be resumed (`paused`); `stalled` and `ended` streams are offline.
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from stream import __version__, events
from stream.control.commands import CommandName
from stream.events import Event, StreamEvent
from stream.events.fields import FieldValue
from stream.settings import AlertsSettings, Settings
from stream.settings.alerts import CHANGEABLE

StreamState = Literal["listening", "paused", "stalled", "ended"]
_STATES: dict[str, StreamState] = {
    "started": "listening",
    "resumed": "listening",
    "paused": "paused",
    "stalled": "stalled",
    "ended": "ended",
}


FINISHED = ("finished", "hung_up")
"""Outcomes of streams that have ended by themselves."""


PROCESS = secrets.token_hex(8)
"""Random name of this process; its sinks are one node."""


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
    session: str = Field(default="", description="Random name of the process, by which two nodes of one name differ.")
    stopped: str | None = Field(
        default=None, description="UTC time at which the node was stopped; null while it runs, and after a crash."
    )


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


class RoomState(_PresenceModel):
    """Who is heard in a room and how they sound; for Home Assistant."""

    speaking: bool = Field(description="Whether somebody speaks.")
    speaker: str = Field(description="Name of the foremost speaker, `somebody`, or `nobody` in silence.")
    speakers: tuple[str, ...] = Field(description="Everyone who speaks, the foremost one first.")
    stranger: bool = Field(description="Whether somebody speaks who is certainly not enrolled.")
    emotion: str = Field(description="A label of the model, `uncertain`, or `silence`.")
    confidence: float = Field(description="Probability of the label in percent.")
    arousal: float | None = Field(description="0 calm … 100 excited; null in silence or without such a model.")
    level_dbfs: float | None = Field(description="Input level; null if unknown.")


class PersonState(_PresenceModel):
    """Where, when and how an enrolled person was heard last."""

    name: str = Field(description="Name of the person.")
    speaking: bool = Field(description="Whether the person speaks now.")
    source: str = Field(description="Stream in which the person was heard last.")
    heard: str = Field(description="UTC time at which the person began to speak last.")
    emotion: str | None = Field(description="Main emotion of the person's last turn; null before its end.")


class RuleState(_PresenceModel):
    """Value and state of a rule."""

    value: FieldValue = Field(description="What the rule's field is compared with.")
    enabled: bool = Field(description="Whether the rule raises alerts.")


class AlertConditions(_PresenceModel):
    """Conditions of alerts as they are now; the command `set_alert` changes them."""

    conditions: dict[str, FieldValue] = Field(description="Conditions of the built-in alerts, by setting.")
    rules: dict[str, RuleState] = Field(description="Rules, by name.")

    @classmethod
    def of(cls, settings: AlertsSettings) -> AlertConditions:
        """Return the conditions of these settings."""
        return cls(
            conditions={name: getattr(settings, name) for name in CHANGEABLE},
            rules={rule.name: RuleState(value=rule.value, enabled=rule.enabled) for rule in settings.rules},
        )


class Endings:
    """The streams of a run, and how each ended."""

    def __init__(self) -> None:
        self._outcomes: dict[str, str | None] = {}

    def observe(self, event: Event) -> None:
        """Note a stream, or its end; a call is forgotten at its end, since a node has any number of them."""
        if event.source == events.NODE:
            return
        if event.call is not None and events.is_last(event):
            self._outcomes.pop(event.source, None)
        elif isinstance(event, StreamEvent):
            self._outcomes[event.source] = event.outcome if event.state == "ended" else None
        else:
            self._outcomes.setdefault(event.source, None)

    @property
    def sources(self) -> tuple[str, ...]:
        """All streams so far, and the calls that have not ended."""
        return tuple(self._outcomes)

    @property
    def finished(self) -> bool:
        """Whether all audio has ended by itself, as that of a file does; not if the run was stopped."""
        return bool(self._outcomes) and all(outcome in FINISHED for outcome in self._outcomes.values())


def node_info(settings: Settings, *, stopped: bool = False) -> str:
    """Return the information of a node with these settings as JSON; `stopped`: after its end."""
    models = {task: getattr(settings.models, task).name for task in ("emotion", "speaker", "identity", "overlap")}
    info = NodeInfo(
        node=settings.node,
        version=__version__,
        schema_version=events.SCHEMA_VERSION,
        payload=settings.mqtt.payload,
        models={task: name for task, name in models.items() if name},
        commands=settings.mqtt.commands,
        session=PROCESS,
        stopped=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if stopped else None,
    )
    return info.model_dump_json(by_alias=True)


def stream_state(event: StreamEvent) -> tuple[SourceState, Literal["online", "offline"]] | None:
    """Return the stream's state and availability after `event`; None if it does not change them (a gap)."""
    state = _STATES.get(event.state)
    if state is None:
        return None
    since = event.model_dump()["time"]
    availability: Literal["online", "offline"] = "offline" if state in ("stalled", "ended") else "online"
    return SourceState(state=state, since=since, detail=event.detail), availability


def payload(event: Event, form: Literal["native", "cloudevents"], *, node: str) -> str:
    """Return an event as the payload of a message."""
    if form == "native":
        return events.to_json(event)
    return json.dumps(cloud_event(event, node=node), separators=(",", ":"))


def content_type(text: str) -> str:
    """Return the content type of a payload."""
    if not text.startswith("{"):
        return "text/plain"
    return "application/cloudevents+json" if text.startswith('{"specversion"') else "application/json"


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
