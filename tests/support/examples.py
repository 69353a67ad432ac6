"""Event models for tests."""

from __future__ import annotations

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
    HealthBody,
    LaneHealth,
    ModelRef,
    ProtocolHealth,
    RoomLevel,
    RoomOccupant,
    RoomsBody,
    SpeakerBody,
    SpeakerResolvedBody,
    StreamBody,
    TurnBody,
)

SESSION_START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def event(body: Body, *, seq: int = 0, source: str = "room", **more: Any) -> Event:
    """Wrap a body in an envelope."""
    return events.stamp(
        body,
        id=f"s/{source}/{seq}",
        session="s",
        seq=seq,
        source=source,
        time=SESSION_START + timedelta(seconds=body.end_s),
        models=(ModelRef(name="fake", revision="0"),),
        latency_ms=12.5,
        **more,
    )


def emotion(label: str = "happy", *, end_s: float = 3.0, **more: Any) -> EmotionBody:
    """An emotion with two labels, the first leading."""
    probabilities = {"happy": 0.7, "sad": 0.3}
    return EmotionBody(
        start_s=max(0.0, end_s - 3),
        end_s=end_s,
        label=label,
        since_s=end_s,
        confidence=0.7,
        probabilities=more.pop("probabilities", probabilities),
        raw=probabilities,
        speech_ms=2_000,
        speaker="S1",
    )


def speaker(
    name: str | None = "S1",
    *,
    end_s: float = 3.0,
    state: Any = "confirmed",
    others: tuple[str | None, ...] = (),
    enrolled: bool = False,
) -> SpeakerBody:
    """A speaker decision; `others` speak at the same time."""
    everyone = () if state == "silence" else (name, *others)
    return SpeakerBody(
        start_s=max(0.0, end_s - 2),
        end_s=end_s,
        state=state,
        speaker=name,
        enrolled=enrolled,
        speakers=tuple(
            ActiveSpeaker(speaker=one, enrolled=enrolled, probability=0.9 if one else None, since_s=1.0)
            for one in everyone
        ),
        score=0.8,
        probability=0.9,
        runner_up="S2",
        margin=0.4,
        threshold=0.5,
        evidence_s=2.0,
        reason="matched",
    )


def resolved() -> SpeakerResolvedBody:
    """A correction: the voice is Alice's."""
    return SpeakerResolvedBody(start_s=2.0, end_s=9.0, previous="S2", speaker="Alice", enrolled=True, probability=0.97)


def turn(
    number: int, phase: Any = "end", *, name: str | None = "S1", start_s: float = 0.0, end_s: float = 2.0
) -> TurnBody:
    """A turn."""
    shares = {"happy": 0.75, "sad": 0.25} if phase == "end" else {}
    return TurnBody(
        phase=phase,
        turn=f"t{number}",
        start_s=start_s,
        end_s=end_s,
        speaker=name,
        emotion="happy" if shares else None,
        emotions=shares,
        speech_s=end_s - start_s,
    )


def stream(state: Any = "started") -> StreamBody:
    """A change of a stream's state."""
    return StreamBody(state=state, start_s=0.0, end_s=0.0)


def call(phase: Any = "live") -> CallBody:
    """One minute of a call; the customer is angry."""
    emotion = CallEmotion(
        label="angry",
        since_s=55.0,
        confidence=0.7,
        probabilities={"neutral": 0.3, "angry": 0.7},
        trend=0.25,
        angry_s=4.5,
        shares={"neutral": 0.8, "angry": 0.2},
    )
    customer = CallParty(
        party="customer",
        speaking=True,
        talk_s=24.0,
        talk_share=0.48,
        turns=5,
        longest_monologue_s=9.5,
        current_monologue_s=5.0,
        interruptions=2,
        interrupting_s=1.5,
        response_gap_s=0.6,
        emotion=emotion,
    )
    agent = CallParty(
        party="agent",
        speaking=False,
        talk_s=26.0,
        talk_share=0.52,
        turns=4,
        longest_monologue_s=12.0,
        current_monologue_s=0.0,
        interruptions=0,
        interrupting_s=0.0,
        response_gap_s=None,
        emotion=None,
    )
    return CallBody(
        phase=phase,
        end_s=60.0,
        customer_s=22.0,
        agent_s=24.0,
        silence_s=12.0,
        crosstalk_s=2.0,
        state="customer",
        current_silence_s=0.0,
        longest_silence_s=4.0,
        parties=(customer, agent),
        alerts=(CallAlert(alert="a1", kind="anger", speaker="customer", since_s=58.0),),
        alerts_raised={"anger": 1},
    )


def alert(phase: Any = "start") -> AlertBody:
    """An alert about sustained anger of the customer."""
    return AlertBody(
        phase=phase,
        alert="a1",
        kind="anger",
        speaker="customer",
        start_s=58.0,
        end_s=58.0 if phase == "start" else 71.0,
        value=0.7 if phase == "start" else 0.3,
        threshold=0.6,
    )


def health() -> HealthBody:
    """Figures of a node."""
    lane = LaneHealth(
        model="fake",
        submitted=10,
        inferred=9,
        dropped=1,
        failed=0,
        waiting=0,
        batches=3,
        mean_batch=3.0,
        inference_ms=4.5,
    )
    return HealthBody(
        end_s=10.0,
        streams=1,
        audio_s=10.0,
        speech_s=6.0,
        windows_gated=4,
        lanes=(lane,),
        sinks=(),
        protocols=(
            ProtocolHealth(
                protocol="twilio",
                open=2,
                accepted=5,
                refused={"unauthorized": 1},
                messages=4_000,
                bytes=1_200_000,
                gaps=1,
                lost_s=0.5,
            ),
        ),
        latency_p50_ms=20.0,
        latency_p95_ms=40.0,
        real_time_factor=0.02,
        memory_mb=300.0,
    )


def rooms(source: str = "kitchen", *, since_s: float = 4.0) -> RoomsBody:
    """Alice, whom two microphones receive."""
    levels = (
        RoomLevel(node="here", source="kitchen", level_dbfs=-28.0),
        RoomLevel(node="upstairs", source="hall", level_dbfs=-35.5),
    )
    alice = RoomOccupant(
        speaker="Alice", node="here", source=source, since_s=since_s, certain=True, lead_db=7.5, levels=levels
    )
    return RoomsBody(end_s=5.0, people=(alice,))
