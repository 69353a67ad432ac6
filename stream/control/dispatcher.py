"""From a command to what is done about it: the one place where a running pipeline is told something.

`CommandDispatcher` carries out what `commands.parse` let through. What the pipeline itself can do (`status`, `pause`, `resume`)
is done here; `enroll` and `reload` are done by handlers that whoever assembles the node hands in, and are refused
where there is none. Every command is answered, a refused one too; nothing raised on purpose gets past `answer`.
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
    id_of,
    parse,
)
from stream.errors import CommandRefused, TonewatchError

Handler = Callable[[Any], Awaitable[Mapping[str, Any]]]
"""Carries out one kind of command and says what came of it. Raises a `TonewatchError` when it cannot."""

log = logging.getLogger(__name__)


class CommandTarget(Protocol):
    """What `Pipeline` offers to be told."""

    async def pause(self, source_id: str) -> None:
        """Throw a source's sound away."""
        ...

    async def resume(self, source_id: str) -> None:
        """Listen again."""
        ...

    def status(self) -> NodeStatus:
        """What every stream is doing."""
        ...


@runtime_checkable
class CommandSource(Protocol):
    """A sink through which commands come in."""

    def attach(self, answer: Callable[[bytes, Collection[str]], Awaitable[CommandReply]]) -> None:
        """Who carries them out."""
        ...


class CommandDispatcher:
    """Carries out commands. `handlers` are for `enroll` and `reload`, by the command's name."""

    def __init__(self, *, pipeline: CommandTarget, handlers: Mapping[str, Handler] | None = None) -> None:
        self._pipeline = pipeline
        self._handlers = dict(handlers or {})

    async def answer(self, payload: bytes | str, allowed: Collection[str]) -> CommandReply:
        """Parse and carry out what came from outside."""
        try:
            command = parse(payload, allowed=allowed)
        except CommandRefused as refusal:
            log.warning("a command was refused: %s", refusal)
            return CommandReply(id=id_of(payload), ok=False, error=str(refusal))
        try:
            result = await self.execute(command)
        except TonewatchError as error:
            return CommandReply(id=command.id, command=command.command, ok=False, error=str(error))
        return CommandReply(id=command.id, command=command.command, ok=True, result=dict(result))

    async def execute(self, command: Command) -> Mapping[str, Any]:
        """Do it. Raises `CommandRefused` where nobody can, or what the handler raises."""
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
            raise CommandRefused(f"this node cannot {command.command}; nothing was set up for it")
        return await handler(command)
