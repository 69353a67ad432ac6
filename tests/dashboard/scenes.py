"""Events as a busy floor makes them: calls of every kind, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from stream import events
from stream.events import (
    AlertBody,
    Body,
    CallAlert,
    CallBody,
    CallEmotion,
    CallParty,
    EmotionBody,
    Event,
    ModelRef,
    SpeakerBody,
    StreamBody,
    TurnBody,
)

LABELS = ("neutral", "happy", "angry", "sad")
MODELS = (ModelRef(name="compact-emotion", revision="1"), ModelRef(name="compact-speaker", revision="1"))


class Scene:
    """One call or stream; every method gives the events of something that happened in it."""

    def __init__(self, name: str, *, began: datetime | None = None, call: bool = False) -> None:
        self.name, self.call = name, call
        self.began = began or datetime.now(UTC)
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
            time=self.began + timedelta(seconds=body.end_s),
            party=party,
            call=self.name if self.call else None,
        )

    def stream(self, state: Any = "started", at_s: float = 0.0, party: str | None = None, **more: Any) -> Event:
        return self.event(StreamBody(state=state, start_s=more.pop("start_s", at_s), end_s=at_s, **more), party)

    def speaker(self, who: str | None, at_s: float, party: str | None = None, **more: Any) -> Event:
        state = more.pop("state", "confirmed" if who else "silence")
        given: dict[str, Any] = {
            "enrolled": False,
            "score": 0.78,
            "runner_up": "S2",
            "margin": 0.31,
            "threshold": 0.45,
            "evidence_s": 3.2,
            "reason": "track" if party else "matched" if who else "silence",
        } | more
        return self.event(SpeakerBody(start_s=max(0.0, at_s - 2), end_s=at_s, state=state, speaker=who, **given), party)

    def emotion(
        self, label: str, at_s: float, *, who: str | None = "S1", sure: float = 0.7, party: str | None = None
    ) -> Event:
        shared = (1 - sure) / (len(LABELS) - 1)
        probabilities = {name: sure if name == label else shared for name in LABELS}
        return self.event(
            EmotionBody(
                start_s=max(0.0, at_s - 3),
                end_s=at_s,
                label=label,
                since_s=max(0.0, at_s - 4),
                confidence=sure,
                probabilities=probabilities,
                raw=probabilities,
                speech_ms=2000,
                speaker=who,
            ),
            party,
        )

    def turn(
        self,
        number: int,
        who: str | None,
        start_s: float,
        end_s: float,
        *,
        label: str | None = None,
        party: str | None = None,
    ) -> list[Event]:
        """From start to end; without a label it goes on."""
        begun = TurnBody(
            phase="start", turn=f"t{number}", start_s=start_s, end_s=start_s + 0.5, speaker=who, speech_s=0.5
        )
        if label is None:
            return [self.event(begun, party)]
        done = TurnBody(
            phase="end",
            turn=f"t{number}",
            start_s=start_s,
            end_s=end_s,
            speaker=who,
            emotion=label,
            emotions={label: 0.75, "neutral": 0.25} if label != "neutral" else {"neutral": 1.0},
            speech_s=end_s - start_s,
        )
        return [self.event(begun, party), self.event(done, party)]

    def so_far(
        self,
        at_s: float,
        *,
        customer: float = 0.42,
        agent: float = 0.4,
        crosstalk: float = 0.03,
        state: Any = "customer",
        label: str = "neutral",
        sure: float = 0.7,
        trend: float = 0.0,
        alerts: tuple[tuple[str, str, str | None, float], ...] = (),
        phase: Any = "live",
    ) -> Event:
        """The call's figures; the four parts add up."""
        talk = {"customer": customer * at_s, "agent": agent * at_s}
        both = crosstalk * at_s
        silence = at_s - talk["customer"] - talk["agent"] - both
        spoken = sum(talk.values()) + 2 * both
        emotion = CallEmotion(
            label=label,
            since_s=max(0.0, at_s - 8),
            confidence=sure,
            probabilities={label: sure},
            trend=trend,
            angry_s=12.0 if label == "angry" else 0.0,
            shares={label: 1.0},
        )
        parties = tuple(
            CallParty(
                party=party,
                speaking=state == party,
                talk_s=talk[party] + both,
                talk_share=(talk[party] + both) / spoken if spoken else 0.0,
                turns=int(at_s / 14) + 1,
                longest_monologue_s=17.5,
                current_monologue_s=3.0 if state == party else 0.0,
                interruptions=2,
                interrupting_s=1.4,
                response_gap_s=0.8,
                emotion=emotion if party == "customer" else None,
            )
            for party in ("customer", "agent")
        )
        on = tuple(CallAlert(alert=name, kind=kind, speaker=who, since_s=since) for name, kind, who, since in alerts)
        body = CallBody(
            phase=phase,
            end_s=at_s,
            customer_s=talk["customer"],
            agent_s=talk["agent"],
            silence_s=silence,
            crosstalk_s=both,
            state=state,
            current_silence_s=6.0 if state == "silence" else 0.0,
            longest_silence_s=7.2,
            parties=parties,
            alerts=on,
            alerts_raised={kind: 1 for _, kind, _, _ in alerts},
        )
        return self.event(body)

    def resolved(self, was: str, who: str, at_s: float, *, since_s: float = 0.0) -> dict[str, Any]:
        """A correction, as a page is told."""
        told = self.speaker(who, at_s).model_dump(mode="json", by_alias=True)
        return told | {"type": "speaker_resolved", "was": was, "since_s": since_s}

    def alert(
        self,
        name: str,
        kind: Any,
        at_s: float,
        *,
        phase: Any = "start",
        who: Any = "customer",
        since_s: float | None = None,
    ) -> Event:
        start_s = at_s if since_s is None else since_s
        return self.event(
            AlertBody(
                phase=phase, alert=name, kind=kind, speaker=who, start_s=start_s, end_s=at_s, value=0.7, threshold=0.6
            )
        )


