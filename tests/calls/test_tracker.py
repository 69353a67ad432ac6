"""Call tracker: independent of which track is processed first, and published at every update."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.calls.floor import PARTIES
from stream.calls.tracker import MAX_TRACK_LAG_SAMPLES, CallTracker
from stream.clock import samples, seconds
from stream.events import AlertBody, Body, CallBody, EmotionBody, Party
from stream.settings import Settings
from stream.types import SpeechSegment

SECOND = 16_000
places = st.lists(st.integers(0, 10 * 31), max_size=12, unique=True).map(sorted)  # frames of 32 ms, ten seconds


def segments(at: list[int]) -> list[SpeechSegment]:
    """Return segments between every other pair of places."""
    return [SpeechSegment(start * 512, end * 512) for start, end in list(pairwise(at))[::2]]


def emotion_body(end_s: float, angry: float, arousal: float | None = None) -> EmotionBody:
    probabilities = {"neutral": 1 - angry, "angry": angry}
    label = max(probabilities, key=lambda name: probabilities[name])
    return EmotionBody(
        start_s=max(0.0, end_s - 3),
        end_s=end_s,
        label=label,
        since_s=end_s,
        confidence=probabilities[label],
        probabilities=probabilities,
        raw=probabilities,
        arousal=arousal,
        arousal_trend=None if arousal is None else 0.1,
        speech_ms=1_000,
        speaker="customer",
    )


def tracker(**changed: dict[str, float]) -> CallTracker:
    made = CallTracker(settings=Settings.model_validate(changed))
    for party in PARTIES:
        made.join(party)
    return made


def within(spans: list[SpeechSegment], start: int, end: int) -> list[SpeechSegment]:
    return [
        SpeechSegment(max(span.start_sample, start), min(span.end_sample, end))
        for span in spans
        if span.start_sample < end and span.end_sample > start
    ]


def run(tracks: dict[Party, list[SpeechSegment]], end: int, *, seed: int | None = None) -> list[Body]:
    """Add both tracks in small pieces, alternating or as drawn from the seed."""
    tested, bodies = tracker(), list[Body]()
    chance = random.Random(seed)
    settled = dict.fromkeys(PARTIES, 0)
    while any(at < end for at in settled.values()):
        party = chance.choice(PARTIES) if seed is not None else min(PARTIES, key=lambda one: settled[one])
        start = settled[party]
        upto = min(end, start + (chance.randint(1, 3 * SECOND) if seed is not None else 4_096))
        for second in range(start // SECOND + 1, upto // SECOND + 1):
            tested.add_emotion(party, emotion_body(second, angry=(second % 7) / 7))
        bodies += tested.add_speech(party, within(tracks[party], start, upto), upto)
        settled[party] = upto
    for party in PARTIES:
        bodies += tested.leave(party)
    return bodies


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(customer=places, agent=places, seed=st.integers(0, 99))
def test_times_add_up_and_do_not_depend_on_the_order_of_tracks(
    customer: list[int], agent: list[int], seed: int
) -> None:
    tracks: dict[Party, list[SpeechSegment]] = {"customer": segments(customer), "agent": segments(agent)}
    end = max([spans[-1].end_sample for spans in tracks.values() if spans] + [SECOND]) + 777
    bodies = run(tracks, end)
    assert bodies == run(tracks, end, seed=seed)
    for body in bodies:
        if isinstance(body, CallBody):
            parts = body.customer_s + body.agent_s + body.silence_s + body.crosstalk_s
            assert parts == pytest.approx(body.end_s, abs=3e-6)
    final = bodies[-1]
    assert isinstance(final, CallBody)
    assert (final.phase, final.end_s) == ("final", seconds(end))
    by_hand = {party: sum(span.end_sample - span.start_sample for span in spans) for party, spans in tracks.items()}
    assert {row.party: row.talk_s for row in final.parties} == {party: seconds(by) for party, by in by_hand.items()}
    if any(by_hand.values()):
        assert sum(row.talk_share for row in final.parties) == pytest.approx(1, abs=1e-3)


def test_figures_are_published_every_second_and_once_at_the_end() -> None:
    bodies = run({"customer": [SpeechSegment(0, 2 * SECOND)], "agent": []}, 5 * SECOND + 100)
    calls = [body for body in bodies if isinstance(body, CallBody)]
    assert [(call.phase, call.end_s) for call in calls] == [
        *(("live", float(second)) for second in range(1, 6)),
        ("final", 5.00625),
    ]


@pytest.mark.parametrize(("arousal", "raised"), [(None, 1), (0.9, 1), (0.3, 0)])
def test_anger_needs_arousal_where_the_model_gives_it(arousal: float | None, raised: int) -> None:
    tested, bodies = tracker(alerts={"anger_s": 3.0}), list[Body]()
    for second in range(1, 11):
        tested.add_emotion("customer", emotion_body(second, 0.9, arousal))
        bodies += tested.add_speech(
            "customer", [SpeechSegment((second - 1) * SECOND, second * SECOND)], second * SECOND
        )
        bodies += tested.add_speech("agent", [], second * SECOND)
    assert sum(isinstance(body, AlertBody) and body.kind == "anger" for body in bodies) == raised
    newest = [body for body in bodies if isinstance(body, CallBody)][-1].parties[0].emotion
    assert newest is not None
    assert newest.arousal == arousal


def test_sustained_anger_raises_ends_and_counts_an_alert() -> None:
    tested, bodies = tracker(alerts={"anger_s": 3.0}), list[Body]()
    for second in range(1, 31):
        angry = 0.9 if 5 < second <= 15 else 0.1
        tested.add_emotion("customer", emotion_body(second, angry))
        span = [SpeechSegment((second - 1) * SECOND, second * SECOND)]
        bodies += tested.add_speech("agent", [], second * SECOND)
        bodies += tested.add_speech("customer", span, second * SECOND)
    alerts = [body for body in bodies if isinstance(body, AlertBody)]
    assert [(one.phase, one.kind, one.speaker, one.end_s) for one in alerts] == [
        ("start", "anger", "customer", 8.0),
        ("end", "anger", "customer", 18.0),
    ]
    call = next(body for body in reversed(bodies) if isinstance(body, CallBody))
    customer, agent = call.parties
    assert agent.emotion is None
    assert customer.emotion is not None
    assert customer.emotion.angry_s == 10.0
    assert customer.emotion.shares == {
        "neutral": pytest.approx(2 / 3, abs=1e-4),
        "angry": pytest.approx(1 / 3, abs=1e-4),
    }
    trends = {body.end_s: body.parties[0].emotion for body in bodies if isinstance(body, CallBody)}
    assert trends[6.0] is not None
    assert trends[6.0].trend > 0
    assert trends[16.0] is not None
    assert trends[16.0].trend < 0
    assert call.alerts_raised == {"anger": 1}


def test_silence_keeps_the_last_emotion() -> None:
    """`silence` is no emotion: the last label stays, and its time counts for none."""
    tested = tracker()
    tested.add_emotion("customer", emotion_body(1, 0.9))
    tested.add_emotion("customer", emotion_body(2, 0.9).model_copy(update={"label": "silence", "probabilities": {}}))
    tested.add_speech("agent", [], 3 * SECOND)
    call = tested.add_speech("customer", [SpeechSegment(0, 2 * SECOND)], 3 * SECOND)[-1]
    assert isinstance(call, CallBody)
    emotion = call.parties[0].emotion
    assert emotion is not None
    assert (emotion.label, emotion.angry_s) == ("angry", 1.0)


def test_dead_air_crosstalk_and_monologue_raise_alerts_that_end_at_the_end_of_the_call() -> None:
    alert_settings = {"alerts": {"dead_air_s": 4.0, "monologue_s": 6.0, "crosstalk_window_s": 5.0}}
    tested, bodies = tracker(**alert_settings), list[Body]()
    bodies += tested.add_speech("agent", [SpeechSegment(0, 8 * SECOND)], 20 * SECOND)
    bodies += tested.add_speech("customer", [SpeechSegment(7 * SECOND, 9 * SECOND)], 20 * SECOND)
    for party in PARTIES:
        bodies += tested.leave(party)
    alerts = [(one.phase, one.kind, one.speaker, one.end_s) for one in bodies if isinstance(one, AlertBody)]
    assert alerts == [
        ("start", "monologue", "agent", 6.0),
        ("start", "crosstalk", None, 8.0),
        ("end", "monologue", "agent", 11.0),
        ("start", "dead_air", None, 13.0),
        ("end", "crosstalk", None, 15.0),
        ("end", "dead_air", None, 20.0),
    ]
    assert isinstance(bodies[-1], CallBody)
    assert not bodies[-1].alerts
    assert bodies[-1].alerts_raised == {"monologue": 1, "crosstalk": 1, "dead_air": 1}


def test_a_party_that_joins_later_was_silent_before() -> None:
    tested = CallTracker(settings=Settings())
    tested.join("customer")
    tested.add_speech("customer", [SpeechSegment(0, 2 * SECOND)], 2 * SECOND)
    tested.join("agent")
    tested.add_speech("agent", [SpeechSegment(2 * SECOND, 4 * SECOND)], 4 * SECOND)
    bodies = tested.add_speech("customer", [], 4 * SECOND)
    final = bodies + tested.leave("customer") + tested.leave("agent")
    assert isinstance(final[-1], CallBody)
    assert (final[-1].customer_s, final[-1].agent_s, final[-1].end_s) == (2.0, 2.0, 4.0)


def test_a_party_that_leaves_first_is_silent_afterwards() -> None:
    tested = tracker()
    tested.add_speech("customer", [SpeechSegment(0, SECOND)], SECOND)
    assert not any(isinstance(body, CallBody) and body.phase == "final" for body in tested.leave("customer"))
    tested.add_speech("agent", [SpeechSegment(SECOND, 3 * SECOND)], 3 * SECOND)
    final = tested.leave("agent")[-1]
    assert isinstance(final, CallBody)
    assert (final.customer_s, final.agent_s, final.end_s) == (1.0, 2.0, 3.0)


def test_a_track_without_news_does_not_hold_up_the_other() -> None:
    tested = tracker()
    bodies = tested.add_speech("customer", [], MAX_TRACK_LAG_SAMPLES + 10 * SECOND)
    assert samples(bodies[-1].end_s) == 10 * SECOND
