"""Stream tracker: speaker, emotion and turns together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.events import Body, EmotionBody, SpeakerBody, TurnBody
from stream.settings import Settings
from stream.tracking.stream_tracker import StreamTracker
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Task
from tests.tracking.speech import speech_spans, voice

EMOTION = ModelInfo(name="e", revision="0", task=Task.EMOTION, labels=("neutral", "angry"))
SPEAKER = ModelInfo(name="s", revision="0", task=Task.SPEAKER, threshold=0.5)
IDENTITY = ModelInfo(name="i", revision="0", task=Task.IDENTITY, labels=("id1", "id2"))
CALM, ANGRY = np.array([0.9, 0.1], np.float32), np.array([0.1, 0.9], np.float32)


def run(tested: StreamTracker, start_s: float, end_s: float, vector: np.ndarray, scores: np.ndarray) -> list[Body]:
    bodies: list[Body] = []
    for span in speech_spans(start_s, end_s):
        bodies += tested.observe(Task.SPEAKER, span, vector if span.passes_gate else None)
        bodies += tested.observe(Task.EMOTION, span, scores if span.passes_gate else None)
    return bodies


def tracker(*models: ModelInfo) -> StreamTracker:
    return StreamTracker(settings=Settings(), models=models)


def test_every_speaker_has_an_emotion_of_their_own() -> None:
    tested = tracker(SPEAKER, EMOTION)
    bodies = (
        run(tested, 0, 4, voice(0), CALM) + run(tested, 4.5, 9, voice(4), ANGRY) + run(tested, 9.5, 14, voice(0), CALM)
    )
    labels: dict[str | None, set[str]] = {}
    for body in bodies:
        if isinstance(body, EmotionBody) and body.speaker is not None:
            labels.setdefault(body.speaker, set()).add(body.label)
    assert labels == {"S1": {"neutral"}, "S2": {"angry"}}
    shares = [(turn.speaker, turn.emotion) for turn in bodies if isinstance(turn, TurnBody) and turn.phase == "end"]
    assert shares == [("S1", "neutral"), ("S2", "angry")]


def test_silence_is_published_once() -> None:
    tested = tracker(SPEAKER, EMOTION)
    bodies = run(tested, 0, 3, voice(0), CALM)
    quiet = speech_spans(0, 3)[-1]
    for _ in range(3):
        bodies += tested.observe(Task.SPEAKER, quiet, None)
        bodies += tested.observe(Task.EMOTION, quiet, None)
    assert sum(isinstance(body, SpeakerBody) and body.state == "silence" for body in bodies) == 1
    assert sum(isinstance(body, EmotionBody) and body.label == "silence" for body in bodies) == 1


def test_an_onset_is_published_without_a_name_and_changes_nothing_else() -> None:
    plain, tested = tracker(SPEAKER, EMOTION), tracker(SPEAKER, EMOTION)
    before = run(tested, 0, 3, voice(0), CALM)
    onset = replace(speech_spans(4, 5)[-1], onset=True, interim=True, passes_gate=False, new_speech_samples=0)
    (body,) = tested.observe(Task.SPEAKER, onset, None)
    assert isinstance(body, SpeakerBody)
    assert (body.state, body.reason, body.speaker) == ("tentative", "too_short", None)
    assert onset.segment is not None
    assert body.start_s == body.speakers[0].since_s == onset.segment.start_sample / SAMPLE_RATE_HZ
    assert before == run(plain, 0, 3, voice(0), CALM)
    assert run(tested, 4, 8, voice(0), CALM) == run(plain, 4, 8, voice(0), CALM)


def test_close_ends_the_turn_and_publishes_silence() -> None:
    tested = tracker(SPEAKER, EMOTION)
    for span in speech_spans(0, 3)[:5]:
        tested.observe(Task.SPEAKER, span, voice(0) if span.passes_gate else None)
        tested.observe(Task.EMOTION, span, CALM if span.passes_gate else None)
    turn, speaker, emotion = tested.close(48_000)
    assert isinstance(turn, TurnBody)
    assert turn.phase == "end"
    assert isinstance(speaker, SpeakerBody)
    assert speaker.state == "silence"
    assert isinstance(emotion, EmotionBody)
    assert emotion.label == "silence"
    assert tested.close(48_000) == []


def test_without_a_speaker_model_turns_have_no_speaker() -> None:
    tested, bodies = tracker(EMOTION), []
    for span in speech_spans(0, 4):
        bodies += tested.observe(Task.EMOTION, span, CALM if span.passes_gate else None)
    bodies += tested.close(80_000)
    turns = [body for body in bodies if isinstance(body, TurnBody)]
    assert [(turn.phase, turn.speaker) for turn in turns] == [("start", None), ("end", None)]
    assert not any(isinstance(body, SpeakerBody) for body in bodies)


def test_speaker_events_carry_the_identity() -> None:
    tested, bodies = tracker(SPEAKER, IDENTITY), []
    for span in speech_spans(0, 3):
        bodies += tested.observe(Task.IDENTITY, span, CALM if span.passes_gate else None)
        bodies += tested.observe(Task.SPEAKER, span, voice(0) if span.passes_gate else None)
    named = [body.identity for body in bodies if isinstance(body, SpeakerBody) and body.identity is not None]
    assert named
    assert named[-1].label == "id1"
    assert named[-1].probability == 0.9
    assert [(one.label, one.probability) for one in named[-1].candidates] == [("id1", 0.9), ("id2", 0.1)]
    assert named[-1].evidence_s == 3.0


def test_a_closed_set_model_alone_publishes_its_candidates() -> None:
    tested, bodies = tracker(IDENTITY), []
    for span in speech_spans(0, 3):
        bodies += tested.observe(Task.IDENTITY, span, CALM if span.passes_gate else None)
    speakers = [body for body in bodies + tested.close(48_000) if isinstance(body, SpeakerBody)]
    assert {(body.state, body.speaker) for body in speakers} == {("unknown", None), ("silence", None)}
    assert [body.identity.label if body.identity else None for body in speakers[-2:]] == ["id1", None]


def test_the_speaker_is_unknown_after_a_gap() -> None:
    tested = tracker(SPEAKER, EMOTION)
    for span in speech_spans(0, 3)[:5]:
        tested.observe(Task.SPEAKER, span, voice(0) if span.passes_gate else None)
        tested.observe(Task.EMOTION, span, CALM if span.passes_gate else None)
    closing = [body for body in tested.close(48_000) if isinstance(body, EmotionBody)]
    assert [body.speaker for body in closing] == [None]
    early = next(span for span in speech_spans(6, 9) if span.passes_gate)
    emotions = [body for body in tested.observe(Task.EMOTION, early, CALM) if isinstance(body, EmotionBody)]
    assert [body.speaker for body in emotions] == [None], "the speaker is not known yet after a gap"


def test_the_emotion_of_speech_that_has_paused_is_its_speakers() -> None:
    tested = tracker(SPEAKER, EMOTION)
    bodies = run(tested, 0.0, 5.6, voice(0), CALM)  # it has paused for 0.4 s at the end of its last hop
    silence = next(body for body in bodies if isinstance(body, SpeakerBody) and body.state == "silence")
    emotions = [body for body in bodies if isinstance(body, EmotionBody) and body.end_s == silence.end_s]
    assert [(body.speaker, body.label) for body in emotions] == [("S1", "neutral")]


people = st.tuples(st.integers(0, 2), st.booleans(), st.floats(0.4, 4), st.floats(0.6, 3), st.booleans())


@pytest.mark.slow
@given(st.lists(people, max_size=8))
def test_bodies_are_in_order_and_reproducible(
    script: list[tuple[int, bool, float, float, bool]],
) -> None:
    def replay() -> list[Body]:
        tested, bodies, now_s = tracker(SPEAKER, EMOTION), [], 0.0
        for who, angry, length_s, pause_s, gap in script:
            bodies += run(tested, now_s, now_s + length_s, voice(2 * who), ANGRY if angry else CALM)
            now_s += length_s + pause_s
            if gap:
                bodies += tested.close(int(now_s * 16_000))
        return bodies + tested.close(int((now_s + 10) * 16_000))

    bodies = replay()
    assert replay() == bodies
    current: str | None = None
    has_paused = False
    open_turns: list[str] = []
    for body in bodies:
        if isinstance(body, SpeakerBody):
            current, has_paused = body.speaker, body.state == "silence"
            assert (body.speaker is not None) == (body.state == "confirmed")
        elif isinstance(body, EmotionBody):
            assert body.speaker == current or has_paused, "an emotion belongs to the speaker published last"
        elif isinstance(body, TurnBody):
            assert open_turns == ([] if body.phase == "start" else [body.turn])
            open_turns = [body.turn] if body.phase == "start" else []
        assert body.start_s <= body.end_s
    assert not open_turns
    for kind in (SpeakerBody, EmotionBody):
        ends = [body.end_s for body in bodies if isinstance(body, kind)]
        assert ends == sorted(ends)
