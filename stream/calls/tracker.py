"""Call tracker: the speech and emotion of two separate tracks become one set of figures, in media order (pure).

Talk time, crosstalk and silence are measured by `floor.py`.

Each track adds its settled speech (`add_speech`) and its emotion (`add_emotion`). The call advances as far as both are
known, so that the same audio yields the same events whichever track is processed first. Every `update_s` of media it
publishes its figures and the alerts they raise or end; when the last track has left, open alerts end and the final
figures follow.

A track that joins late counts as silent before. A track without news for `MAX_TRACK_LAG_SAMPLES` counts as silent, so
that the other neither waits nor accumulates state for ever.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp

from stream.calls.alerts import DIGITS, AlertReading, AlertTracker
from stream.calls.current_alerts import CurrentAlerts
from stream.calls.floor import PARTIES, FloorTracker
from stream.clock import samples, seconds
from stream.events import AlertBody, Body, CallBody, CallEmotion, CallParty, EmotionBody, Party
from stream.settings import Settings
from stream.tracking.emotion import SILENCE
from stream.types import SAMPLE_RATE_HZ, SpeechSegment

ANGER = "angry"
"""Label of anger."""

MAX_TRACK_LAG_SAMPLES = 120 * SAMPLE_RATE_HZ
"""Maximum lag of one track behind the other."""


@dataclass(slots=True)
class _PartyEmotion:
    """Rolling emotion of one party; positions and lengths in samples of its speech."""

    newest: EmotionBody | None = None
    anger_average: float = 0.0  # slow average of `anger`
    angry_for: int = 0  # speech since anger, and arousal if there is any, reached their thresholds
    scored_until: int = 0  # the party's speech at the newest emotion
    durations: Counter[str] = field(default_factory=Counter)  # by label

    @property
    def anger(self) -> float:
        """Smoothed probability of anger."""
        return 0.0 if self.newest is None else self.newest.probabilities.get(ANGER, 0.0)


@dataclass(slots=True)
class _PartyTrack:
    """Speech and emotions of one track that the call has not processed yet."""

    settled: int
    left: bool = False
    segments: deque[SpeechSegment] = field(default_factory=deque)
    lost: deque[SpeechSegment] = field(default_factory=deque)  # missing audio
    emotions: deque[EmotionBody] = field(default_factory=deque)
    emotion: _PartyEmotion = field(default_factory=_PartyEmotion)


class CallTracker:
    """Figures and alerts of one call."""

    def __init__(self, *, settings: Settings, alerts: CurrentAlerts | None = None) -> None:
        self._calls, self._limits = settings.calls, alerts or CurrentAlerts(settings.alerts)
        self._update = samples(settings.calls.update_s)
        self._floor = FloorTracker(settings=settings.calls)
        self._alerts = AlertTracker()
        self._tracks: dict[Party, _PartyTrack] = {}
        # total crosstalk at each update within the window over which its share is computed
        self._crosstalk: deque[int] = deque(
            [0], maxlen=max(2, round(settings.alerts.crosstalk_window_s / settings.calls.update_s))
        )

    def join(self, party: Party) -> None:
        """Add a party's track, which counts as silent up to now."""
        self._tracks[party] = _PartyTrack(settled=self._floor.position)

    def add_emotion(self, party: Party, emotion: EmotionBody) -> None:
        """Add a party's emotion from `emotion.end_s` on; call it before `add_speech` for the same time."""
        self._tracks[party].emotions.append(emotion)

    def add_speech(self, party: Party, segments: Sequence[SpeechSegment], settled: int, lost: int = 0) -> list[Body]:
        """Add a party's speech since the last call up to the sample `settled`; return the bodies that follow.

        The last `lost` samples of it are missing from the audio.
        """
        track = self._tracks[party]
        if lost:
            track.lost.append(SpeechSegment(settled - lost, settled))
        track.segments.extend(segments)
        track.settled = max(track.settled, settled)
        return self._advance()

    def leave(self, party: Party) -> list[Body]:
        """End a party's track where it is settled; the last one ends the call."""
        self._tracks[party].left = True
        bodies = self._advance()
        if all(track.left for track in self._tracks.values()):
            bodies += self._alerts.close(self._floor.position)
            bodies.append(self._body("final"))
        return bodies

    def _advance(self) -> list[Body]:
        active = [track.settled for track in self._tracks.values() if not track.left]
        furthest = max(track.settled for track in self._tracks.values())
        limit = max(min(active), max(active) - MAX_TRACK_LAG_SAMPLES) if active else furthest
        bodies: list[Body] = []
        while self._floor.position < limit:
            tick = (self._floor.position // self._update + 1) * self._update
            self._step(min(tick, limit))
            if self._floor.position == tick:
                bodies += self._check_alerts()
                bodies.append(self._body("live"))
        return bodies

    def _step(self, end: int) -> None:
        """Advance to the next change of speech or emotion, at most to `end`."""
        position, speaking, lost = self._floor.position, list[Party](), False
        for party, track in self._tracks.items():
            while track.segments and track.segments[0].end_sample <= position:
                track.segments.popleft()
            if track.segments:
                segment = track.segments[0]
                inside = segment.start_sample <= position
                end = min(end, segment.end_sample if inside else segment.start_sample)
                if inside:
                    speaking.append(party)
            while track.lost and track.lost[0].end_sample <= position:
                track.lost.popleft()
            if track.lost:
                inside = track.lost[0].start_sample <= position
                lost = lost or inside
                end = min(end, track.lost[0].end_sample if inside else track.lost[0].start_sample)
            if track.emotions:
                end = min(end, max(position + 1, samples(track.emotions[0].end_s)))
        self._floor.advance(end, speaking, lost=lost)
        for party, track in self._tracks.items():
            while track.emotions and samples(track.emotions[0].end_s) <= end:
                self._update_emotion(track.emotion, track.emotions.popleft(), self._floor.figures[party].speech)

    def _update_emotion(self, state: _PartyEmotion, emotion: EmotionBody, speech: int) -> None:
        """Add one emotion; it stands for the party's speech since the previous one, `speech` is the total."""
        new_speech, state.scored_until = speech - state.scored_until, speech
        if emotion.label == SILENCE:
            return
        first, state.newest = state.newest is None, emotion
        state.durations[emotion.label] += new_speech
        weight = 1.0 if first else 1.0 - exp(-seconds(new_speech) / self._calls.trend_s)
        state.anger_average += weight * (state.anger - state.anger_average)
        state.angry_for = state.angry_for + new_speech if self._is_angry(state.anger, emotion.arousal) else 0

    def _is_angry(self, anger: float, arousal: float | None) -> bool:
        limits = self._limits.settings
        return anger >= limits.anger_on and (arousal is None or arousal >= limits.anger_arousal)

    def _check_alerts(self) -> list[AlertBody]:
        floor, limits = self._floor, self._limits.settings
        crosstalk = floor.durations["crosstalk"]
        window = (self._crosstalk.maxlen or 1) * self._update
        share = (crosstalk - self._crosstalk[0]) / window
        self._crosstalk.append(crosstalk)
        readings = [
            AlertReading("dead_air", None, seconds(floor.current_silence), limits.dead_air_s, limits.dead_air_s),
            AlertReading("crosstalk", None, share, limits.crosstalk_on, limits.crosstalk_off),
        ]
        for party, track in self._tracks.items():
            monologue_s = seconds(floor.monologue(party))
            readings.append(AlertReading("monologue", party, monologue_s, limits.monologue_s, limits.monologue_s))
            lasting = seconds(track.emotion.angry_for) >= limits.anger_s
            anger = track.emotion.anger
            readings.append(AlertReading("anger", party, anger, limits.anger_on, limits.anger_off, eligible=lasting))
        return self._alerts.check(floor.position, readings, clear_s=limits.clear_s)

    def _body(self, phase: str) -> CallBody:
        floor = self._floor
        return CallBody.model_validate(
            {
                "phase": phase,
                "end_s": seconds(floor.position),
                **{f"{state}_s": seconds(duration) for state, duration in floor.durations.items()},
                "state": floor.state,
                "current_silence_s": seconds(floor.current_silence),
                "longest_silence_s": seconds(floor.longest_silence),
                "parties": tuple(self._party(party) for party in PARTIES if party in self._tracks),
                "alerts": self._alerts.open,
                "alerts_raised": dict(self._alerts.counts),
            }
        )

    def _party(self, party: Party) -> CallParty:
        figures, speech = self._floor.figures[party], sum(one.speech for one in self._floor.figures.values())
        return CallParty(
            party=party,
            speaking=figures.speaking,
            talk_s=seconds(figures.speech),
            talk_share=round(figures.speech / speech, DIGITS) if speech else 0.0,
            turns=figures.turns,
            longest_monologue_s=seconds(figures.longest_monologue),
            current_monologue_s=seconds(self._floor.monologue(party)),
            interruptions=figures.interruptions,
            interrupting_s=seconds(figures.interrupting),
            response_gap_s=round(seconds(figures.response_gaps) / figures.responses, 3) if figures.responses else None,
            emotion=_call_emotion(self._tracks[party].emotion),
        )


def _call_emotion(state: _PartyEmotion) -> CallEmotion | None:
    newest = state.newest
    if newest is None:
        return None
    total = state.durations.total()
    return CallEmotion(
        label=newest.label,
        since_s=newest.since_s,
        confidence=newest.confidence,
        probabilities=newest.probabilities,
        trend=round(state.anger - state.anger_average, DIGITS),
        arousal=newest.arousal,
        arousal_trend=newest.arousal_trend,
        angry_s=seconds(state.durations[ANGER]),
        shares={label: round(held / total, DIGITS) for label, held in state.durations.items()} if total else {},
    )
