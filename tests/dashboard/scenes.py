"""Builders of events: single ones, and whole scenes drawn from a seed. They return event models only."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from stream import events
from stream.events import (
    ActiveSpeaker,
    AlertBody,
    Body,
    CallAlert,
    CallBody,
    CallEmotion,
    CallParty,
    EmotionBody,
    Event,
    ModelRef,
    Party,
    SpeakerBody,
    SpeakerResolvedBody,
    StreamBody,
    TurnBody,
)

LABELS = ("neutral", "happy", "angry", "sad")
MODELS = (ModelRef(name="compact-emotion", revision="1"), ModelRef(name="compact-speaker", revision="1"))


def seconds_ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


class Scene:
    """One stream or call from `started` on; its methods build events, numbered by source."""

    def __init__(self, name: str, *, started: datetime | None = None, call: bool = False) -> None:
        self.name, self.call = name, call
        self.started = started or datetime.now(UTC)
        self._seqs: dict[str, int] = {}

    def event(self, body: Body, party: str | None = None) -> Event:
        source = f"{self.name}-{party}" if party else self.name
        seq = self._seqs[source] = self._seqs.get(source, -1) + 1
        return events.stamp(
            body,
            id=f"s/{source}/{seq}",
            session="s",
            seq=seq,
            source=source,
            models=MODELS,
            latency_ms=42.0,
            time=self.started + timedelta(seconds=body.end_s),
            party=party,
            call=self.name if self.call else None,
        )

    def stream(self, state: Any = "started", at_s: float = 0.0, party: str | None = None, **fields: Any) -> Event:
        return self.event(StreamBody(state=state, start_s=fields.pop("start_s", at_s), end_s=at_s, **fields), party)

    def speaker(self, name: str | None, at_s: float, party: str | None = None, **fields: Any) -> Event:
        others: tuple[str | None, ...] = fields.pop("others", ())
        state = fields.pop("state", "overlap" if others else "confirmed" if name else "silence")
        everyone = () if state == "silence" else (name, *others)
        defaults: dict[str, Any] = {
            "enrolled": False,
            "score": 0.78,
            "runner_up": "S2",
            "margin": 0.31,
            "threshold": 0.45,
            "evidence_s": 3.2,
            "reason": "track" if party else "matched" if name else "silence",
            "speakers": tuple(ActiveSpeaker(speaker=one, enrolled=False, since_s=at_s) for one in everyone),
        }
        body = SpeakerBody(start_s=max(0.0, at_s - 2), end_s=at_s, state=state, speaker=name, **(defaults | fields))
        return self.event(body, party)

    def emotion(
        self, label: str, at_s: float, *, speaker: str | None = "S1", confidence: float = 0.7, party: str | None = None
    ) -> Event:
        others = (1 - confidence) / (len(LABELS) - 1)
        probabilities = {name: confidence if name == label else others for name in LABELS}
        return self.event(
            EmotionBody(
                start_s=max(0.0, at_s - 3),
                end_s=at_s,
                label=label,
                since_s=max(0.0, at_s - 4),
                confidence=confidence,
                probabilities=probabilities,
                raw=probabilities,
                speech_ms=2000,
                speaker=speaker,
            ),
            party,
        )

    def turn(
        self,
        number: int,
        speaker: str | None,
        start_s: float,
        end_s: float,
        *,
        label: str | None = None,
        party: str | None = None,
    ) -> list[Event]:
        """Start and end of a turn; without a label the turn stays open."""
        start = TurnBody(
            phase="start", turn=f"t{number}", start_s=start_s, end_s=start_s + 0.5, speaker=speaker, speech_s=0.5
        )
        if label is None:
            return [self.event(start, party)]
        end = TurnBody(
            phase="end",
            turn=f"t{number}",
            start_s=start_s,
            end_s=end_s,
            speaker=speaker,
            emotion=label,
            emotions={label: 0.75, "neutral": 0.25} if label != "neutral" else {"neutral": 1.0},
            speech_s=end_s - start_s,
        )
        return [self.event(start, party), self.event(end, party)]

    def call_figures(
        self,
        at_s: float,
        *,
        customer: float = 0.42,
        agent: float = 0.4,
        crosstalk: float = 0.03,
        state: Any = "customer",
        label: str = "neutral",
        confidence: float = 0.7,
        trend: float = 0.0,
        alerts: tuple[tuple[str, str, str | None, float], ...] = (),
        phase: Any = "live",
    ) -> Event:
        """The figures of a call; its four parts add up to `at_s`."""
        speech_s = {"customer": customer * at_s, "agent": agent * at_s}
        crosstalk_s = crosstalk * at_s
        silence_s = at_s - speech_s["customer"] - speech_s["agent"] - crosstalk_s
        total_s = sum(speech_s.values()) + 2 * crosstalk_s
        emotion = CallEmotion(
            label=label,
            since_s=max(0.0, at_s - 8),
            confidence=confidence,
            probabilities={label: confidence},
            trend=trend,
            angry_s=12.0 if label == "angry" else 0.0,
            shares={label: 1.0},
        )
        parties = (
            _party("customer", speech_s["customer"] + crosstalk_s, total_s, emotion, speaking=state == "customer"),
            _party("agent", speech_s["agent"] + crosstalk_s, total_s, None, speaking=state == "agent"),
        )
        active = tuple(
            CallAlert(alert=name, kind=kind, speaker=speaker, since_s=since_s)
            for name, kind, speaker, since_s in alerts
        )
        body = CallBody(
            phase=phase,
            end_s=at_s,
            customer_s=speech_s["customer"],
            agent_s=speech_s["agent"],
            silence_s=silence_s,
            crosstalk_s=crosstalk_s,
            state=state,
            current_silence_s=6.0 if state == "silence" else 0.0,
            longest_silence_s=7.2,
            parties=parties,
            alerts=active,
            alerts_raised={kind: 1 for _, kind, _, _ in alerts},
        )
        return self.event(body)

    def resolved(self, previous: str, speaker: str, at_s: float, *, since_s: float = 0.0) -> Event:
        """A correction that counts from `since_s`."""
        body = SpeakerResolvedBody(
            start_s=since_s, end_s=at_s, previous=previous, speaker=speaker, enrolled=True, probability=0.97
        )
        return self.event(body)

    def alert(
        self,
        name: str,
        kind: Any,
        at_s: float,
        *,
        phase: Any = "start",
        speaker: Any = "customer",
        since_s: float | None = None,
    ) -> Event:
        start_s = at_s if since_s is None else since_s
        return self.event(
            AlertBody(
                phase=phase,
                alert=name,
                kind=kind,
                speaker=speaker,
                start_s=start_s,
                end_s=at_s,
                value=0.7,
                threshold=0.6,
            )
        )


def _party(party: Party, talk_s: float, total_s: float, emotion: CallEmotion | None, *, speaking: bool) -> CallParty:
    """A party's row in the figures of a call; `total_s` is the speech of both parties."""
    return CallParty(
        party=party,
        speaking=speaking,
        talk_s=talk_s,
        talk_share=talk_s / total_s if total_s else 0.0,
        turns=int(talk_s / 6) + 1,
        longest_monologue_s=17.5,
        current_monologue_s=3.0 if speaking else 0.0,
        interruptions=2,
        interrupting_s=1.4,
        response_gap_s=0.8,
        emotion=emotion,
    )


