"""Bodies of stream events: emotion, speaker, turn and stream state.

A body holds results in media time; `envelope.stamp` adds identity, wall time, models and latency.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stream.events.base import EventModel, Probability, Seconds
from stream.events.call_bodies import AlertBody, CallBody
from stream.events.health_bodies import HealthBody
from stream.events.room_bodies import RoomsBody

SpeakerState = Literal["silence", "tentative", "confirmed", "unknown", "overlap"]
Reason = Literal[
    "matched",
    "new_voice",
    "held",
    "too_short",
    "below_threshold",
    "no_profiles",
    "ambiguous",
    "too_alike",
    "overlap",
    "silence",
    "track",
]


CallChange = Literal["hold", "retrieve", "transfer"]
Outcome = Literal["finished", "hung_up", "cut", "refused", "failed", "stopped"]


class EmotionBody(EventModel):
    """Emotion of the current speaker after one more window."""

    type: Literal["emotion"] = "emotion"
    start_s: Seconds = Field(description="Media time at which the newest window starts.")
    end_s: Seconds = Field(description="Media time at which the newest window ends.")
    label: str = Field(description="A label of the model, `uncertain`, or `silence`.")
    since_s: Seconds = Field(description="Media time since which the label holds.")
    confidence: Probability = Field(description="Smoothed probability of the label; 0 in silence.")
    probabilities: dict[str, Probability] = Field(description="Probabilities by label, smoothed over speech time.")
    raw: dict[str, Probability] = Field(description="Probabilities by label of the newest window alone.")
    arousal: Probability | None = Field(
        default=None,
        description="0 calm … 1 excited, smoothed over speech time; null in silence or without such a model.",
    )
    arousal_trend: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="Arousal minus its slow average (`emotion.trend_s`): above 0, the speaker gets excited.",
    )
    dominance: Probability | None = Field(
        default=None, description="0 submissive … 1 dominant, smoothed; null without a model of it."
    )
    valence: Probability | None = Field(
        default=None, description="0 negative … 1 positive, smoothed; null without a model of it."
    )
    speech_ms: int = Field(ge=0, description="Speech in the newest window.")
    speaker: str | None = Field(description="Name of the speaker; null if unknown.")


class Candidate(EventModel):
    """One person of a closed set."""

    label: str = Field(description="The model's label of the person, such as `id10001` of VoxCeleb1.")
    probability: Probability = Field(description="Probability, assuming that the speaker is in the set.")


class Identity(EventModel):
    """Closed-set identification (a demonstration): the likeliest people of a fixed set, also for unknown speakers."""

    label: str = Field(description="Label of the likeliest person.")
    probability: Probability = Field(description="Its probability, assuming that the speaker is in the set.")
    candidates: tuple[Candidate, ...] = Field(
        default=(), description="The likeliest people in descending order (`speakers.candidates`)."
    )
    evidence_s: Seconds = Field(default=0.0, description="Speech of the turn behind this result.")


class ActiveSpeaker(EventModel):
    """One of the people who speak now."""

    speaker: str | None = Field(
        description="Name of an enrolled voice, S1, S2 … for a voice discovered in this stream, or null if not known."
    )
    enrolled: bool = Field(description="Whether the voice is enrolled.")
    probability: Probability | None = Field(
        default=None, description="Probability of the likeliest hypothesis about this person; null before any."
    )
    since_s: Seconds = Field(description="Media time since which this person speaks, but for short pauses.")


class SpeakerBody(EventModel):
    """Who speaks now: the foremost speaker in detail, and everyone in `speakers`."""

    type: Literal["speaker"] = "speaker"
    start_s: Seconds = Field(description="Media time at which the newest window starts.")
    end_s: Seconds = Field(description="Media time at which the newest window ends.")
    state: SpeakerState = Field(
        description="`silence`; `tentative`: not decided yet; `confirmed`: recognised; `unknown`: no known voice; "
        "`overlap`: several people speak."
    )
    speaker: str | None = Field(
        description="Name of an enrolled voice, S1, S2 … for a voice discovered in this stream, or null."
    )
    enrolled: bool = Field(description="Whether the voice is enrolled.")
    speakers: tuple[ActiveSpeaker, ...] = Field(
        default=(),
        description="Everyone who speaks now, the foremost one first; empty in silence. Several are told apart only "
        "with an overlap model.",
    )
    best: str | None = Field(default=None, description="Name of the nearest voice, whatever the decision.")
    score: float | None = Field(description="Cosine to the nearest voice.")
    probability: Probability | None = Field(default=None, description="Probability of the likeliest hypothesis.")
    runner_up: str | None = Field(description="Name of the second-nearest voice.")
    margin: float | None = Field(description="Cosine of the nearest voice minus that of the second-nearest.")
    threshold: float | None = Field(description="Cosine threshold of the model or of `speakers.threshold`.")
    evidence_s: Seconds = Field(description="Speech of the current speech segment behind the decision.")
    reason: Reason = Field(description="Reason of the decision.")
    mixed: bool = Field(
        default=False,
        description="Two voices seem to share the window, at once or one after the other. A cue from x-vectors alone; "
        "`state` is `overlap` only where an overlap model detects it.",
    )
    identity: Identity | None = Field(
        default=None, description="Closed-set identification (a demonstration); null without such a model."
    )
    level_dbfs: float | None = Field(
        default=None, description="Level of the last second of the window; null in silence and for a call's track."
    )


class SpeakerResolvedBody(EventModel):
    """Correction: what was published under the name `previous` since `start_s` belongs to `speaker`."""

    type: Literal["speaker_resolved"] = "speaker_resolved"
    start_s: Seconds = Field(description="Media time from which the correction applies.")
    end_s: Seconds = Field(description="Media time of the correction.")
    previous: str = Field(description="Earlier name, S1, S2 …; it is not used again.")
    speaker: str = Field(description="Correct name.")
    enrolled: bool = Field(description="Whether the voice `speaker` is enrolled.")
    probability: Probability = Field(description="Probability that both names are the same person.")


class TurnBody(EventModel):
    """Start or end of a speaker turn; the end carries its emotions. Turns of different people may overlap."""

    type: Literal["turn"] = "turn"
    phase: Literal["start", "end"] = Field(description="Whether the turn starts or ends.")
    turn: str = Field(description="Identifier, equal at start and end; unique within session and source.")
    start_s: Seconds = Field(description="Media time at which the turn starts.")
    end_s: Seconds = Field(description="Media time at which the turn ends; at its start, the end of the speech so far.")
    speaker: str | None = Field(
        description="Name of an enrolled voice, S1, S2 …, or null for an unknown speaker. The end has the last word: "
        "it names another speaker than the start if the start was wrong."
    )
    emotion: str | None = Field(default=None, description="Label with the greatest share; null at the start.")
    emotions: dict[str, Probability] = Field(
        default_factory=dict, description="Share of the turn's scored speech, by label; empty at the start."
    )
    speech_s: Seconds = Field(default=0.0, description="Speech in the turn, without pauses.")
    embedding: tuple[float, ...] | None = Field(
        default=None,
        description="At the end, with `speakers.publish_embeddings`: the voice as an x-vector of unit length, of the "
        "speaker model in `models`. Biometric data. Null otherwise, and without a window of this person alone.",
    )


class StreamBody(EventModel):
    """State of a stream's audio."""

    type: Literal["stream"] = "stream"
    state: Literal["started", "gap", "stalled", "paused", "resumed", "described", "ended"] = Field(
        description="`gap`: audio is missing; `stalled`: no audio arrives; `paused`: audio is discarded; `described`: "
        "`labels` became known."
    )
    start_s: Seconds = Field(description="Media time from which the state holds.")
    end_s: Seconds = Field(description="Media time of the event; of a gap, its end.")
    lost_s: Seconds = Field(default=0.0, description="Audio lost in a gap.")
    detail: str = Field(default="", description="Rate and channels, or the reason; free text.")
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="What the telephone system says about the call, at `started` and `described`: `caller`, "
        "`caller_name`, `called`, `agent`, `queue`.",
    )
    call_change: CallChange | None = Field(
        default=None,
        description="What happened to the call, where its telephone system says it: with `paused` it was put on hold, "
        "with `resumed` retrieved, with `described` transferred.",
    )
    outcome: Outcome | None = Field(
        default=None,
        description="How the stream ended; null unless it has. `finished`: its audio ended; `hung_up`: the peer ended "
        "it; `cut`: the connection was lost; `refused`: the node ended it, for a limit or a violation of the protocol; "
        "`failed`: the source failed; `stopped`: the node was stopped.",
    )


Body = (
    EmotionBody
    | SpeakerBody
    | SpeakerResolvedBody
    | TurnBody
    | StreamBody
    | CallBody
    | AlertBody
    | HealthBody
    | RoomsBody
)
"""A result before `stamp` adds the envelope."""
