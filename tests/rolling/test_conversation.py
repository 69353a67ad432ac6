"""A stream's rolling state as a whole."""

from __future__ import annotations

import numpy as np

from stream.events import Body, Emotion, Speaker, Turn
from stream.rolling.conversation import Conversation
from stream.settings import Settings
from stream.types import ModelInfo, Task
from tests.rolling.speech import talk, voice

EMOTION = ModelInfo(name="e", revision="0", task=Task.EMOTION, labels=("neutral", "angry"))
SPEAKER = ModelInfo(name="s", revision="0", task=Task.SPEAKER, threshold=0.5)
IDENTITY = ModelInfo(name="i", revision="0", task=Task.IDENTITY, labels=("id1", "id2"))
CALM, CROSS = np.array([0.9, 0.1], np.float32), np.array([0.1, 0.9], np.float32)


def hear(tested: Conversation, start_s: float, end_s: float, who: np.ndarray, how: np.ndarray) -> list[Body]:
    told: list[Body] = []
    for cut in talk(start_s, end_s):
        told += tested.observe(Task.SPEAKER, cut, who if cut.open else None)
        told += tested.observe(Task.EMOTION, cut, how if cut.open else None)
    return told


def conversation(*models: ModelInfo) -> Conversation:
    return Conversation(settings=Settings(), models=models)


def test_every_emotion_is_somebodys_own() -> None:
    tested = conversation(SPEAKER, EMOTION)
    told = (
        hear(tested, 0, 4, voice(0), CALM)
        + hear(tested, 4.5, 9, voice(4), CROSS)
        + hear(tested, 9.5, 14, voice(0), CALM)
    )
    labels: dict[str | None, set[str]] = {}
    for body in told:
        if isinstance(body, Emotion) and body.speaker is not None:
            labels.setdefault(body.speaker, set()).add(body.label)
    assert labels == {"S1": {"neutral"}, "S2": {"angry"}}
    shares = [(turn.speaker, turn.emotion) for turn in told if isinstance(turn, Turn) and turn.phase == "end"]
    assert shares == [("S1", "neutral"), ("S2", "angry")]


def test_silence_is_told_once() -> None:
    tested = conversation(SPEAKER, EMOTION)
    told = hear(tested, 0, 3, voice(0), CALM)
    quiet = talk(0, 3)[-1]
    for _ in range(3):
        told += tested.observe(Task.SPEAKER, quiet, None)
        told += tested.observe(Task.EMOTION, quiet, None)
    assert sum(isinstance(body, Speaker) and body.state == "silence" for body in told) == 1
    assert sum(isinstance(body, Emotion) and body.label == "silence" for body in told) == 1


def test_closing_ends_the_turn_and_leaves_silence() -> None:
    tested = conversation(SPEAKER, EMOTION)
    for cut in talk(0, 3)[:5]:
        tested.observe(Task.SPEAKER, cut, voice(0) if cut.open else None)
        tested.observe(Task.EMOTION, cut, CALM if cut.open else None)
    turn, speaker, emotion = tested.close(48_000)
    assert isinstance(turn, Turn)
    assert turn.phase == "end"
    assert isinstance(speaker, Speaker)
    assert speaker.state == "silence"
    assert isinstance(emotion, Emotion)
    assert emotion.label == "silence"
    assert tested.close(48_000) == []


def test_without_a_speaker_model_turns_are_nobodys() -> None:
    tested, told = conversation(EMOTION), []
    for cut in talk(0, 4):
        told += tested.observe(Task.EMOTION, cut, CALM if cut.open else None)
    told += tested.close(80_000)
    turns = [body for body in told if isinstance(body, Turn)]
    assert [(turn.phase, turn.speaker) for turn in turns] == [("start", None), ("end", None)]
    assert not any(isinstance(body, Speaker) for body in told)


def test_an_identity_rides_on_the_speaker() -> None:
    tested, told = conversation(SPEAKER, IDENTITY), []
    for cut in talk(0, 3):
        told += tested.observe(Task.IDENTITY, cut, CALM if cut.open else None)
        told += tested.observe(Task.SPEAKER, cut, voice(0) if cut.open else None)
    named = [body.identity for body in told if isinstance(body, Speaker) and body.identity is not None]
    assert named
    assert named[-1].label == "id1"
    assert named[-1].probability == 0.9