def conversation(name: str, seed: int, *, length_s: float = 80.0, now: datetime | None = None) -> Iterator[Event]:
    """A stream with two to four speakers that lasts until now; its last turn is open."""
    rng = random.Random(seed)
    scene = Scene(name, started=(now or datetime.now(UTC)) - timedelta(seconds=length_s))
    yield scene.stream(detail="48000 Hz, 1 channel(s)")
    at_s, number, speakers = 0.6, 0, ["S1", "S2", "Alice", "S3"][: rng.randint(2, 4)]
    while at_s < length_s - 6:
        speaker, turn_s, label = rng.choice(speakers), rng.uniform(2, 9), rng.choice(LABELS + ("neutral",) * 3)
        number += 1
        last = at_s + turn_s > length_s - 6
        yield from scene.turn(number, speaker, at_s, at_s + turn_s, label=None if last else label)
        for step in range(1, int(turn_s) + 1):
            score = rng.uniform(0.6, 0.95)
            yield scene.speaker(
                speaker,
                at_s + step,
                enrolled=speaker == "Alice",
                score=score,
                margin=rng.uniform(0.1, 0.4),
                runner_up=next(other for other in speakers if other != speaker),
            )
            yield scene.emotion(label, at_s + step, speaker=speaker, confidence=rng.uniform(0.5, 0.9))
        at_s += turn_s + rng.uniform(0.4, 2.5)
    if seed % 2:
        yield scene.stream("gap", length_s - 3, start_s=length_s - 4.2, lost_s=1.2)


