"""Ten thousand corrupted messages per protocol: each is answered with the protocol's error, never with an exception."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from stream.server.protocols.base import AudioChunk, CloseConnection, EndOfAudio, Omission
from tests.server.protocols.corruption import corrupted
from tests.server.protocols.messages import EXCHANGES

MESSAGES = 10_000
MEAN_CONNECTION = 50
"""Messages after which a connection that goes on is replaced, on average."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(EXCHANGES))
def test_corrupted_messages_cause_only_the_protocols_own_error(name: str) -> None:
    protocol, valid = EXCHANGES[name]
    chance, tested, defects = random.Random(7), protocol(), 0
    for message in islice(corrupted(valid, chance), MESSAGES):
        sent = message if not isinstance(message, str) or name != "audiosocket" else message.encode("utf-8", "replace")
        actions = tested.receive(sent)
        for action in actions:
            if isinstance(action, AudioChunk):
                assert action.start_frame >= 0
                assert len(action.samples) > 0
        if any(isinstance(action, CloseConnection) for action in actions):
            assert isinstance(actions[-1], CloseConnection)
            assert tested.closed
            assert not tested.receive(valid[0])
            defects, tested = defects + 1, protocol()
            for opening in valid[: chance.randrange(len(valid))]:  # corrupt the next exchange at its start or later
                tested.receive(opening)
            tested = protocol() if tested.closed else tested
        elif any(isinstance(action, EndOfAudio) for action in actions) or chance.random() < 1 / MEAN_CONNECTION:
            tested = protocol()
        defects += any(isinstance(action, Omission) for action in actions)
    assert defects > MESSAGES / 100
