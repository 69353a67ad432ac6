"""The commands of a running node and their replies (pure).

A command is one JSON object: `{"command": "pause", "source": "kitchen", "id": "42"}`; the optional `id` is returned in
the reply. `parse_command` turns received bytes into a typed command or refuses them with one sentence: too long, not
JSON, unknown, not allowed, or a field that is missing, wrong or unknown. Every channel for commands (MQTT, dashboard)
names the commands that it allows; no command is allowed by default.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stream.errors import CommandRefused

MAX_COMMAND_BYTES = 4_096
"""A longer command is refused without parsing it."""

MAX_ID_LENGTH = 128

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
CommandName = Literal["status", "pause", "resume", "enroll", "reload", "set_alert", "drain"]
COMMANDS: tuple[CommandName, ...] = get_args(CommandName)
"""All commands."""


class _CommandModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Request(_CommandModel):
    id: str | None = Field(
        None, max_length=MAX_ID_LENGTH, description="Identifier chosen by the client; returned in the reply."
    )


class StatusCommand(_Request):
    """Report the state of every stream."""

    command: Literal["status"] = "status"


class PauseCommand(_Request):
    """Discard a source's audio until it is resumed (privacy switch)."""

    command: Literal["pause"] = "pause"
    source: Name = Field(description="Identifier of the source, or the name of one of its streams.")


class ResumeCommand(_Request):
    """Process a source's audio again."""

    command: Literal["resume"] = "resume"
    source: Name = Field(description="Identifier of the source, or the name of one of its streams.")


class EnrollCommand(_Request):
    """Enrol a voice of a running stream under a name."""

    command: Literal["enroll"] = "enroll"
    name: Name = Field(description="Name of the person.")
    source: Name = Field(description="Stream in which the person spoke.")
    voice: Name | None = Field(None, description="Current name of the voice (`S1`); null: the current speaker.")
    allow_similar: bool = Field(False, description="Enrol although the voice is enrolled under another name.")


class ReloadCommand(_Request):
    """Read the enrolled voices and the calibration again; other settings need a restart."""

    command: Literal["reload"] = "reload"


class SetAlertCommand(_Request):
    """Set a condition of the built-in alerts, or a rule, until the node stops."""

    command: Literal["set_alert"] = "set_alert"
    name: Name = Field(description="Setting below `alerts`, such as `anger_on`, or name of a rule.")
    value: bool | float | Name | None = Field(None, description="New value; null: unchanged.")
    enabled: bool | None = Field(None, description="Whether a rule raises alerts; null: unchanged.")


class DrainCommand(_Request):
    """Take no more calls, and end with the last one."""

    command: Literal["drain"] = "drain"
    within_s: float | None = Field(None, ge=0, le=86_400, description="Time after which calls are ended; null: none.")


Command = StatusCommand | PauseCommand | ResumeCommand | EnrollCommand | ReloadCommand | SetAlertCommand | DrainCommand
_ADAPTER: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="command")])


class StreamStatus(_CommandModel):
    """State of one stream."""

    source: str = Field(description="Identifier of its source, as in `pause` and `resume`.")
    stream: str = Field(description="Name in events: that of the source, or of one of its channels.")
    paced: bool = Field(description="Whether its audio arrives in real time, as from a microphone.")
    state: Literal["listening", "paused", "stalled", "ended"] = Field(description="`paused` hides `stalled`.")
    audio_s: float = Field(description="Audio processed so far, seconds.")
    speech_s: float = Field(description="Speech in that audio, seconds.")


class NodeStatus(_CommandModel):
    """Result of `status`."""

    up_s: float = Field(description="Seconds since the start of the run.")
    streams: tuple[StreamStatus, ...] = Field(description="All streams, including ended ones.")


class CommandReply(_CommandModel):
    """Reply to any command, with a `result` if `ok` is true, else with an `error`."""

    id: str | None = Field(None, description="`id` of the command.")
    command: str | None = Field(None, description="Name of the command, if it could be parsed.")
    ok: bool = Field(description="Whether the command was executed.")
    result: dict[str, Any] | None = Field(None, description="Result of the command.")
    error: str | None = Field(None, description="What is wrong, and what to do.")


def parse_command(payload: bytes | str, *, allowed: Collection[str] = COMMANDS) -> Command:
    """Parse one command. Raises `CommandRefused`."""
    if not isinstance(payload, bytes):
        payload = payload.encode(errors="surrogatepass")  # which no JSON parser accepts
    if len(payload) > MAX_COMMAND_BYTES:
        raise CommandRefused(f"command too long: {len(payload)} bytes, at most {MAX_COMMAND_BYTES}")
    try:
        command = _ADAPTER.validate_json(payload)
    except ValidationError as error:
        raise CommandRefused(_first_error(error)) from None
    if command.command not in allowed:
        permitted = ", ".join(name for name in COMMANDS if name in allowed) or "nothing"
        raise CommandRefused(f"command {command.command!r} is not allowed; allowed: {permitted}")
    return command


def request_id(payload: bytes | str) -> str | None:
    r"""Return the `id` of a refused command, if it can be read, so that the reply can be matched to it.

    An id that is no valid Unicode (`"\ud800"`) is valid JSON, but could not be sent back.
    """
    if len(payload) > MAX_COMMAND_BYTES:
        return None
    try:
        tree = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    identifier = tree.get("id") if isinstance(tree, dict) else None
    if not isinstance(identifier, str) or len(identifier) > MAX_ID_LENGTH:
        return None
    return identifier if is_unicode(identifier) else None


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded: it has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_error(error: ValidationError) -> str:
    """Describe the first error in one sentence."""
    details = error.errors(include_url=False, include_input=False)[0]
    kind, field = details["type"], ".".join(str(part) for part in details["loc"][1:])
    if kind == "json_invalid":
        return 'command is not JSON; send an object such as {"command": "status"}'
    if kind in ("union_tag_not_found", "model_attributes_type", "model_type", "dict_type"):
        return 'command is not an object with a "command"; send an object such as {"command": "status"}'
    if kind == "union_tag_invalid":
        return f"unknown command; available: {', '.join(COMMANDS)}"
    name = details["loc"][0]
    if kind == "extra_forbidden":
        return f"command {name!r} has no field {field!r}; remove it"
    reason = str(details["msg"])
    return f"command {name!r}: {field}: {reason[:1].lower()}{reason[1:]}"
