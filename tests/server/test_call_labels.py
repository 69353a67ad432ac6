"""Who is on a call, from what telephone systems say."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.events import StreamEvent
from stream.server.call_labels import MAX_LABEL_CHARACTERS, masked, read_labels
from stream.server.protocols.asterisk import AsteriskProtocol
from stream.server.protocols.audiohook import AudioHookProtocol
from stream.server.protocols.base import ConnectionProtocol
from stream.server.protocols.generic import GenericProtocol
from stream.server.protocols.twilio import TwilioProtocol
from tests.server.asterisk import AsteriskCall
from tests.server.protocols.exchanges import feed, opened
from tests.server.protocols.messages import AUDIOHOOK_OPEN, AUDIOHOOK_SESSION, GENERIC_START, MEDIA_START_JSON
from tests.support.node import NetworkNode, network_node
from tests.support.waiting import wait_until


def audiohook_open() -> dict[str, Any]:
    participant = {"id": str(uuid.uuid4()), "ani": "+4930123", "aniName": "Ada", "dnis": "+4989"}
    parameters = {**AUDIOHOOK_OPEN, "participant": participant, "customConfig": {"queue": "sales"}}
    envelope = {"version": "2", "seq": 1, "serverseq": 0, "id": AUDIOHOOK_SESSION, "position": "PT0S"}
    return {**envelope, "type": "open", "parameters": parameters}


TWILIO_START = {
    "callSid": "CA1", "from": "+4930123", "to": "+4989", "customParameters": {"caller_name": "Ada", "queue": "sales"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("tested", "message"),
    [
        (AudioHookProtocol(), audiohook_open()),
        (TwilioProtocol(), {"event": "start", "sequenceNumber": "1", "start": TWILIO_START}),
        (
            AsteriskProtocol(parameters={"caller": "+4930123", "caller_name": "Ada", "called": "+4989"}),
            {**MEDIA_START_JSON, "channel_variables": {"QUEUENAME": "sales"}},
        ),
        (
            GenericProtocol(),
            {**GENERIC_START, "labels": {"from": "+4930123", "to": "+4989", "queue": "sales", "caller_name": "Ada"}},
        ),
    ],
    ids=lambda value: value.name if isinstance(value, ConnectionProtocol) else "",
)
def test_every_protocol_says_who_calls(tested: ConnectionProtocol, message: dict[str, Any]) -> None:
    expected = {"caller": "+4930123", "caller_name": "Ada", "called": "+4989", "queue": "sales"}
    assert opened(feed(tested, message)).labels == expected


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from(["caller", "ani", "AGENT", "x"]), st.one_of(st.text(), st.integers(), st.none()))
)
def test_labels_are_short_printable_text(fields: dict[str, Any]) -> None:
    for text in read_labels(fields, None, "x").values():
        assert text
        assert text.isprintable()
        assert len(text) <= MAX_LABEL_CHARACTERS


def test_numbers_are_masked_but_for_their_last_digits() -> None:
    assert masked({"caller": "+49 30 1234567", "agent": "desk 12"}) == {"caller": "+•• •• •••••67", "agent": "desk 12"}


async def post(tested: NetworkNode, call: str, body: bytes, token: str = "") -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", tested.listener.port)
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"POST /v1/calls/{call} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}Content-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


def test_a_call_of_asterisk_is_described_before_and_while_it_is_connected() -> None:
    async def check() -> list[dict[str, str]]:
        async with network_node(serve={"mask_numbers": True}) as tested:
            call = uuid.uuid4()
            assert await post(tested, str(call), b'{"caller": "030123456"}') == 204
            leg = asyncio.create_task(AsteriskCall(call).run(tested.listener.audiosocket_port))
            await tested.first_event()
            assert await post(tested, str(call), json.dumps({"agent": "Grace"}).encode()) == 204
            described: list[StreamEvent] = []

            def arrived() -> bool:
                described[:] = [event for event in tested.events if isinstance(event, StreamEvent) and event.labels]
                return len(described) > 1

            await wait_until(arrived)
            leg.cancel()
            await asyncio.gather(leg, return_exceptions=True)
            return [event.labels for event in described]

    labels = asyncio.run(asyncio.wait_for(check(), 30))
    assert labels == [{"caller": "•••••••56"}, {"caller": "•••••••56", "agent": "Grace"}]


def test_descriptions_need_the_token_and_are_bounded() -> None:
    async def check() -> list[int]:
        async with network_node(serve={"token": "sesame-open-sesame"}) as tested:
            bodies = (b"{}", b"[", b'{"caller": 7}', b'{"agent": "' + b"x" * 5_000 + b'"}')
            rejected = [await post(tested, "c", body, "sesame-open-sesame") for body in bodies]
            return [await post(tested, "c", b'{"caller": "1"}'), *rejected]

    assert asyncio.run(check()) == [401, 400, 400, 400, 413]
