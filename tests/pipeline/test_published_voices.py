"""X-vectors in events: of one person each, of unit length, and only if they are wanted."""

from __future__ import annotations

import asyncio
from itertools import combinations

import numpy as np
import pytest

from stream.events import TurnEvent
from tests.support.node import EnrolmentNode, ScriptedSource


def turns(*steps: str, publish: bool = True) -> list[TurnEvent]:
    async def run() -> EnrolmentNode:
        node = EnrolmentNode("", publish_embeddings=publish)
        await node.assemble(ScriptedSource(*steps))
        await node.pipeline.run()
        return node

    return [event for event in asyncio.run(run()).events if isinstance(event, TurnEvent)]


@pytest.mark.parametrize("steps", ["aaaa--bbbbb--aaa--", "aaaaaabbbbbbaaaaaa"], ids=["with pauses", "without pauses"])
def test_the_end_of_a_turn_has_the_voice_of_its_speaker(steps: str) -> None:
    events = turns(steps)
    ends = [event for event in events if event.phase == "end"]
    assert len(ends) == 3
    assert all(event.embedding is None for event in events if event.phase == "start")
    vectors = {event.turn: np.array(event.embedding) for event in ends}
    assert all(np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-4) for vector in vectors.values())
    for one, other in combinations(ends, 2):
        cosine = float(vectors[one.turn] @ vectors[other.turn])
        assert cosine > 0.9 if one.speaker == other.speaker else cosine < 0.5


def test_no_voice_is_published_unless_it_is_wanted() -> None:
    assert all(event.embedding is None for event in turns("aaaa--bbbb--", publish=False))