CALL_KINDS: dict[str, tuple[int, str]] = {
    "calm": (10, "neutral"), "happy": (3, "happy"), "sad": (2, "sad"), "angry": (2, "angry"),
    "dead_air": (1, "neutral"), "on_hold": (1, "neutral"),
}  # fmt: skip
"""Kinds of calls: relative frequency, and the customer's emotion."""


def phone_call(name: str, seed: int, *, length_s: float = 0.0, now: datetime | None = None) -> Iterator[Event]:
    """A call that lasts until now."""
    rng = random.Random(seed)
    length_s = length_s or rng.uniform(20, 600)
    scene = Scene(name, started=(now or datetime.now(UTC)) - timedelta(seconds=length_s), call=True)
    kind = rng.choices(list(CALL_KINDS), [weight for weight, _ in CALL_KINDS.values()])[0]
    label = CALL_KINDS[kind][1]
    for party in ("customer", "agent"):
        yield scene.stream(party=party, detail="8000 Hz, 1 channel(s)")
    yield from _call_turns(scene, rng, label, start_s=max(0.0, length_s - 70) + 0.4, end_s=length_s - 8)
    state = "silence" if kind == "dead_air" else rng.choice(["customer", "agent", "silence"])
    if state != "silence":
        yield scene.speaker(state, length_s - 2, party=state)
    alerts: tuple[tuple[str, str, str | None, float], ...] = ()
    if kind == "angry":
        alerts = (("a1", "anger", "customer", length_s - rng.uniform(4, 18)),)
    elif kind == "dead_air":
        alerts = (("a1", "dead_air", None, length_s - rng.uniform(2, 18)),)
    for alert, alert_kind, speaker, since_s in alerts:
        yield scene.alert(alert, alert_kind, since_s, speaker=speaker)
    yield scene.call_figures(
        length_s,
        customer=rng.uniform(0.25, 0.5),
        agent=rng.uniform(0.2, 0.4),
        crosstalk=rng.uniform(0, 0.06),
        state=state,
        label=label,
        confidence=rng.uniform(0.5, 0.9),
        trend=0.3 if kind == "angry" else 0.0,
        alerts=alerts,
    )
    if kind == "on_hold":
        yield from (scene.stream("paused", length_s, party=party) for party in ("customer", "agent"))


def _call_turns(scene: Scene, rng: random.Random, label: str, *, start_s: float, end_s: float) -> Iterator[Event]:
    """Alternating turns; the customer's emotion is mostly `label`."""
    at_s, number = start_s, 0
    while at_s < end_s:
        party = ("customer", "agent")[number % 2]
        number += 1
        turn_s = rng.uniform(2, 8)
        emotion = label if party == "customer" and rng.random() < 0.7 else "neutral"
        yield from scene.turn(number, party, at_s, at_s + turn_s, label=emotion, party=party)
        if party == "customer":
            for step in range(1, int(turn_s) + 1):
                confidence = rng.uniform(0.45, 0.92)
                yield scene.emotion(emotion, at_s + step, speaker="customer", confidence=confidence, party=party)
        at_s += turn_s + rng.uniform(-0.3, 1.2)
