"""Party tracker: turns without a speaker model, the party's emotion, and speaker events on changes only."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from stream.events import Body, EmotionBody, SpeakerBody, TurnBody
from stream.settings import Settings
from stream.tracking.party_tracker import PartyTracker
from stream.tracking.turns import LEAD_SAMPLES
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Task
from tests.tracking.speech import speech_spans

EMOTION = ModelInfo(name="e", revision="0", task=Task.EMOTION, labels=("neutral", "angry"))
LEAD_S = LEAD_SAMPLES / SAMPLE_RATE_HZ
CALM = np.array([0.9, 0.1], np.float32)


def run(tested: PartyTracker, *, emotion: bool) -> list[Body]:
    bodies: list[Body] = []
    for start_s, end_s in ((0, 4), (6, 9)):
        for span in speech_spans(start_s, end_s):
            bodies += tested.observe(Task.SPEAKER, span, None)
            if emotion:
                bodies += tested.observe(Task.EMOTION, span, CALM if span.passes_gate else None)
    return bodies + tested.close(10 * 16_000)


def test_the_track_is_the_speaker() -> None:
    bodies = run(PartyTracker(settings=Settings(), models=[EMOTION], party="customer"), emotion=True)
    turns = [(body.phase, body.speaker, body.start_s) for body in bodies if isinstance(body, TurnBody)]
    expected = [(phase, "customer", start_s) for start_s in (0.0, 6.0 - LEAD_S) for phase in ("start", "end")]
    assert turns == expected
    assert {body.speaker for body in bodies if isinstance(body, EmotionBody) and body.label != "silence"} == {
        "customer"
    }


def test_speaker_events_are_published_on_changes_only() -> None:
    bodies = run(PartyTracker(settings=Settings(), models=[], party="agent"), emotion=False)
    speakers = [body for body in bodies if isinstance(body, SpeakerBody)]
    assert [body.state for body in speakers] == ["confirmed", "silence"] * 2
    assert all(one.speaker != two.speaker for one, two in pairwise(speakers))
    assert {body.reason for body in speakers} == {"track", "silence"}
    assert [[(one.speaker, one.since_s) for one in body.speakers] for body in speakers] == [
        [("agent", 0.0)],
        [],
        [("agent", 6.0 - LEAD_S)],
        [],
    ]
    assert not any(isinstance(body, EmotionBody) for body in bodies)
