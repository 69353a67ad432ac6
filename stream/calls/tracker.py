"""A call: two tracks told of separately become one account, in the order of the sound.

Each track tells what is settled of its talk (`hear`) and how its party sounds (`feel`); the call goes on as far as both
are known, so that the same sound makes the same events whichever track is quicker. Every `update_s` of media it tells
its figures, and what they raise or end; when the last track has left, open alerts are ended and the summary is told.

A track that joins late was silent before. One that says nothing for `PATIENCE` is taken for silent, so that the other's
account does not wait, or grow, for ever.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp

from stream.calls.alerts import DIGITS, AlertReading, AlertTracker
from stream.calls.floor import PARTIES, FloorTracker
from stream.clock import samples, seconds
from stream.events import AlertBody, Body, CallBody, CallEmotion, CallParty, EmotionBody, Party
from stream.settings import Settings
from stream.tracking.emotion import SILENCE
from stream.types import SAMPLE_RATE_HZ, SpeechSegment

ANGER = "angry"
"""The label that anger goes by."""

PATIENCE = 120 * SAMPLE_RATE_HZ
"""How far one track may be ahead of the other."""


@dataclass(slots=True)
class _PartyEmotion:
    """How one party sounds and has sounded; times in samples of its talk."""

    newest: EmotionBody | None = None
    slow: float = 0.0  # anger, averaged slowly
    furious: int = 0  # talk since anger reached its threshold
    judged_at: int = 0  # the party's talk when it was judged last
    held: Counter[str] = field(default_factory=Counter)

    @property
    def anger(self) -> float:
        """Smoothed probability of anger."""
        return 0.0 if self.newest is None else self.newest.probabilities.get(ANGER, 0.0)


@dataclass(slots=True)
class _PartyTrack:
    """What one track has told that the call has not come to yet."""

    settled: int
    left: bool = False
    talk: deque[SpeechSegment] = field(default_factory=deque)
    emotions: deque[EmotionBody] = field(default_factory=deque)
    mood: _PartyEmotion = field(default_factory=_PartyEmotion)


class CallTracker:
    """One call's account."""

    def __init__(self, *, settings: Settings) -> None:
        self._calls, self._alarms = settings.calls, settings.alerts
        self._update = samples(settings.calls.update_s)
        self._floor = FloorTracker(settings=settings.calls)
        self._alerts = AlertTracker(clear_s=settings.alerts.clear_s)
        self._tracks: dict[Party, _PartyTrack] = {}
        # crosstalk up to each update within the window that its share is taken over
        self._crosstalk: deque[int] = deque(
            [0], maxlen=max(2, round(self._alarms.crosstalk_window_s / settings.calls.update_s))
        )

    def join(self, party: Party) -> None:
        """A party's track begins; before, it was silent."""
        self._tracks[party] = _PartyTrack(settled=self._floor.position)

    def feel(self, party: Party, emotion: EmotionBody) -> None:
        """How a party sounds from `emotion.end_s` on; to be told before the talk that reaches there."""
        self._tracks[party].emotions.append(emotion)

    def hear(self, party: Party, talk: Sequence[SpeechSegment], settled: int) -> list[Body]:
        """All of a party's talk from where it was told last up to the sample `settled`."""
        track = self._tracks[party]
        track.talk.extend(talk)
        track.settled = max(track.settled, settled)
        return self._advance()

    def leave(self, party: Party) -> list[Body]:
        """A party's track has ended where it was settled; the last to leave ends the call."""
        self._tracks[party].left = True
        told = self._advance()
        if all(track.left for track in self._tracks.values()):
            told += self._alerts.close(self._floor.position)
            told.append(self._body("final"))
        return told

    def _advance(self) -> list[Body]:
        there = [track.settled for track in self._tracks.values() if not track.left]
        furthest = max(track.settled for track in self._tracks.values())
        limit = max(min(there), max(there) - PATIENCE) if there else furthest
        told: list[Body] = []
        while self._floor.position < limit:
            tick = (self._floor.position // self._update + 1) * self._update
            self._step(min(tick, limit))
            if self._floor.position == tick:
                told += self._check()
                told.append(self._body("live"))
        return told

    def _step(self, end: int) -> None:
        """Up to the next moment at which anything changes, at most to `end`."""
        position, talking = self._floor.position, []
        for party, track in self._tracks.items():
            while track.talk and track.talk[0].end_sample <= position:
                track.talk.popleft()
            if track.talk:
                span = track.talk[0]
                inside = span.start_sample <= position
                end = min(end, span.end_sample if inside else span.start_sample)
                if inside:
                    talking.append(party)
            if track.emotions:
                end = min(end, max(position + 1, samples(track.emotions[0].end_s)))
        self._floor.advance(end, talking)
        for party, track in self._tracks.items():
            while track.emotions and samples(track.emotions[0].end_s) <= end:
                self._judge(track.mood, track.emotions.popleft(), self._floor.rows[party].talk)

    def _judge(self, mood: _PartyEmotion, emotion: EmotionBody, talk: int) -> None:
        """Take one emotion; the talk since the one before is what it rests on."""
        fresh, mood.judged_at = talk - mood.judged_at, talk
        if emotion.label == SILENCE:
            return
        first, mood.newest = mood.newest is None, emotion
        mood.held[emotion.label] += fresh
        weight = 1.0 if first else 1.0 - exp(-seconds(fresh) / self._calls.trend_s)
        mood.slow += weight * (mood.anger - mood.slow)
        mood.furious = mood.furious + fresh if mood.anger >= self._alarms.anger_on else 0

    def _check(self) -> list[AlertBody]:
        floor, alarms = self._floor, self._alarms
        crosstalk = floor.spent["crosstalk"]
        window = (self._crosstalk.maxlen or 1) * self._update
        share = (crosstalk - self._crosstalk[0]) / window
        self._crosstalk.append(crosstalk)
        readings = [
            AlertReading("dead_air", None, seconds(floor.current_silence), alarms.dead_air_s, alarms.dead_air_s),
            AlertReading("crosstalk", None, share, alarms.crosstalk_on, alarms.crosstalk_off),
        ]
        for party, track in self._tracks.items():
            held_s = seconds(floor.monologue(party))
            readings.append(AlertReading("monologue", party, held_s, alarms.monologue_s, alarms.monologue_s))
            ripe = seconds(track.mood.furious) >= alarms.anger_s
            readings.append(
                AlertReading("anger", party, track.mood.anger, alarms.anger_on, alarms.anger_off, ripe=ripe)
            )
        return self._alerts.check(floor.position, readings)

    def _body(self, phase: str) -> CallBody:
        floor = self._floor
        return CallBody.model_validate(
            {
                "phase": phase,
                "end_s": seconds(floor.position),
                **{f"{state}_s": seconds(spent) for state, spent in floor.spent.items()},
                "state": floor.state,
                "current_silence_s": seconds(floor.current_silence),
                "longest_silence_s": seconds(floor.longest_silence),
                "parties": tuple(self._party(party) for party in PARTIES if party in self._tracks),
                "alerts": self._alerts.open,
                "alerts_raised": dict(self._alerts.counts),
            }
        )

    def _party(self, party: Party) -> CallParty:
        row, talk = self._floor.rows[party], sum(row.talk for row in self._floor.rows.values())
        return CallParty(
            party=party,
            speaking=row.talking,
            talk_s=seconds(row.talk),
            talk_share=round(row.talk / talk, DIGITS) if talk else 0.0,
            turns=row.turns,
            longest_monologue_s=seconds(row.longest_monologue),
            current_monologue_s=seconds(self._floor.monologue(party)),
            interruptions=row.interruptions,
            interrupting_s=seconds(row.interrupting),
            response_gap_s=round(seconds(row.response_gaps) / row.responses, 3) if row.responses else None,
            emotion=_emotion(self._tracks[party].mood),
        )


def _emotion(mood: _PartyEmotion) -> CallEmotion | None:
    newest = mood.newest
    if newest is None:
        return None
    judged = mood.held.total()
    return CallEmotion(
        label=newest.label,
        since_s=newest.since_s,
        confidence=newest.confidence,
        probabilities=newest.probabilities,
        trend=round(mood.anger - mood.slow, DIGITS),
        angry_s=seconds(mood.held[ANGER]),
        shares={label: round(held / judged, DIGITS) for label, held in mood.held.items()} if judged else {},
    )
