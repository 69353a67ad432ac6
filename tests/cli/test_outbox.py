"""`tonewatch outbox`: refused events are listed, sent again and deleted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from stream.settings import Settings, WebhookSettings
from stream.settings.mqtt import MqttSettings
from stream.sinks.mqtt.topics import parse_address
from stream.sinks.outbox.files import file_name
from stream.sinks.outbox.journal import Journal
from stream.sinks.outbox.messages import Message
from stream.sinks.outbox.set_aside import SetAsideStore
from stream.sinks.webhook.sink import WebhookSink
from tests.support import examples
from tests.support.command import rejection, run_command
from tests.support.receiver import Receiver

pytestmark = pytest.mark.slow

BROKER = "mqtt://127.0.0.1:1/home"


async def _refused_by(receiver: Receiver, folder: Path, *, turns: int) -> str:
    """Send turns that the receiver refuses with 404; returns its address."""
    receiver.script = lambda request, number: "404 Not Found"  # noqa: ARG005
    target = f"http://localhost:{receiver.port}/hook/private"
    sink = WebhookSink(target=target, settings=Settings(webhook=WebhookSettings(outbox=str(folder))))
    async with sink:
        for number in range(turns):
            await sink.send(examples.event(examples.turn(number), seq=number))
    assert sink.counters().refused == turns
    (kind,) = sink.counters().set_aside
    assert (kind.reason, kind.count) == ("404 Not Found", turns)
    receiver.script = lambda request, number: "204 No Content"  # noqa: ARG005
    return target


def test_refused_events_of_a_webhook_are_listed_and_sent_again(tmp_path: Path) -> None:
    async def check() -> None:
        async with Receiver() as receiver:
            target = await _refused_by(receiver, tmp_path, turns=3)
            command = ("outbox", "--sink", target, "--set", f"webhook.outbox={tmp_path}")
            listed = await asyncio.to_thread(run_command, *command)
            assert listed.code == 0
            assert listed.output.startswith(f"http://localhost:{receiver.port}/…: 3 refused\n  404 Not Found: 3 turn; ")
            assert "private" not in listed.output
            printed = await asyncio.to_thread(run_command, *command, "--events")
            assert [json.loads(line)["seq"] for line in printed.output.splitlines()] == [0, 1, 2]
            sent = await asyncio.to_thread(run_command, *command, "--resend")
            assert (sent.code, sent.output.splitlines()[-1]) == (0, "  0 in the outbox")
            assert receiver.accepted_ids == ["s/room/0", "s/room/1", "s/room/2"]
            assert ": 0 refused" in (await asyncio.to_thread(run_command, *command)).output

    asyncio.run(check())


def test_events_refused_again_stay(tmp_path: Path) -> None:
    async def check() -> None:
        async with Receiver() as receiver:
            target = await _refused_by(receiver, tmp_path, turns=2)
            receiver.script = lambda request, number: "410 Gone"  # noqa: ARG005
            command = ("outbox", "--sink", target, "--set", f"webhook.outbox={tmp_path}")
            await asyncio.to_thread(run_command, *command, "--resend")
            assert "410 Gone: 2 turn" in (await asyncio.to_thread(run_command, *command)).output
            await asyncio.to_thread(run_command, *command, "--discard")
            assert ": 0 refused" in (await asyncio.to_thread(run_command, *command)).output

    asyncio.run(check())


def test_refused_messages_of_a_broker_wait_for_the_node(tmp_path: Path) -> None:
    settings = MqttSettings(outbox=str(tmp_path))
    name = file_name("tonewatch", parse_address(BROKER, settings).key)
    store = SetAsideStore.of(tmp_path, name, settings)
    assert store is not None
    payload = examples.event(examples.turn(0), seq=0).model_dump_json()
    store.add([(Message("home/tonewatch/room/turn", payload, rolling=False), "Not authorized, code 0x87")])
    store.close()
    command = ("outbox", "--sink", BROKER, "--set", f"mqtt.outbox={tmp_path}")
    assert "Not authorized, code 0x87: 1 turn" in run_command(*command).output
    assert "1 in the outbox; sent when the node starts again" in run_command(*command, "--resend").output

    async def restored() -> list[Message]:
        journal = Journal(folder=tmp_path, name=name, clock=lambda: 0.0)
        found = await journal.open()
        await journal.close()
        return found

    assert [one.topic for one in asyncio.run(restored())] == ["home/tonewatch/room/turn"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sink", "stdout"], "no sink has an outbox on disk; name one with --sink"),
        (["--sink", BROKER, "--resend", "--discard"], "--resend and --discard exclude each other"),
    ],
)
def test_useless_options_are_refused(words: list[str], message: str) -> None:
    assert message in rejection("outbox", *words)
