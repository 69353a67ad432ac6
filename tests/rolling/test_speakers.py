"""Who is speaking: known again, told apart, and not invented."""

from __future__ import annotations

import numpy as np

from stream.rolling.profiles import CAP_S, Vector, Voice, unit
from stream.rolling.speakers import Decision, SpeakerTracker
from stream.settings import SpeakersSettings
from tests.rolling.speech import talk, voice


def tracker(*enrolled: Voice, **options: float) -> SpeakerTracker:
    settings = SpeakersSettings.model_validate({"threshold": 0.5, "novelty": 0.2, **options})
    return SpeakerTracker(settings=settings, threshold=0.9, enrolled=enrolled)


def hear(tested: SpeakerTracker, start_s: float, end_s: float, vector: np.ndarray) -> list[Decision]:
    return [tested.observe(cut, vector if cut.open else None) for cut in talk(start_s, end_s)]


def blend(vector: np.ndarray) -> Vector:
    return unit(vector.astype(np.float32))


def names(decisions: list[Decision]) -> list[str]:
    return list(dict.fromkeys(decision.voice.name for decision in decisions if decision.voice is not None))


def test_two_people_in_turns_are_two_people() -> None:
    tested = tracker()
    told = [names(hear(tested, 5 * turn, 5 * turn + 4, voice(2 * (turn % 2)))) for turn in range(6)]
    assert told == [["S1"], ["S2"]] * 3
    assert [known.name for known in tested.voices] == ["S1", "S2"]


def test_too_little_speech_is_tentative_then_known() -> None:
    tested = tracker()
    hear(tested, 0, 4, voice(0))
    decisions = hear(tested, 6, 8, voice(0))
    assert decisions[0].state == "tentative"
    assert decisions[0].reason == "too_short"
    assert decisions[1].state == "confirmed"
    assert decisions[1].reason == "matched"
    assert hear(tested, 12, 12.3, voice(0))[0].state == "tentative", "a short word founds nobody and names nobody"


def test_evidence_is_counted_once() -> None:
    decisions = hear(tracker(), 0, 6, voice(0))
    assert max(decision.evidence_s for decision in decisions) == 6.0


def test_a_window_between_two_voices_founds_nobody() -> None:
    tested = tracker()
    hear(tested, 0, 4, voice(0))
    hear(tested, 6, 10, voice(4))
    cuts = talk(20, 28)
    between = unit(voice(0) * 0.2 + voice(2) + voice(4) * 0.2)
    for place, cut in enumerate(cuts):
        vector = voice(0) if place < 6 else between if place < 8 else voice(4)
        tested.observe(cut, vector if cut.open else None)
    assert len(tested.voices) == 2


def test_a_change_within_a_stretch_is_dated_back() -> None:
    tested = tracker()
    hear(tested, 0, 4, voice(0))
    hear(tested, 6, 10, voice(4))
    changes = []
    for place, cut in enumerate(talk(20, 28)):
        decision = tested.observe(cut, (voice(0) if place < 8 else voice(4)) if cut.open else None)
        if decision.changed_at is not None:
            changes.append((cut.end_sample, decision.changed_at))
    assert [(end, end - 16_000) for end, _ in changes] == changes
    assert len(changes) == 1


def test_the_same_person_in_another_mood_is_not_a_new_one() -> None:
    tested = tracker()
    hear(tested, 0, 4, voice(0))
    moody = blend(voice(0) * 0.45 + voice(6) * 0.9)  # a cosine of 0.45: below the threshold, within `novelty`
    decisions = hear(tested, 6, 12, moody)
    assert names(decisions) == ["S1"]
    assert decisions[2].state == "tentative", "it is waited for more evidence first"


def test_a_doubtful_match_teaches_nothing() -> None:
    tested = tracker()
    hear(tested, 0, 4, voice(0))
    before = tested.voices[0].centroid.copy()
    hear(tested, 6, 12, blend(voice(0) * 0.47 + voice(6) * 0.88))  # near enough only for who speaks already
    assert np.array_equal(tested.voices[0].centroid, before)


def test_between_two_like_voices_whoever_speaks_is_kept() -> None:
    tested = tracker()
    hear(tested, 0, 4, voice(0))
    hear(tested, 6, 10, voice(4))
    cuts = talk(20, 24)
    tested.observe(cuts[0], None)
    tested.observe(cuts[1], voice(4))
    decision = tested.observe(cuts[2], unit(voice(0) + voice(4)))
    assert decision.voice is not None
    assert decision.voice.name == "S2"


def test_an_enrolled_voice_is_named_and_never_changes() -> None:
    alice = Voice(name="Alice", exemplars=[voice(0), voice(0, lean=0.3)], enrolled=True)
    tested = tracker(alice)
    before = alice.centroid.copy()
    assert names(hear(tested, 0, 6, voice(0, lean=0.6))) == ["Alice"]
    assert np.array_equal(alice.centroid, before)
    assert names(hear(tested, 8, 12, voice(4))) == ["S1"]


def test_beyond_the_cap_strangers_are_unknown() -> None:
    tested = tracker(max_speakers=1)
    hear(tested, 0, 4, voice(0))
    assert hear(tested, 6, 10, voice(4))[-2].state == "unknown"
    assert len(tested.voices) == 1


def test_a_dropped_window_keeps_who_was_speaking() -> None:
    tested = tracker()
    cuts = talk(0, 4)
    for cut in cuts[:5]:
        tested.observe(cut, voice(0) if cut.open else None)
    assert tested.observe(cuts[5], None).reason == "held"


def test_a_voice_follows_slowly_and_its_weight_is_capped() -> None:
    learner = Voice(name="S1", exemplars=[voice(0)], enrolled=False, evidence_s=2.0)
    for _ in range(100):
        learner.update(voice(2), 2.0)
        assert learner.evidence_s <= CAP_S
    assert learner.similarity(voice(2)) > 0.9
    assert np.linalg.norm(learner.centroid) == np.float32(1.0) or abs(np.linalg.norm(learner.centroid) - 1) < 1e-5


def test_the_models_threshold_is_made_stricter_and_a_given_one_is_not() -> None:
    assert SpeakerTracker(settings=SpeakersSettings(strictness=0.5), threshold=0.8).threshold == 0.9
    assert SpeakerTracker(settings=SpeakersSettings(threshold=0.7), threshold=0.8).threshold == 0.7
