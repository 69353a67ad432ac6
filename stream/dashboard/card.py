"""One card of the wall and the detail behind it: one stream, or one call with its tracks (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from stream.dashboard.attention import attention
from stream.dashboard.card_state import CardState
from stream.dashboard.ending import ending_view
from stream.dashboard.views import (
    CallRecord,
    CardStatus,
    CardView,
    DetailView,
    EmotionView,
    EndingView,
    OtherSpeakerView,
    ShareView,
    SpeakerView,
)
from stream.events import CallEvent, CallParty, Event, StreamEvent
from stream.tracking.emotion import SILENCE

TRACK_STATES: tuple[CardStatus, ...] = ("stalled", "paused", "live", "ended")
"""A card has the first of these states that any of its tracks has."""


class Card:
    """Events in, `CardView` and `DetailView` out.

    `version` belongs to the wall. `serial` rises with every event, also when a new session replaces the state.
    `records` says whether events are kept for a report.
    """

    def __init__(self, *, key: str, name: str, node: str, records: bool = False) -> None:
        self.key, self.name, self.node, self._records = key, name, node, records
        self.version = self.serial = 0
        self.received_ms = 0.0  # time of day at which the newest event arrived
        self._state = CardState()

    @property
    def ended(self) -> bool:
        """Whether the stream or call has ended."""
        return self._state.ended

    @property
    def session(self) -> str:
        """The run of the node that its events come from."""
        return self._state.session

    def abandon(self) -> None:
        """End the card without an event: its node was cut off."""
        self._state.abandon()
        self.serial += 1

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the card's streams."""
        return tuple(self._state.tracks)

    @property
    def about(self) -> dict[str, str]:
        """What is known of a call: caller, agent, queue."""
        return dict(self._state.about)

    def record(self) -> CallRecord:
        """Return what the history keeps of a card that has ended."""
        view, start_ms = self.view(), self._state.started_ms or self.received_ms
        ending = view.ending or self._ending()
        return CallRecord(
            id=self._state.first_event or self.key,
            node=self.node,
            name=self.name,
            about=view.about,
            start_ms=start_ms,
            end_ms=start_ms + 1000 * view.end_s,
            outcome=ending.text,
            emotions=ending.emotions,
            alerts=ending.alerts,
            talk={share.name or "unknown": share.seconds for share in view.talk},
            held_s=view.held_s,
            transfers=view.transfers,
        )

    @property
    def recording(self) -> bytes:
        """The events for a report, packed."""
        return self._state.recording.packed()

    def set_report(self, report: str) -> None:
        """Name the report that can be opened."""
        self._state.report = report

    @property
    def state(self) -> CardStatus:
        """`live`, `paused`, `stalled` or `ended`."""
        if self.ended:
            return "ended"
        states = {track.state for track in self._state.tracks.values()} or {"live"}
        return next(state for state in TRACK_STATES if state in states)

    def apply(self, event: Event, *, now_ms: float = 0.0, retained: bool = False) -> None:
        """Apply one event that arrived at `now_ms`; `retained` marks a broker's memory of an earlier time.

        A new session, or a start after the end, begins with an empty state at media time 0.
        """
        restarted = self.ended and isinstance(event, StreamEvent) and event.state == "started"
        if restarted or event.session != self._state.session:
            self._state = CardState(session=event.session, first_event=event.id)
        if self._records and not retained:
            self._state.recording.add(event)
        self.received_ms = max(self.received_ms, min(now_ms, event.time.timestamp() * 1000) if retained else now_ms)
        self.serial += 1
        self._state.apply(event, self.serial)

    def view(self, *, offline: bool = False) -> CardView:
        """Return what the wall shows; `offline` says that the card's node is."""
        state = self._state
        status: CardStatus = "offline" if offline and not state.ended else self.state
        emotion, alerts = self._emotion(), tuple(state.alerts.values())
        points, reason = attention(state=status, alerts=alerts, emotion=emotion, recent_loss=state.recent_loss)
        return CardView(
            key=self.key,
            name=self.name,
            node=self.node,
            about=dict(state.about),
            kind="stream" if state.call is None else "call",
            state=status,
            started_ms=state.started_ms,
            end_s=round(state.end_s, 2),
            received_ms=self.received_ms,
            speaker=self._speaker(),
            emotion=emotion,
            trend=state.overview.points if status == "ended" else tuple(state.trend),
            anger_trend=max((party.emotion.trend for party in self._parties() if party.emotion), default=None),
            shares=self._shares(),
            talk=self._talk(),
            silent_since_s=state.silent_since_s,
            alerts=alerts,
            latency_ms=max((track.latency_ms for track in state.tracks.values()), default=0.0),
            gaps=state.gaps,
            lost_s=round(state.lost_s, 2),
            attention=points,
            reason=reason,
            ending=self._ending() if status == "ended" else None,
            hold_since_ms=state.hold.since_ms,
            held_s=round(state.hold.held_s, 1),
            transfers=state.hold.transfers,
        )

    def detail(self, after: int = 0) -> DetailView:
        """Return what the stream's view shows beside the card: history that changed after the serial `after`."""
        state, history = self._state, self._state.history
        return DetailView(
            key=self.key,
            serial=self.serial,
            labels=state.labels,
            models=dict(state.models),
            sources=self.sources,
            call=state.call,
            turns=history.turns.since(after),
            points=history.points.since(after),
            decisions=history.decisions.since(after),
            notes=history.notes.since(after),
        )

    def _parties(self) -> Sequence[CallParty]:
        return self._state.call.parties if self._state.call is not None else ()

    def _speaker(self) -> SpeakerView:
        """The current speaker; both parties of a call at once are in the state `overlap`."""
        state = self._state
        if state.ended:
            return SpeakerView(state="silence", name=None, enrolled=False, since_s=state.end_s)
        active = [track.speaker for track in state.tracks.values() if track.speaker and track.is_speaking]
        if len(active) > 1:
            first, *rest = sorted(active, key=lambda speaker: speaker.name or "")
            others = tuple(OtherSpeakerView(name=speaker.name, enrolled=speaker.enrolled) for speaker in rest)
            return first.model_copy(update={"state": "overlap", "others": others})
        if active:
            return active[0]
        return SpeakerView(state="silence", name=None, enrolled=False, since_s=state.silent_since_s or 0.0)

    def _ending(self) -> EndingView:
        state = self._state
        alerts = state.call.alerts_raised if state.call is not None else {}
        return ending_view(state.ends, emotions_s=state.emotions_s, alerts=alerts, report=state.report)

    def _emotion(self) -> EmotionView | None:
        """The emotion of a call's customer, or of the stream's current speaker; since when, without interruption."""
        emotions = [track.emotion for track in self._state.tracks.values() if track.emotion is not None]
        customer = next((emotion for emotion in emotions if emotion.party == "customer"), None)
        if customer is not None:
            return customer
        if emotions:
            emotion, speaker = emotions[0], self._speaker()
            if emotion.label == SILENCE:
                return emotion
            if speaker.state == "silence" or speaker.name != emotion.speaker:
                return None  # it is another voice's
            return emotion.model_copy(update={"since_s": max(emotion.since_s, speaker.since_s)})
        if self.ended:
            return None
        return next((_party_emotion(party) for party in self._parties() if party.emotion is not None), None)

    def _shares(self) -> tuple[ShareView, ...]:
        """Seconds by speaker; of a call, seconds of its four parts, which add up to its length."""
        state = self._state
        if state.call is None:
            return state.totals.shares(state.open_turns.values(), state.end_s)
        return _call_shares(state.call)

    def _talk(self) -> tuple[ShareView, ...]:
        """Seconds of speech by speaker; both parties' include crosstalk, as `talk_share` of the events."""
        if self._state.call is None:
            return self._shares()
        return tuple(ShareView(name=party.party, seconds=round(party.talk_s, 2)) for party in self._parties())


def _call_shares(call: CallEvent) -> tuple[ShareView, ...]:
    parts = {
        "customer": call.customer_s,
        "agent": call.agent_s,
        "crosstalk": call.crosstalk_s,
        "silence": call.silence_s,
        "lost": call.lost_s,
    }
    return tuple(ShareView(name=name, seconds=round(seconds, 2)) for name, seconds in parts.items())


def _party_emotion(party: CallParty) -> EmotionView | None:
    """A party's emotion from the figures of its call, all that a page has which connects later to a broker."""
    if party.emotion is None:
        return None
    return EmotionView(
        label=party.emotion.label,
        confidence=party.emotion.confidence,
        since_s=party.emotion.since_s,
        speaker=party.party,
        probabilities=party.emotion.probabilities,
        party=party.party,
        arousal=party.emotion.arousal,
        arousal_trend=party.emotion.arousal_trend,
    )
