"""A stream's rolling state as a whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.events import Body, EmotionBody, SpeakerBody, TurnBody
from stream.settings import Settings
from stream.tracking.stream_tracker import StreamTracker
from stream.types import ModelInfo, Task
from tests.tracking.speech import talk, voice

EMOTION = ModelInfo(name="e", revision="0", task=Task.EMOTION, labels=("neutral", "angry"))
SPEAKER = ModelInfo(name="s", revision="0", task=Task.SPEAKER, threshold=0.5)
IDENTITY = ModelInfo(name="i", revision="0", task=Task.IDENTITY, labels=("id1", "id2"))
CALM, CROSS = np.array([0.9, 0.1], np.float32), np.array([0.1, 0.9], np.float32)


def hear(tested: StreamTracker, start_s: float, end_s: float, who: np.ndarray, how: np.ndarray) -> list[Body]:
    told: list[Body] = []
    for cut in talk(start_s, end_s):
        told += tested.observe(Task.SPEAKER, cut, who if cut.open else None)
        told += tested.observe(Task.EMOTION, cut, how if cut.open else None)
    return told


def conversation(*models: ModelInfo) -> StreamTracker:
    return StreamTracker(settings=Settings(), models=models)


def test_every_emotion_is_somebodys_own() -> None:
    tested = conversation(SPEAKER, EMOTION)
    told = (
        hear(tested, 0, 4, voice(0), CALM)
        + hear(tested, 4.5, 9, voice(4), CROSS)
        + hear(tested, 9.5, 14, voice(0), CALM)
    )
    labels: dict[str | None, set[str]] = {}
    for body in told:
        if isinstance(body, EmotionBody) and body.speaker is not None:
            labels.setdefault(body.speaker, set()).add(body.label)
    assert labels == {"S1": {"neutral"}, "S2": {"angry"}}
    shares = [(turn.speaker, turn.emotion) for turn in told if isinstance(turn, TurnBody) and turn.phase == "end"]
    assert shares == [("S1", "neutral"), ("S2", "angry")]


def test_silence_is_told_once() -> None:
    tested = conversation(SPEAKER, EMOTION)
    told = hear(tested, 0, 3, voice(0), CALM)
    quiet = talk(0, 3)[-1]
    for _ in range(3):
        told += tested.observe(Task.SPEAKER, quiet, None)
        told += tested.observe(Task.EMOTION, quiet, None)
    assert sum(isinstance(body, SpeakerBody) and body.state == "silence" for body in told) == 1
    assert sum(isinstance(body, EmotionBody) and body.label == "silence" for body in told) == 1


def test_closing_ends_the_turn_and_leaves_silence() -> None:
    tested = conversation(SPEAKER, EMOTION)
    for cut in talk(0, 3)[:5]:
        tested.observe(Task.SPEAKER, cut, voice(0) if cut.open else None)
        tested.observe(Task.EMOTION, cut, CALM if cut.open else None)
    turn, speaker, emotion = tested.close(48_000)
    assert isinstance(turn, TurnBody)
    assert turn.phase == "end"
    assert isinstance(speaker, SpeakerBody)
    assert speaker.state == "silence"
    assert isinstance(emotion, EmotionBody)
    assert emotion.label == "silence"
    assert tested.close(48_000) == []


def test_without_a_speaker_model_turns_are_nobodys() -> None:
    tested, told = conversation(EMOTION), []
    for cut in talk(0, 4):
        told += tested.observe(Task.EMOTION, cut, CALM if cut.open else None)
    told += tested.close(80_000)
    turns = [body for body in told if isinstance(body, TurnBody)]
    assert [(turn.phase, turn.speaker) for turn in turns] == [("start", None), ("end", None)]
    assert not any(isinstance(body, SpeakerBody) for body in told)


def test_an_identity_rides_on_the_speaker() -> None:
    tested, told = conversation(SPEAKER, IDENTITY), []
    for cut in talk(0, 3):
        told += tested.observe(Task.IDENTITY, cut, CALM if cut.open else None)
        told += tested.observe(Task.SPEAKER, cut, voice(0) if cut.open else None)
    named = [body.identity for body in told if isinstance(body, SpeakerBody) and body.identity is not None]
    assert named
    assert named[-1].label == "id1"
    assert named[-1].probability == 0.9
    assert [(one.label, one.probability) for one in named[-1].candidates] == [("id1", 0.9), ("id2", 0.1)]
    assert named[-1].evidence_s == 3.0


def test_a_closed_set_model_alone_tells_its_candidates() -> None:
    tested, told = conversation(IDENTITY), []
    for cut in talk(0, 3):
        told += tested.observe(Task.IDENTITY, cut, CALM if cut.open else None)
    speakers = [body for body in told + tested.close(48_000) if isinstance(body, SpeakerBody)]
    assert {(body.state, body.speaker) for body in speakers} == {("unknown", None), ("silence", None)}
    assert [body.identity.label if body.identity else None for body in speakers[-2:]] == ["id1", None]


def test_nobody_is_heard_after_the_sound_broke_off() -> None:
    tested = conversation(SPEAKER, EMOTION)
    for cut in talk(0, 3)[:5]:
        tested.observe(Task.SPEAKER, cut, voice(0) if cut.open else None)
        tested.observe(Task.EMOTION, cut, CALM if cut.open else None)
    closing = [body for body in tested.close(48_000) if isinstance(body, EmotionBody)]
    assert [body.speaker for body in closing] == [None]
    early = next(cut for cut in talk(6, 9) if cut.open)
    felt = [body for body in tested.observe(Task.EMOTION, early, CALM) if isinstance(body, EmotionBody)]
    assert [body.speaker for body in felt] == [None], "it is not known yet who speaks behind a gap"


people = st.tuples(st.integers(0, 2), st.booleans(), st.floats(0.4, 4), st.floats(0.6, 3), st.booleans())


@given(st.lists(people, max_size=8))
def test_a_conversation_is_told_in_order_and_alike_each_time(
    script: list[tuple[int, bool, float, float, bool]],
) -> None:
    def tell() -> list[Body]:
        tested, told, now_s = conversation(SPEAKER, EMOTION), [], 0.0
        for who, cross, length_s, pause_s, broken in script:
            told += hear(tested, now_s, now_s + length_s, voice(2 * who), CROSS if cross else CALM)
            now_s += length_s + pause_s
            if broken:
                told += tested.close(int(now_s * 16_000))
        return told + tested.close(int((now_s + 10) * 16_000))

    told = tell()
    assert tell() == told
    current: str | None = None
    open_turns: list[str] = []
    for body in told:
        if isinstance(body, SpeakerBody):
            current = body.speaker
            assert (body.speaker is not None) == (body.state == "confirmed")
        elif isinstance(body, EmotionBody):
            assert body.speaker == current, "an emotion is whose voice it was last told to be"
        elif isinstance(body, TurnBody):
            assert open_turns == ([] if body.phase == "start" else [body.turn])
            open_turns = [body.turn] if body.phase == "start" else []
        assert body.start_s <= body.end_s
    assert not open_turns
    for kind in (SpeakerBody, EmotionBody):
        ends = [body.end_s for body in told if isinstance(body, kind)]
        assert ends == sorted(ends)
