"""Execution of commands on a running pipeline.

`CommandDispatcher` executes what `parse_command` accepts. `status`, `pause` and `resume` are methods of the pipeline;
all others are executed by handlers given to the dispatcher, and refused without one. Every command gets a
reply, refused ones as well; `answer` raises nothing: an unexpected error is logged with its trace and ends nothing but
its command.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol, runtime_checkable

from stream.control.commands import (
    Command,
    CommandReply,
    NodeStatus,
    PauseCommand,
    ResumeCommand,
    StatusCommand,
    parse_command,
    request_id,
)
from stream.errors import CommandRefused, TonewatchError

Handler = Callable[[Any], Awaitable[Mapping[str, Any]]]
"""Executes one kind of command and returns its result. Raises a `TonewatchError` if it fails."""

DEFECT = "the command failed inside the node; its log has the details"

log = logging.getLogger(__name__)


class CommandTarget(Protocol):
    """What commands need of a pipeline."""

    async def pause(self, source_id: str) -> None:
        """Discard a source's audio."""
        ...

    async def resume(self, source_id: str) -> None:
        """Process a source's audio again."""
        ...

    def status(self) -> NodeStatus:
        """Return the state of every stream."""
        ...


@runtime_checkable
class CommandSource(Protocol):
    """A sink that also receives commands."""

    def attach(self, answer: Callable[[bytes, Collection[str]], Awaitable[CommandReply]]) -> None:
        """Set the function that executes commands."""
        ...


class CommandDispatcher:
    """Executes commands; `handlers` are those of the other commands, by command name."""

    def __init__(self, *, pipeline: CommandTarget, handlers: Mapping[str, Handler] | None = None) -> None:
        self._pipeline = pipeline
        self._handlers = dict(handlers or {})

    async def answer(self, payload: bytes | str, allowed: Collection[str]) -> CommandReply:
        """Parse and execute a command; an error becomes a reply."""
        try:
            command = parse_command(payload, allowed=allowed)
        except CommandRefused as refusal:
            log.warning("refused a command: %s", refusal)
            return CommandReply(id=request_id(payload), ok=False, error=str(refusal))
        try:
            result = await self.execute(command)
        except TonewatchError as error:
            return CommandReply(id=command.id, command=command.command, ok=False, error=str(error))
        except Exception:  # a defect; the node has other things to do
            log.exception("command %r failed", command.command)
            return CommandReply(id=command.id, command=command.command, ok=False, error=DEFECT)
        return CommandReply(id=command.id, command=command.command, ok=True, result=dict(result))

    async def execute(self, command: Command) -> Mapping[str, Any]:
        """Execute a command. Raises `CommandRefused` if it has no handler, or the error of the handler."""
        if isinstance(command, StatusCommand):
            return self._pipeline.status().model_dump()
        if isinstance(command, PauseCommand):
            await self._pipeline.pause(command.source)
            return {"source": command.source, "state": "paused"}
        if isinstance(command, ResumeCommand):
            await self._pipeline.resume(command.source)
            return {"source": command.source, "state": "listening"}
        handler = self._handlers.get(command.command)
        if handler is None:
            raise CommandRefused(f"command {command.command!r} is not available on this node")
        return await handler(command)
