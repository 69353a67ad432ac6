"""Speaker tracker: voices are recognised again, kept apart, and not invented."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.clock import samples
from stream.settings import SpeakersSettings
from stream.tracking.activity import Foreground, TrackRun
from stream.tracking.calibration import Calibration
from stream.tracking.decision import Decision
from stream.tracking.scoring import UNCALIBRATED_GAIN_NATS, Scorer
from stream.tracking.speakers import MAX_RECALLED_WINDOWS, SpeakerTracker
from stream.tracking.voice import MAX_EVIDENCE_S, Vector, Voice, unit
from tests.tracking.speech import speech_spans, voice


def tracker(*enrolled: Voice, **options: float) -> SpeakerTracker:
    settings = SpeakersSettings.model_validate(
        {"log_odds_penalty": 0.0, "enrolled_penalty": 0.0, "new_voice_penalty": 0.0, **options}
    )
    scorer = Scorer(calibration=Calibration(UNCALIBRATED_GAIN_NATS / 0.5, 0.5))
    return SpeakerTracker(settings=settings, scorer=scorer, enrolled=enrolled)


def run(tested: SpeakerTracker, start_s: float, end_s: float, vector: np.ndarray) -> list[Decision]:
    return [tested.observe(span, vector if span.passes_gate else None) for span in speech_spans(start_s, end_s)]


def blend(vector: np.ndarray) -> Vector:
    return unit(vector.astype(np.float32))


def names(decisions: list[Decision]) -> list[str]:
    return list(dict.fromkeys(decision.voice.name for decision in decisions if decision.voice is not None))


def test_two_speakers_in_turns_are_two_voices() -> None:
    tested = tracker()
    found = [names(run(tested, 5 * turn, 5 * turn + 4, voice(2 * (turn % 2)))) for turn in range(6)]
    assert found == [["S1"], ["S2"]] * 3
    assert [known.name for known in tested.voices] == ["S1", "S2"]


def test_too_little_speech_is_tentative_then_confirmed() -> None:
    tested = tracker()
    run(tested, 0, 4, voice(0))
    spans = speech_spans(6, 8)
    first = tested.observe(spans[0], None)  # too short for a window
    assert (first.state, first.reason) == ("tentative", "too_short")
    second = tested.observe(spans[1], voice(0))
    assert (second.state, second.reason) == ("confirmed", "matched")
    assert run(tested, 12, 12.3, voice(0))[0].state == "tentative", "a short word neither creates nor confirms a voice"


def test_one_voice_under_two_names_is_called_too_alike() -> None:
    twice = [Voice(name=name, exemplars=[voice(0)], enrolled=True, evidence_s=9.0) for name in ("Alice", "Alice2")]
    decisions = run(tracker(*twice), 0, 4, voice(0))
    assert names(decisions) == []
    assert {decision.reason for decision in decisions[4:]} - {"silence"} == {"too_alike"}
    assert {decisions[6].best, decisions[6].runner_up} == {"Alice", "Alice2"}


def test_evidence_is_counted_once() -> None:
    decisions = run(tracker(), 0, 6, voice(0))
    assert max(decision.evidence_s for decision in decisions) == 6.0


def test_a_window_across_two_voices_creates_no_voice() -> None:
    tested = tracker()
    run(tested, 0, 4, voice(0))
    run(tested, 6, 10, voice(4))
    spans = speech_spans(20, 28)
    between = unit(voice(0) * 0.2 + voice(2) + voice(4) * 0.2)
    for place, span in enumerate(spans):
        vector = voice(0) if place < 6 else between if place < 8 else voice(4)
        tested.observe(span, vector if span.passes_gate else None)
    assert len(tested.voices) == 2


def test_a_speaker_change_within_a_segment_is_dated_back() -> None:
    tested = tracker()
    run(tested, 0, 4, voice(0))
    run(tested, 6, 10, voice(4))
    changes = []
    for place, span in enumerate(speech_spans(20, 28)):
        decision = tested.observe(span, (voice(0) if place < 8 else voice(4)) if span.passes_gate else None)
        if decision.changed_at is not None:
            changes.append((span.end_sample, decision.changed_at))
    assert [(end, end - 16_000) for end, _ in changes] == changes
    assert len(changes) == 1


def test_a_speaker_in_another_emotion_is_no_new_voice() -> None:
    tested = tracker()
    run(tested, 0, 4, voice(0))
    emotional = blend(voice(0) * 0.5 + voice(6) * 0.86)  # even odds, but the last speaker is likelier to continue
    assert names(run(tested, 4.5, 8, emotional)) == ["S1"]
    assert len(tested.voices) == 1


def test_an_uncertain_match_updates_no_voice() -> None:
    tested = tracker()
    run(tested, 0, 4, voice(0))
    before = tested.voices[0].centroid.copy()
    run(tested, 6, 12, blend(voice(0) * 0.47 + voice(6) * 0.88))  # near enough only for the current speaker
    assert np.array_equal(tested.voices[0].centroid, before)


def test_between_two_equal_voices_the_current_speaker_is_kept() -> None:
    tested = tracker()
    run(tested, 0, 4, voice(0))
    run(tested, 6, 10, voice(4))
    spans = speech_spans(20, 24)
    tested.observe(spans[0], None)
    tested.observe(spans[1], voice(4))
    decision = tested.observe(spans[2], unit(voice(0) + voice(4)))
    assert decision.voice is not None
    assert decision.voice.name == "S2"


def test_an_enrolled_voice_is_recognised_and_never_changes() -> None:
    alice = Voice(name="Alice", exemplars=[voice(0), voice(0, lean=0.3)], enrolled=True)
    tested = tracker(alice)
    before = alice.centroid.copy()
    assert names(run(tested, 0, 6, voice(0, lean=0.6))) == ["Alice"]
    assert np.array_equal(alice.centroid, before)
    assert names(run(tested, 8, 12, voice(4))) == ["S1"]


def test_beyond_max_speakers_new_speakers_are_unknown() -> None:
    tested = tracker(max_speakers=1)
    run(tested, 0, 4, voice(0))
    assert run(tested, 6, 10, voice(4))[-2].state == "unknown"
    assert len(tested.voices) == 1


def test_at_max_speakers_the_voice_with_least_evidence_for_its_silence_is_forgotten() -> None:
    tested = tracker(max_speakers=2, forget_s=60)
    run(tested, 0, 20, voice(0))
    run(tested, 22, 26, voice(2))
    assert names(run(tested, 100, 104, voice(4))) == ["S3"], "the second voice has 4 s of evidence, the first 20 s"
    assert [known.name for known in tested.voices] == ["S1", "S3"]
    assert names(run(tested, 110, 114, voice(0))) == ["S1"]
    assert names(run(tested, 200, 204, voice(2))) == ["S4"], "a name is not used again"


def test_a_voice_with_little_evidence_is_forgotten() -> None:
    tested = tracker(forget_s=60)
    run(tested, 0, 10, voice(0))
    run(tested, 20, 21.5, voice(4))
    assert [known.name for known in tested.voices] == ["S1", "S2"]
    run(tested, 70, 74, voice(0))
    assert [known.name for known in tested.voices] == ["S1", "S2"], "not yet"
    run(tested, 90, 94, voice(0))
    assert [known.name for known in tested.voices] == ["S1"]
    assert names(run(tested, 100, 104, voice(4))) == ["S3"]


@pytest.mark.long
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_memory_is_bounded_in_a_long_stream(seed: int) -> None:
    """Over a thousand turns of changing speakers all state is bounded and names are never reused."""
    draw = np.random.default_rng(seed)
    alice = Voice(name="Alice", exemplars=[voice(0)], enrolled=True, evidence_s=10.0)
    tested = tracker(alice, max_speakers=3, forget_s=300)
    now_s, discovered, gone = 0.0, set[str](), set[str]()
    for _ in range(1_000):
        now_s += float(draw.exponential(80.0)) + 0.5
        length_s = float(draw.uniform(0.3, 5.0))
        vector = blend(unit(draw.normal(size=8).astype(np.float32)))
        for decision in run(tested, now_s, now_s + length_s, vector):
            assert (decision.voice is not None) == (decision.state == "confirmed")
        now_s += length_s
        known = {one.name for one in tested.voices}
        assert not known & gone, "a forgotten name is not used again"
        gone |= discovered - known
        discovered |= known
        assert len(tested.voices) <= 4
        assert len(tested._voices._since) <= 3
        assert len(tested._belief.probabilities) == len(tested.voices) + 1
        assert abs(float(tested._belief.probabilities.sum()) - 1) < 0.1
        assert len(tested._windows) <= MAX_RECALLED_WINDOWS
        tested.take_corrections()
    assert len(discovered) > 20, "many voices were discovered"
    assert "Alice" in known


def test_short_turns_get_no_name_and_update_no_voice() -> None:
    tested = tracker()
    run(tested, 0, 6, voice(0))
    before = tested.voices[0].centroid.copy()
    for turn in range(20):
        decisions = run(tested, 10 + 2 * turn, 10.4 + 2 * turn, voice(4))
        assert all(decision.voice is None for decision in decisions)
    assert len(tested.voices) == 1
    assert np.array_equal(tested.voices[0].centroid, before)


def test_a_dropped_window_keeps_the_speaker() -> None:
    tested = tracker()
    spans = speech_spans(0, 4)
    for span in spans[:5]:
        tested.observe(span, voice(0) if span.passes_gate else None)
    assert tested.observe(spans[5], None).reason == "held"


def test_a_voice_follows_slowly_and_its_weight_is_bounded() -> None:
    learner = Voice(name="S1", exemplars=[voice(0)], enrolled=False, evidence_s=2.0)
    for _ in range(100):
        learner.update(voice(2), 2.0)
        assert learner.evidence_s <= MAX_EVIDENCE_S
    assert learner.similarity(voice(2)) > 0.9
    assert np.linalg.norm(learner.centroid) == np.float32(1.0) or abs(np.linalg.norm(learner.centroid) - 1) < 1e-5


def test_penalties_keep_uncertain_windows_from_a_name() -> None:
    near = blend(voice(0) * 0.62 + voice(6) * 0.78)
    alice = Voice(name="Alice", exemplars=[voice(0)], enrolled=True, evidence_s=10.0)
    assert names(run(tracker(alice), 0, 3, near)) == ["Alice"]
    assert "Alice" not in names(run(tracker(alice, enrolled_penalty=4.0), 0, 3, near))
    assert "Alice" not in names(run(tracker(alice, log_odds_penalty=4.0), 0, 3, near))


def test_a_new_speaker_among_enrolled_ones_is_tentative_before_the_voice_is_created() -> None:
    alice = Voice(name="Alice", exemplars=[voice(0)], enrolled=True, evidence_s=10.0)
    decisions = run(tracker(alice), 0, 5, voice(4))
    early = decisions[: [decision.state for decision in decisions].index("confirmed")]
    assert [decision.reason for decision in early] == ["below_threshold"] * 2
    assert all(decision.state == "tentative" and not decision.settled for decision in early)
    assert early[-1].likely_unknown, "without a later decision the speech is not that of the speaker before"
    assert early[-1].best == "Alice"


def test_without_enrolled_voices_the_reason_is_no_profiles() -> None:
    assert run(tracker(), 0, 5, voice(4))[1].reason == "no_profiles"


def test_a_new_speaker_whose_voice_is_not_created_yet_is_tentative() -> None:
    tested = tracker()
    run(tested, 0, 4, voice(0))
    decisions = [
        tested.observe(span, voice(0 if span.end_sample < 24 * 16_000 else 4)) for span in speech_spans(20, 26)[1:-1]
    ]
    found = [decision for decision in decisions if decision.state == "tentative" and decision.likely_unknown]
    assert found, "a window across the change may hold both voices"
    assert all(decision.voice is None and decision.likely_unknown and not decision.settled for decision in found)


def test_speech_near_an_enrolled_voice_gets_neither_its_name_nor_a_voice_of_its_own() -> None:
    alice = Voice(name="Alice", exemplars=[voice(0)], enrolled=True, evidence_s=9.0)
    tested = tracker(alice, enrolled_penalty=5.0, create_below=0.12)
    decisions = run(tested, 0, 6, voice(0, lean=1.9))  # cosine 0.47: likelier somebody else, but not surely so
    assert {decision.state for decision in decisions if decision.likely_unknown} == {"tentative"}
    assert [known.name for known in tested.voices] == ["Alice"]
    run(tested, 10, 16, voice(0, lean=3.0))
    assert [known.name for known in tested.voices] == ["Alice", "S1"]


def test_two_voices_that_become_alike_are_merged_and_corrected() -> None:
    tested = tracker(merge=0.6)
    run(tested, 0, 6, voice(0))
    run(tested, 20, 26, voice(0, lean=2.5))  # cosine 0.37: another voice at first
    assert [known.name for known in tested.voices] == ["S1", "S2"]
    found, changes = [], []
    for turn in range(14):  # the second centroid moves towards the first
        decisions = run(tested, 40 + 20 * turn, 46 + 20 * turn, voice(0, lean=2.5 - 0.17 * turn))
        changes += [decision.changed_at for decision in decisions if decision.changed_at is not None]
        found += tested.take_corrections()
    assert [(one.previous, one.voice.name) for one in found] == [("S2", "S1")]
    assert found[0].since_sample == 20 * 16_000
    assert [known.name for known in tested.voices] == ["S1"]
    assert tested.take_corrections() == []
    assert changes == [], "the same person continues: no speaker change"


def enrolled(name: str, number: int) -> Voice:
    return Voice(name=name, exemplars=[voice(number)], enrolled=True, evidence_s=10.0)


def test_a_session_voice_is_enrolled_while_it_speaks() -> None:
    tested = tracker()
    run(tested, 0, 6, voice(0))
    discovered = tested.session_voice(None)
    assert discovered is not None
    assert discovered is tested.session_voice("S1")
    assert sum(speech_s for _, speech_s in discovered.recent) >= 4.0
    tested.set_enrolled([enrolled("Alice", 0)], session_voice="S1", name="Alice")
    (correction,) = tested.take_corrections()
    assert (correction.previous, correction.voice.name, correction.since_sample, correction.probability) == (
        "S1",
        "Alice",
        0,
        1.0,
    )
    assert tested.session_voice(None) is correction.voice, "the current speaker continues under the new name"
    assert names(run(tested, 7, 10, voice(0))) == ["Alice"]
    assert names(run(tested, 12, 16, voice(2))) == ["S2"], "S1 is not used again"


def test_enrolled_voices_change_while_session_voices_stay() -> None:
    tested = tracker(enrolled("Alice", 0))
    run(tested, 0, 4, voice(0))
    run(tested, 6, 10, voice(2))
    tested.set_enrolled([enrolled("Bob", 4)])
    assert [known.name for known in tested.voices] == ["Bob", "S1"]
    assert names(run(tested, 12, 16, voice(2))) == ["S1"]
    assert names(run(tested, 18, 22, voice(4))) == ["Bob"]
    assert names(run(tested, 24, 28, voice(0))) == ["S2"], "Alice is not enrolled any more"
    tested.set_enrolled([])
    assert [known.name for known in tested.voices] == ["S1", "S2"]
    assert tested.take_corrections() == []


def test_a_track_in_the_background_has_a_name_until_it_pauses() -> None:
    tested = tracker()
    for span in speech_spans(0, 4):
        tested.observe(span, voice(0) if span.passes_gate else None, Foreground(track=1))
    other = Foreground(track=2, others=(TrackRun(1, 0, samples(4), samples(4), 0),))
    for span in speech_spans(4.5, 6):
        tested.observe(span, voice(2) if span.passes_gate else None, other)
    voice_of, _ = tested.voice_of(1, samples(4.2))
    assert voice_of is not None
    assert voice_of.name == "S1"
    assert tested.voice_of(1, samples(6)) == (None, None), "similar voices share a track at times"