def meeting(name: str, seed: int, *, length_s: float = 80.0, now: datetime | None = None) -> Iterator[Event]:
    """A few people in a room, up to now."""
    dice = random.Random(seed)
    scene = Scene(name, began=(now or datetime.now(UTC)) - timedelta(seconds=length_s))
    yield scene.stream(detail="48000 Hz, 1 channel(s)")
    at_s, number, people = 0.6, 0, ["S1", "S2", "Alice", "S3"][: dice.randint(2, 4)]
    while at_s < length_s - 6:
        who, long_s, label = dice.choice(people), dice.uniform(2, 9), dice.choice(LABELS + ("neutral",) * 3)
        number += 1
        last = at_s + long_s > length_s - 6
        yield from scene.turn(number, who, at_s, at_s + long_s, label=None if last else label)
        for step in range(1, int(long_s) + 1):
            score = dice.uniform(0.6, 0.95)
            other = next(one for one in people if one != who)
            yield scene.speaker(
                who, at_s + step, enrolled=who == "Alice", score=score, margin=dice.uniform(0.1, 0.4), runner_up=other
            )
            yield scene.emotion(label, at_s + step, who=who, sure=dice.uniform(0.5, 0.9))
        at_s += long_s + dice.uniform(0.4, 2.5)
    if seed % 2:
        yield scene.stream("gap", length_s - 3, start_s=length_s - 4.2, lost_s=1.2)


KINDS: dict[str, tuple[int, str]] = {
    "calm": (10, "neutral"), "happy": (3, "happy"), "sad": (2, "sad"), "angry": (2, "angry"), "dead": (1, "neutral"),
    "hold": (1, "neutral"),
}  # fmt: skip
"""How a call may go: how often, and how its customer sounds."""


def telephone(name: str, seed: int, *, length_s: float = 0.0, now: datetime | None = None) -> Iterator[Event]:
    """A call, up to now."""
    dice = random.Random(seed)
    length_s = length_s or dice.uniform(20, 600)
    scene = Scene(name, began=(now or datetime.now(UTC)) - timedelta(seconds=length_s), call=True)
    kind = dice.choices(list(KINDS), [often for often, _ in KINDS.values()])[0]
    label = KINDS[kind][1]
    for party in ("customer", "agent"):
        yield scene.stream(party=party, detail="8000 Hz, 1 channel(s)")
    yield from _talk(scene, dice, label, begin_s=max(0.0, length_s - 70) + 0.4, end_s=length_s - 8)
    state = "silence" if kind == "dead" else dice.choice(["customer", "agent", "silence"])
    if state != "silence":
        yield scene.speaker(state, length_s - 2, party=state)
    alerts: tuple[tuple[str, str, str | None, float], ...] = ()
    if kind == "angry":
        alerts = (("a1", "anger", "customer", length_s - dice.uniform(4, 18)),)
    elif kind == "dead":
        alerts = (("a1", "dead_air", None, length_s - dice.uniform(2, 18)),)
    yield from (scene.alert(alert, what, since_s, who=who) for alert, what, who, since_s in alerts)
    yield scene.so_far(
        length_s,
        customer=dice.uniform(0.25, 0.5),
        agent=dice.uniform(0.2, 0.4),
        crosstalk=dice.uniform(0, 0.06),
        state=state,
        label=label,
        sure=dice.uniform(0.5, 0.9),
        trend=0.3 if kind == "angry" else 0.0,
        alerts=alerts,
    )
    if kind == "hold":
        yield from (scene.stream("paused", length_s, party=party) for party in ("customer", "agent"))


def _talk(scene: Scene, dice: random.Random, label: str, *, begin_s: float, end_s: float) -> Iterator[Event]:
    at_s, number = begin_s, 0
    while at_s < end_s:
        party = ("customer", "agent")[number % 2]
        number += 1
        long_s = dice.uniform(2, 8)
        felt = label if party == "customer" and dice.random() < 0.7 else "neutral"
        yield from scene.turn(number, party, at_s, at_s + long_s, label=felt, party=party)
        if party == "customer":
            for step in range(1, int(long_s) + 1):
                yield scene.emotion(felt, at_s + step, who="customer", sure=dice.uniform(0.45, 0.92), party=party)
        at_s += long_s + dice.uniform(-0.3, 1.2)
