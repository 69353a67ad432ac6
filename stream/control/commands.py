"""What a running node can be asked to do, and what it answers (pure).

A command is one JSON object: `{"command": "pause", "source": "kitchen", "id": "42"}`; `id` is optional and comes back
with the answer. `parse` turns bytes from outside into one of the typed commands, or refuses them with one sentence:
too long, not JSON, unknown, not allowed, or a field that is missing, wrong or too many. Whoever carries commands
(MQTT, a web page) names the ones he allows; none is allowed unless it is named.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stream.errors import CommandRefused

LARGEST_BYTES = 4_096
"""A longer command is refused unread."""

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
CommandName = Literal["status", "pause", "resume", "enroll", "reload"]
COMMANDS: tuple[CommandName, ...] = get_args(CommandName)
"""All there are."""


class _CommandModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Request(_CommandModel):
    id: str | None = Field(None, max_length=128, description="Whatever the asker likes; it comes back in the answer.")


class StatusCommand(_Request):
    """Tell what every source is doing."""

    command: Literal["status"] = "status"


class PauseCommand(_Request):
    """The privacy switch: throw a source's sound away until it is resumed."""

    command: Literal["pause"] = "pause"
    source: Name = Field(description="The source's id, or one stream of it.")


class ResumeCommand(_Request):
    """Listen again."""

    command: Literal["resume"] = "resume"
    source: Name = Field(description="The source's id, or one stream of it.")


class EnrollCommand(_Request):
    """Know a voice by a name from now on."""

    command: Literal["enroll"] = "enroll"
    name: Name = Field(description="What the person is called.")
    source: Name = Field(description="The stream in which the voice was heard.")
    voice: Name | None = Field(None, description="What the stream calls it now (`S1`); null: whoever speaks.")


class ReloadCommand(_Request):
    """Read enrolled voices anew (the file of profiles, recordings in the settings); other settings need a restart."""

    command: Literal["reload"] = "reload"


Command = StatusCommand | PauseCommand | ResumeCommand | EnrollCommand | ReloadCommand
_ADAPTER: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="command")])


class StreamStatus(_CommandModel):
    """What one stream is doing."""

    source: str = Field(description="The source it comes from, as `pause` and `resume` name it.")
    stream: str = Field(description="Its name in events: the source's, or one channel of it.")
    paced: bool = Field(description="Whether its sound comes at its own pace, as a microphone's does.")
    state: Literal["listening", "paused", "stalled", "ended"] = Field(description="`paused` hides `stalled`.")
    audio_s: float = Field(description="Media time heard so far, seconds.")
    speech_s: float = Field(description="Speech in it, seconds.")


class NodeStatus(_CommandModel):
    """The answer to `status`."""

    up_s: float = Field(description="Seconds since the run began.")
    streams: tuple[StreamStatus, ...] = Field(description="A row a stream, ended ones included.")


class CommandReply(_CommandModel):
    """The answer to any command. `result` holds what was asked for; `error` is one sentence when `ok` is false."""

    id: str | None = Field(None, description="The command's.")
    command: str | None = Field(None, description="The command's name, where it could be read.")
    ok: bool = Field(description="Whether it was done.")
    result: dict[str, Any] | None = Field(None, description="What was asked for.")
    error: str | None = Field(None, description="Why it was not done, and what to do.")


def parse(payload: bytes | str, *, allowed: Collection[str] = COMMANDS) -> Command:
    """One command from outside. Raises `CommandRefused`."""
    size = len(payload if isinstance(payload, bytes) else payload.encode(errors="replace"))
    if size > LARGEST_BYTES:
        raise CommandRefused(f"a command holds {LARGEST_BYTES} bytes at most, this one {size}; send less")
    try:
        command = _ADAPTER.validate_json(payload)
    except ValidationError as error:
        raise CommandRefused(_explain(error)) from None
    if command.command not in allowed:
        permitted = ", ".join(name for name in COMMANDS if name in allowed) or "nothing"
        raise CommandRefused(f"the command {command.command!r} is not allowed here; allowed is {permitted}")
    return command


def id_of(payload: bytes | str) -> str | None:
    """The `id` of a command that was refused, if it can be read: whoever asked still wants to know which one it was."""
    if len(payload) > LARGEST_BYTES:
        return None
    try:
        given = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    found = given.get("id") if isinstance(given, dict) else None
    return (
        found if isinstance(found, str) and len(found) <= _Request.model_fields["id"].metadata[0].max_length else None
    )


def _explain(error: ValidationError) -> str:
    """The first fault, in one sentence."""
    fault = error.errors(include_url=False, include_input=False)[0]
    kind, where = fault["type"], ".".join(str(part) for part in fault["loc"][1:])
    if kind == "json_invalid":
        return 'a command is one JSON object, e.g. {"command": "status"}; this is not JSON'
    if kind in ("union_tag_not_found", "model_attributes_type", "model_type", "dict_type"):
        return 'a command is a JSON object with a "command", e.g. {"command": "status"}'
    if kind == "union_tag_invalid":
        return f"there is no such command; there are {', '.join(COMMANDS)}"
    if kind == "extra_forbidden":
        return f"the command {fault['loc'][0]!r} takes no {where!r}"
    reason = str(fault["msg"])
    return f"the command {fault['loc'][0]!r}: {where}: {reason[:1].lower()}{reason[1:]}"
