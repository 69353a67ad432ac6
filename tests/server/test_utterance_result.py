"""Who spoke an utterance and how."""

from __future__ import annotations

from stream.events import Body, SpeakerResolvedBody
from stream.server.utterance_result import UtteranceSpeaker
from tests.support import examples


def result_of(*bodies: Body) -> UtteranceSpeaker:
    result = UtteranceSpeaker()
    for body in bodies:
        result.apply(examples.event(body))
    return result


def test_a_stranger_is_unknown() -> None:
    result = result_of(examples.speaker("S1"), examples.turn(1))
    assert result.context()["speaker"] is None
    assert result.context()["probability"] is None


def test_before_a_turn_has_ended_the_newest_decision_counts() -> None:
    bodies = (examples.speaker("Alice", enrolled=True), examples.emotion("sad"))
    assert result_of(*bodies).speaker == "Alice"
    assert result_of(*bodies, examples.speaker(None, state="silence")).speaker == "Alice"
    assert result_of(*bodies, examples.speaker(None, state="unknown")).speaker is None
    assert result_of(*bodies).emotion == "sad"


def test_who_spoke_most_spoke_the_utterance() -> None:
    alice, bob = (
        examples.turn(1, name=name).model_copy(update={"speech_s": speech_s, "emotion": emotion})
        for name, speech_s, emotion in (("Alice", 2.0, "happy"), ("Bob", 0.5, "sad"))
    )
    known = (examples.speaker("Bob", enrolled=True), examples.speaker("Alice", enrolled=True))
    result = result_of(*known, alice, bob)
    assert (result.speaker, result.emotion) == ("Alice", "happy")


def test_a_corrected_name_is_the_last_word() -> None:
    corrected = SpeakerResolvedBody(start_s=0, end_s=3, previous="S1", speaker="Alice", enrolled=True, probability=0.97)
    result = result_of(examples.speaker("S1"), examples.turn(1), corrected)
    assert (result.speaker, result.context()["probability"]) == ("Alice", 0.97)


def test_a_turn_that_has_not_ended_counts_as_well() -> None:
    alice = examples.speaker("Alice", enrolled=True, end_s=3.0)
    bodies = (examples.turn(1, "start", name="Alice", end_s=1.0), alice)
    between = (examples.turn(2, "start", name=None, start_s=1.0), examples.turn(2, name=None, start_s=1.0))
    assert result_of(*bodies, *between).speaker == "Alice"
    assert result_of(*between, examples.turn(3, "start", name="Alice", start_s=2.5, end_s=3.0), alice).speaker is None


def test_a_corrected_name_counts_for_a_turn_that_has_not_ended() -> None:
    corrected = SpeakerResolvedBody(start_s=0, end_s=3, previous="S1", speaker="Alice", enrolled=True, probability=0.97)
    result = result_of(examples.turn(1, "start"), examples.speaker("S1"), corrected)
    assert result.speaker == "Alice"


def test_it_is_decided_who_speaks_once_a_person_is_recognised_or_nobody_known() -> None:
    assert not result_of().is_decided
    assert not result_of(examples.speaker(None, state="tentative")).is_decided
    assert result_of(examples.speaker("S1")).is_decided
    assert result_of(examples.speaker(None, state="unknown")).is_decided
    assert result_of(examples.speaker("Alice", enrolled=True), examples.speaker(None, state="silence")).is_decided
