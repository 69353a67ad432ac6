"""Who is speaking: known again, told apart, and not invented."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.settings import SpeakersSettings
from stream.tracking.calibration import Calibration
from stream.tracking.decision import Decision
from stream.tracking.scoring import Cohort, Scorer
from stream.tracking.speakers import RECALLED, ROOM_NATS, SpeakerTracker
from stream.tracking.voice import CAP_S, Vector, Voice, unit
from tests.tracking.speech import talk, voice


def tracker(*enrolled: Voice, **options: float) -> SpeakerTracker:
    settings = SpeakersSettings.model_validate({"log_odds_penalty": 0.0, "enrolled_penalty": 0.0, "new_voice_penalty": 0.0, **options})
    scorer = Scorer(calibration=Calibration(ROOM_NATS / 0.5, 0.5))
    return SpeakerTracker(settings=settings, scorer=scorer, enrolled=enrolled)


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
    cuts = talk(6, 8)
    first = tested.observe(cuts[0], None)  # too short to be a window
    assert (first.state, first.reason) == ("tentative", "too_short")
    second = tested.observe(cuts[1], voice(0))
    assert (second.state, second.reason) == ("confirmed", "matched")
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
    moody = blend(voice(0) * 0.5 + voice(6) * 0.86)  # even odds, but whoever spoke last may go on
    assert names(hear(tested, 4.5, 8, moody)) == ["S1"]
    assert len(tested.voices) == 1


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


def test_at_the_cap_the_voice_least_heard_for_its_silence_is_forgotten() -> None:
    tested = tracker(max_speakers=2, forget_s=60)
    hear(tested, 0, 20, voice(0))
    hear(tested, 22, 26, voice(2))
    assert names(hear(tested, 100, 104, voice(4))) == ["S3"], "the second one was heard for 4 s, the first for 20"
    assert [known.name for known in tested.voices] == ["S1", "S3"]
    assert names(hear(tested, 110, 114, voice(0))) == ["S1"]
    assert names(hear(tested, 200, 204, voice(2))) == ["S4"], "a name is never given again"


def test_a_voice_heard_for_next_to_nothing_is_forgotten() -> None:
    tested = tracker(forget_s=60)
    hear(tested, 0, 10, voice(0))
    hear(tested, 20, 21.5, voice(4))
    assert [known.name for known in tested.voices] == ["S1", "S2"]
    hear(tested, 70, 74, voice(0))
    assert [known.name for known in tested.voices] == ["S1", "S2"], "not yet"
    hear(tested, 90, 94, voice(0))
    assert [known.name for known in tested.voices] == ["S1"]
    assert names(hear(tested, 100, 104, voice(4))) == ["S3"]


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_stream_of_a_day_takes_no_more_memory_than_one_of_an_hour(seed: int) -> None:
    """A thousand turns of people who come and go: all that is kept is bounded, ids are permanent, names stay right."""
    draw = np.random.default_rng(seed)
    alice = Voice(name="Alice", exemplars=[voice(0)], enrolled=True, evidence_s=10.0)
    tested = tracker(alice, max_speakers=3, forget_s=300)
    now_s, met, gone = 0.0, set[str](), set[str]()
    for _ in range(1_000):
        now_s += float(draw.exponential(80.0)) + 0.5
        length_s = float(draw.uniform(0.3, 5.0))
        vector = blend(unit(draw.normal(size=8).astype(np.float32)))
        for decision in hear(tested, now_s, now_s + length_s, vector):
            assert (decision.voice is not None) == (decision.state == "confirmed")
        now_s += length_s
        known = {one.name for one in tested.voices}
        assert not known & gone, "a name that was given up never comes back"
        gone |= met - known
        met |= known
        assert len(tested.voices) <= 4
        assert len(tested._since) <= 3
        assert len(tested._belief) == len(tested.voices) + 1
        assert abs(float(np.exp(tested._belief).sum()) - 1) < 0.1
        assert len(tested._windows) <= RECALLED
        tested.resolved()
    assert len(met) > 20, "many came by"
    assert "Alice" in known


def test_short_turns_take_over_no_name_and_teach_nothing() -> None:
    tested = tracker()
    hear(tested, 0, 6, voice(0))
    before = tested.voices[0].centroid.copy()
    for turn in range(20):
        decisions = hear(tested, 10 + 2 * turn, 10.4 + 2 * turn, voice(4))
        assert all(decision.voice is None for decision in decisions)
    assert len(tested.voices) == 1
    assert np.array_equal(tested.voices[0].centroid, before)


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


def test_strictness_and_caution_keep_doubtful_windows_from_a_name() -> None:
    near = blend(voice(0) * 0.62 + voice(6) * 0.78)
    alice = Voice(name="Alice", exemplars=[voice(0)], enrolled=True, evidence_s=10.0)
    assert names(hear(tracker(alice), 0, 3, near)) == ["Alice"]
    assert "Alice" not in names(hear(tracker(alice, enrolled_penalty=4.0), 0, 3, near))
    assert "Alice" not in names(hear(tracker(alice, log_odds_penalty=4.0), 0, 3, near))


def test_a_stranger_among_known_people_has_no_name_before_he_is_a_voice() -> None:
    alice = Voice(name="Alice", exemplars=[voice(0)], enrolled=True, evidence_s=10.0)
    decisions = hear(tracker(alice), 0, 5, voice(4))
    early = decisions[: [decision.state for decision in decisions].index("confirmed")]
    assert [decision.reason for decision in early] == ["below_threshold"] * 2
    assert all(decision.state == "tentative" and not decision.settled for decision in early)
    assert early[-1].stranger, "if nothing else turns out, the speech is not that of whoever spoke before"
    assert early[-1].best == "Alice"


def test_where_nobody_is_enrolled_it_is_said_so() -> None:
    assert hear(tracker(), 0, 5, voice(4))[1].reason == "no_profiles"


def test_a_stranger_who_cannot_be_a_voice_yet_is_unknown() -> None:
    tested = tracker()
    hear(tested, 0, 4, voice(0))
    decisions = [tested.observe(cut, voice(0 if cut.end_sample < 24 * 16_000 else 4)) for cut in talk(20, 26)[1:-1]]
    told = [decision for decision in decisions if decision.state == "unknown"]
    assert told, "a window across the change may hold both"
    assert all(decision.voice is None and decision.stranger and not decision.settled for decision in told)


def test_two_voices_that_grow_alike_are_merged_and_it_is_told() -> None:
    tested = tracker(merge=0.6)
    hear(tested, 0, 6, voice(0))
    hear(tested, 20, 26, voice(0, lean=2.5))  # a cosine of 0.37: another voice at first
    assert [known.name for known in tested.voices] == ["S1", "S2"]
    found, changes = [], []
    for turn in range(14):  # the second one's centroid moves towards the first
        decisions = hear(tested, 40 + 20 * turn, 46 + 20 * turn, voice(0, lean=2.5 - 0.17 * turn))
        changes += [decision.changed_at for decision in decisions if decision.changed_at is not None]
        found += tested.resolved()
    assert [(one.was, one.voice.name) for one in found] == [("S2", "S1")]
    assert found[0].since_sample == 20 * 16_000
    assert [known.name for known in tested.voices] == ["S1"]
    assert tested.resolved() == []
    assert changes == [], "one person went on speaking: nobody took over"


def test_a_cohort_takes_out_what_all_voices_of_a_room_share() -> None:
    room = np.zeros(8, np.float32)
    room[7] = 1.0
    draw = np.random.default_rng(1)
    strangers = np.stack([blend(unit(draw.normal(size=8).astype(np.float32)) + room) for _ in range(60)])
    scorer = Scorer(calibration=Calibration(1.0, 0.0), cohort=Cohort(strangers))
    one = Voice(name="one", exemplars=[blend(voice(0) + room)], enrolled=True, evidence_s=10.0)
    same, other = blend(voice(0) + 1.1 * room), blend(voice(4) + room)
    assert one.similarity(other) > 0.45, "in one room two people sound alike"
    assert scorer.scores(same, [one])[0] > 0 > scorer.scores(other, [one])[0]


def test_little_speech_counts_less() -> None:
    calibration = Calibration(16.0, 0.5, 0.5)
    odds = [float(calibration.log_odds(np.array([0.6]), speech_s=s, profile_s=np.array([10.0]))[0]) for s in (0.5, 2.0)]
    likely = calibration.score_at_even_odds(speech_s=0.5, profile_s=10.0)
    assert likely < calibration.score_at_even_odds(speech_s=5.0, profile_s=10.0) < 0.5
    assert odds[0] > 0
    assert odds[1] > 0


def enrolled(name: str, number: int) -> Voice:
    return Voice(name=name, exemplars=[voice(number)], enrolled=True, evidence_s=10.0)


def test_a_voice_met_becomes_somebody_without_a_break() -> None:
    tested = tracker()
    hear(tested, 0, 6, voice(0))
    met = tested.met(None)
    assert met is not None
    assert met is tested.met("S1")
    assert sum(speech_s for _, speech_s in met.recent) >= 4.0
    tested.know([enrolled("Alice", 0)], met="S1", name="Alice")
    (resolved,) = tested.resolved()
    assert (resolved.was, resolved.voice.name, resolved.since_sample, resolved.probability) == ("S1", "Alice", 0, 1.0)
    assert tested.met(None) is resolved.voice, "whoever speaks goes on under the name"
    assert names(hear(tested, 7, 10, voice(0))) == ["Alice"]
    assert names(hear(tested, 12, 16, voice(2))) == ["S2"], "S1 is never given again"


def test_people_come_and_go_while_others_stay_who_they_are() -> None:
    tested = tracker(enrolled("Alice", 0))
    hear(tested, 0, 4, voice(0))
    hear(tested, 6, 10, voice(2))
    tested.know([enrolled("Bob", 4)])
    assert [known.name for known in tested.voices] == ["Bob", "S1"]
    assert names(hear(tested, 12, 16, voice(2))) == ["S1"]
    assert names(hear(tested, 18, 22, voice(4))) == ["Bob"]
    assert names(hear(tested, 24, 28, voice(0))) == ["S2"], "Alice is not known any more"
    tested.know([])
    assert [known.name for known in tested.voices] == ["S1", "S2"]
    assert tested.resolved() == []
