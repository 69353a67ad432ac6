"""Commands that arrive twice or too often."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

from stream.control.commands import CommandReply, request_id
from stream.sinks.mqtt.connection import BrokerConnection, IncomingMessage
from stream.sinks.mqtt.incoming import COMMANDS_BURST, COMMANDS_PER_S, CommandReceiver
from stream.sinks.mqtt.replies import MAX_REPLIES, REMEMBER_S


class Node:
    """Receives commands from the test, executes them, and collects the replies."""

    v5 = False

    def __init__(self) -> None:
        self.now_s = 0.0
        self.executed: list[bytes] = []
        self.replies: list[dict[str, Any]] = []
        self.works = True
        self._receiver = CommandReceiver(
            topic="c", reply_topic="r", qos=1, allowed=["status"], clock=lambda: self.now_s
        )
        self._receiver.attach(self._answer)

    async def _answer(self, payload: bytes, allowed: Collection[str]) -> CommandReply:  # noqa: ARG002
        self.executed.append(payload)
        return CommandReply(id=request_id(payload), ok=self.works, result={"times": len(self.executed)})

    def post(self, topic: str, payload: str, **_: Any) -> None:
        assert topic == "r"
        self.replies.append(json.loads(payload))

    def receive(self, *payloads: str) -> None:
        """Receive commands one after the other."""
        messages = [SimpleNamespace(topic="c", payload=one.encode(), retain=False, properties=None) for one in payloads]

        async def arriving() -> Any:
            for message in messages:
                yield cast("IncomingMessage", message)

        connection = SimpleNamespace(messages=arriving(), post=self.post, v5=False)
        asyncio.run(self._receiver.receive(cast("BrokerConnection", connection)))


def command(identifier: str | None, **more: Any) -> str:
    return json.dumps({"command": "status", **({} if identifier is None else {"id": identifier}), **more})


def test_a_command_that_arrives_again_is_executed_once_and_answered_the_same() -> None:
    node = Node()
    node.receive(command("7"), command("7"), command("8"), command("7"))
    assert len(node.executed) == 2
    assert [reply["result"] for reply in node.replies] == [{"times": 1}, {"times": 1}, {"times": 2}, {"times": 1}]
    node.now_s += REMEMBER_S
    node.receive(command("7"))
    assert len(node.executed) == 3


def test_commands_without_an_id_are_executed_each_time() -> None:
    node = Node()
    node.receive(command(None), command(None))
    assert len(node.executed) == 2


def test_an_id_belongs_to_one_command() -> None:
    node = Node()
    node.receive(command("7"), command("7", source="kitchen"))
    assert len(node.executed) == 1
    assert "another command had the id '7'" in node.replies[1]["error"]


def test_a_command_that_failed_may_be_sent_again() -> None:
    node = Node()
    node.works = False
    node.receive(command("7"), command("7"))
    assert len(node.executed) == 2


def test_too_many_commands_are_refused_until_a_second_later() -> None:
    node = Node()
    count = round(COMMANDS_BURST)
    node.receive(*(command(str(number)) for number in range(count + 3)))
    assert len(node.executed) == count
    assert node.replies[-1] == {
        "id": str(count + 2),
        "command": None,
        "ok": False,
        "result": None,
        "error": "too many commands; retry in a second",
    }
    node.now_s += 1
    node.receive(*(command(f"later {number}") for number in range(count)))
    assert len(node.executed) == count + COMMANDS_PER_S


def test_memory_does_not_grow_with_commands() -> None:
    node = Node()
    for number in range(MAX_REPLIES + 5):
        node.now_s += 1
        node.receive(command(str(number)))
    assert len(node._receiver._recent._replies) == MAX_REPLIES
