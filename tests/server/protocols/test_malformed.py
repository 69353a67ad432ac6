"""Ten thousand broken messages a protocol: an error of its own, and silence from then on; never an exception."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

from stream.server.protocols.asterisk import AsteriskProtocol
from stream.server.protocols.audiohook import AudioHookProtocol
from stream.server.protocols.audiosocket import AudioSocketProtocol
from stream.server.protocols.base import AudioChunk, CloseConnection, ConnectionProtocol, EndOfAudio
from stream.server.protocols.generic import GenericProtocol
from stream.server.protocols.twilio import TwilioProtocol
from tests.server.protocols import test_asterisk, test_audiohook, test_audiosocket, test_generic
from tests.server.telephone import StereoCall, twilio_messages

MESSAGES = 10_000
CALL = StereoCall(np.zeros(480, np.uint8), np.zeros(480, np.uint8))


def audiohook_messages() -> list[str | bytes]:
    envelope = {"version": "2", "serverseq": 0, "id": test_audiohook.SESSION, "position": "PT0S"}
    texts: list[tuple[str, dict[str, Any]]] = [
        ("open", test_audiohook.OPEN),
        ("ping", {}),
        ("discarded", {"start": "PT1S", "discarded": "PT1.5S"}),
        ("close", {"reason": "end"}),
    ]
    said: list[str | bytes] = [
        json.dumps({**envelope, "type": kind, "seq": seq + 1, "parameters": parameters})
        for seq, (kind, parameters) in enumerate(texts)
    ]
    return [said[0], bytes(320), *said[1:]]


GOOD: dict[str, tuple[Callable[[], ConnectionProtocol], list[str | bytes]]] = {
    "generic": (GenericProtocol, [json.dumps(test_generic.START), bytes(320), '{"type": "stop"}']),
    "twilio": (TwilioProtocol, [json.dumps(message) for message in twilio_messages(CALL)]),
    "asterisk": (
        AsteriskProtocol,
        [json.dumps(test_asterisk.JSON), test_asterisk.PLAIN, bytes(320), "DTMF_END digit:1"],
    ),
    "audiohook": (AudioHookProtocol, audiohook_messages()),
    "audiosocket": (
        AudioSocketProtocol,
        [test_audiosocket.HELLO, test_audiosocket.SOUND, b"\x03\x00\x015", test_audiosocket.BYE],
    ),
}
VALUES: list[Any] = [None, True, -1, 0, 1 << 70, 1e308, "", "x" * 300, "NaN", [], {}, [[]], {"a": 1}, "\ud800", "0"]


def broken(good: list[str | bytes], chance: random.Random) -> Iterator[str | bytes]:
    """Random bytes, random text, and good messages with something wrong in them."""
    while True:
        match chance.randrange(6):
            case 0:
                yield chance.randbytes(chance.randrange(200))
            case 1:
                yield "".join(chr(chance.randrange(32, 1_000)) for _ in range(chance.randrange(60)))
            case 2:
                yield chance.choice(good)
            case _:
                yield _damaged(chance.choice(good), chance)


def _damaged(message: str | bytes, chance: random.Random) -> str | bytes:
    if isinstance(message, str) and message.startswith("{") and chance.random() < 0.7:
        fields = json.loads(message)
        branch = fields
        while chance.random() < 0.5 and isinstance(branch, dict):
            inner = [value for value in branch.values() if isinstance(value, dict) and value]
            if not inner:
                break
            branch = chance.choice(inner)
        key = chance.choice(list(branch))
        if chance.random() < 0.3:
            del branch[key]
        else:
            branch[key] = chance.choice(VALUES)
        return json.dumps(fields)
    cut = chance.randrange(len(message) + 1)
    if isinstance(message, str):
        return message[:cut] + chance.choice(["", "\0", '"', "}", "{"]) + message[cut + chance.randrange(3) :]
    return message[:cut] + chance.randbytes(chance.randrange(3)) + message[cut + chance.randrange(3) :]


@pytest.mark.parametrize("name", sorted(GOOD))
def test_nothing_but_the_protocols_own_error(name: str) -> None:
    make, good = GOOD[name]
    chance, tested, closes = random.Random(7), make(), 0
    for message in islice(broken(good, chance), MESSAGES):
        sent = message if not isinstance(message, str) or name != "audiosocket" else message.encode("utf-8", "replace")
        actions = tested.receive(sent)
        for action in actions:
            if isinstance(action, AudioChunk):
                assert action.start_frame >= 0
                assert len(action.samples) > 0
        if any(isinstance(action, CloseConnection) for action in actions):
            assert isinstance(actions[-1], CloseConnection)
            assert tested.closed
            assert not tested.receive(good[0])
            closes, tested = closes + 1, make()
            for opening in good[: chance.randrange(len(good))]:  # broken from the start, or in the middle
                tested.receive(opening)
            tested = make() if tested.closed else tested
        elif any(isinstance(action, EndOfAudio) for action in actions):
            tested = make()
    assert closes > MESSAGES / 100
