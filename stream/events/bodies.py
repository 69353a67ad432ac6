"""What is found: the bodies of events, one pydantic model each.

`rolling/` and the rooms that count make these; they know no time of day. `events` puts the envelope around.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stream.events.base import EventModel, Probability, Seconds
from stream.events.call_bodies import AlertBody, CallBody
from stream.events.health_bodies import HealthBody

SpeakerState = Literal["silence", "tentative", "confirmed", "unknown", "overlap"]
Reason = Literal[
    "matched",
    "new_voice",
    "held",
    "too_short",
    "below_threshold",
    "no_profiles",
    "ambiguous",
    "overlap",
    "silence",
    "track",
]


class EmotionBody(EventModel):
    """How the speaker sounds: the rolling state after one more window."""

    type: Literal["emotion"] = "emotion"
    start_s: Seconds = Field(description="Media time at which the window behind this update begins.")
    end_s: Seconds = Field(description="Media time at which it ends.")
    label: str = Field(description="A label of the model, `uncertain`, or `silence`.")
    since_s: Seconds = Field(description="Media time since which the label holds.")
    confidence: Probability = Field(description="Smoothed probability of the label; 0 in silence.")
    probabilities: dict[str, Probability] = Field(description="Smoothed in speech time.")
    raw: dict[str, Probability] = Field(description="Of the last window alone.")
    speech_ms: int = Field(ge=0, description="Speech in the last window.")
    speaker: str | None = Field(description="Who was speaking, if known.")


class Candidate(EventModel):
    """One of a closed set of people."""

    label: str = Field(description="The model's own label of somebody, such as `id10001` of VoxCeleb1.")
    probability: Probability = Field(description="How likely it is they, were it one of the set.")


class Identity(EventModel):
    """A demonstration: the likeliest of a closed set of people. A stranger is called someone, too."""

    label: str = Field(description="The likeliest.")
    probability: Probability = Field(description="How likely, were it one of the set.")
    candidates: tuple[Candidate, ...] = Field(
        default=(), description="The likeliest few, in order (`speakers.candidates`)."
    )
    evidence_s: Seconds = Field(default=0.0, description="Speech of the turn that this rests on.")


class SpeakerBody(EventModel):
    """Who is speaking now."""

    type: Literal["speaker"] = "speaker"
    start_s: Seconds = Field(description="Media time at which the window behind this update begins.")
    end_s: Seconds = Field(description="Media time at which it ends.")
    state: SpeakerState = Field(description="Whether somebody speaks, and how sure it is who.")
    speaker: str | None = Field(description="An enrolled name, S1, S2 … for voices met in this stream, or null.")
    enrolled: bool = Field(description="Whether the name was enrolled.")
    best: str | None = Field(default=None, description="The nearest voice, whether it was decided on or not.")
    score: float | None = Field(description="Cosine to the best voice.")
    probability: Probability | None = Field(default=None, description="How likely what was decided is, all in all.")
    runner_up: str | None = Field(description="The second-best voice.")
    margin: float | None = Field(description="Lead of the best over the runner-up.")
    threshold: float | None = Field(description="Cosine that a match needs.")
    evidence_s: Seconds = Field(description="Speech of this stretch that the decision rests on.")
    reason: Reason = Field(description="Why it was decided so.")
    mixed: bool = Field(
        default=False,
        description="Two voices seem to share the window: at once (`overlap?`) or one after the other. A cue from the "
        "x-vector alone; `state` is `overlap` only where an overlap model heard it.",
    )
    identity: Identity | None = Field(
        default=None, description="A demonstration: the likeliest of a closed set of people, if such a model listens."
    )


class SpeakerResolvedBody(EventModel):
    """A voice met in the stream turned out to be somebody else: what was told under its old name since is theirs."""

    type: Literal["speaker_resolved"] = "speaker_resolved"
    start_s: Seconds = Field(description="Media time since which it holds.")
    end_s: Seconds = Field(description="Media time at which it turned out.")
    was: str = Field(description="The name it was told under, S1, S2 …; it is never given again.")
    speaker: str = Field(description="Whose voice it is.")
    enrolled: bool = Field(description="Whether that name was enrolled.")
    probability: Probability = Field(description="How likely the two voices are one person's.")


class TurnBody(EventModel):
    """One person's turn: told when it starts and, with what it held, when it ends."""

    type: Literal["turn"] = "turn"
    phase: Literal["start", "end"] = Field(description="Whether it began or ended.")
    turn: str = Field(description="The same at start and end; unique within the session and source.")
    start_s: Seconds = Field(description="Media time at which the turn began.")
    end_s: Seconds = Field(description="The turn's end; at its start, how far it has been heard.")
    speaker: str | None = Field(description="An enrolled name, S1, S2 …, or null for nobody known.")
    emotion: str | None = Field(default=None, description="The label that held longest.")
    emotions: dict[str, Probability] = Field(default_factory=dict, description="Share of the turn each label held.")
    speech_s: Seconds = Field(default=0.0, description="Speech in the turn, pauses left out.")


class StreamBody(EventModel):
    """What became of the sound itself."""

    type: Literal["stream"] = "stream"
    state: Literal["started", "gap", "stalled", "paused", "resumed", "ended"] = Field(description="What happened.")
    start_s: Seconds = Field(description="Media time from which on it holds.")
    end_s: Seconds = Field(description="Media time up to which it holds: a gap's end.")
    lost_s: Seconds = Field(default=0.0, description="Sound lost in a gap.")
    detail: str = Field(default="", description="Rate and channels, or the reason, for people.")


Body = EmotionBody | SpeakerBody | SpeakerResolvedBody | TurnBody | StreamBody | CallBody | AlertBody | HealthBody
"""What was found, before it is put into an envelope."""
