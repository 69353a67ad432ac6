"""A party's track: turns without a model, one emotion, and events only when something changes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from stream.events import Body, EmotionBody, SpeakerBody, TurnBody
from stream.settings import Settings
from stream.tracking.party_tracker import PartyTracker
from stream.types import ModelInfo, Task
from tests.tracking.speech import talk

EMOTION = ModelInfo(name="e", revision="0", task=Task.EMOTION, labels=("neutral", "angry"))
CALM = np.array([0.9, 0.1], np.float32)


def hear(tested: PartyTracker, *, emotion: bool) -> list[Body]:
    told: list[Body] = []
    for start_s, end_s in ((0, 4), (6, 9)):
        for cut in talk(start_s, end_s):
            told += tested.observe(Task.SPEAKER, cut, None)
            if emotion:
                told += tested.observe(Task.EMOTION, cut, CALM if cut.open else None)
    return told + tested.close(10 * 16_000)


def test_the_track_is_the_speaker() -> None:
    told = hear(PartyTracker(settings=Settings(), models=[EMOTION], party="customer"), emotion=True)
    turns = [(body.phase, body.speaker, body.start_s) for body in told if isinstance(body, TurnBody)]
    expected = [(phase, "customer", start_s) for start_s in (0.0, 6.0) for phase in ("start", "end")]
    assert turns == expected
    assert {body.speaker for body in told if isinstance(body, EmotionBody) and body.label != "silence"} == {"customer"}


def test_a_speaker_is_told_only_when_it_changes() -> None:
    told = hear(PartyTracker(settings=Settings(), models=[], party="agent"), emotion=False)
    speakers = [body for body in told if isinstance(body, SpeakerBody)]
    assert [body.state for body in speakers] == ["confirmed", "silence"] * 2
    assert all(one.speaker != two.speaker for one, two in pairwise(speakers))
    assert {body.reason for body in speakers} == {"track", "silence"}
    assert not any(isinstance(body, EmotionBody) for body in told)
