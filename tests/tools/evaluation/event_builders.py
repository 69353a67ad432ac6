"""Events of one stream, as the pipeline publishes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from stream.events import EmotionBody, EmotionEvent, SpeakerBody, SpeakerEvent, TurnBody, TurnEvent


def _envelope(seq: int) -> dict[str, object]:
    return {
        "id": f"s/r/{seq}",
        "session": "s",
        "seq": seq,
        "source": "r",
        "time": datetime(2026, 1, 1, tzinfo=UTC),
        "latency_ms": 20.0 + seq,
    }


def speaker_event(end_s: float, name: str | None, *, enrolled: bool = False, state: str = "") -> SpeakerEvent:
    """Return a speaker event at a moment; `""` is silence, None an unknown speaker."""
    body = SpeakerBody.model_validate(
        {
            "start_s": max(0.0, end_s - 1.0),
            "end_s": end_s,
            "state": state or ("silence" if name == "" else "unknown" if name is None else "confirmed"),
            "speaker": name or None,
            "enrolled": enrolled,
            "score": None,
            "runner_up": None,
            "margin": None,
            "threshold": 0.5,
            "evidence_s": 1.0,
            "reason": "silence" if name == "" else "matched",
        }
    )
    return SpeakerEvent.model_validate({**dict(body), **_envelope(int(end_s * 10))})


def turn_event(start_s: float, end_s: float, name: str | None, *, phase: str = "end") -> TurnEvent:
    """Return a turn event."""
    body = TurnBody.model_validate({"phase": phase, "turn": "t1", "start_s": start_s, "end_s": end_s, "speaker": name})
    return TurnEvent.model_validate({**dict(body), **_envelope(int(end_s * 10))})


def emotion_event(start_s: float, end_s: float, label: str, raw: Mapping[str, float]) -> EmotionEvent:
    """Return an emotion event."""
    body = EmotionBody.model_validate(
        {
            "start_s": start_s,
            "end_s": end_s,
            "label": label,
            "since_s": 0.0,
            "confidence": 0.5,
            "probabilities": dict(raw),
            "raw": dict(raw),
            "speech_ms": 1_000,
            "speaker": None,
        }
    )
    return EmotionEvent.model_validate({**dict(body), **_envelope(int(end_s * 10))})
