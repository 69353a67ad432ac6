"""Bodies of call and alert events."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stream.events.base import EventModel, Party, Probability, Seconds

FloorState = Literal["customer", "agent", "silence", "crosstalk", "lost"]
AlertKind = Literal["anger", "dead_air", "crosstalk", "monologue", "rule"]


class CallEmotion(EventModel):
    """Emotion of one party of a call, now and so far."""

    label: str = Field(description="Newest label: one of the model's, or `uncertain`.")
    since_s: Seconds = Field(description="Media time since which the label holds.")
    confidence: Probability = Field(description="Smoothed probability of the label.")
    probabilities: dict[str, Probability] = Field(description="Probabilities by label, smoothed over speech time.")
    trend: float = Field(
        ge=-1, le=1, description="Probability of anger minus its slow average over speech; above 0: rising."
    )
    arousal: Probability | None = Field(
        default=None, description="Smoothed arousal, 0 calm … 1 excited; null without a model of it."
    )
    arousal_trend: float | None = Field(
        default=None, ge=-1, le=1, description="Arousal minus its slow average; above 0: rising."
    )
    angry_s: Seconds = Field(description="Speech labelled angry.")
    shares: dict[str, Probability] = Field(description="Share of the party's scored speech, by label.")


class CallParty(EventModel):
    """Figures of one party of a call."""

    party: Party = Field(description="The party.")
    speaking: bool = Field(description="Whether the party speaks at `end_s`.")
    talk_s: Seconds = Field(description="Speech of the party, including crosstalk.")
    talk_share: Probability = Field(description="Share of the speech of both parties; 0 before any speech.")
    turns: int = Field(ge=0, description="Times the party took the floor.")
    longest_monologue_s: Seconds = Field(description="Longest time the party held the floor.")
    current_monologue_s: Seconds = Field(description="Time the party has held the floor; 0 if it does not hold it.")
    interruptions: int = Field(ge=0, description="Times the party interrupted the other.")
    interrupting_s: Seconds = Field(description="Crosstalk during these interruptions.")
    response_gap_s: Seconds | None = Field(
        description="Mean silence before the party's responses (0 where they overlap); null before the first response."
    )
    emotion: CallEmotion | None = Field(
        description="Null where emotion is not inferred (agents, by default), and before any speech was scored."
    )


class CallAlert(EventModel):
    """An active alert."""

    alert: str = Field(description="Identifier, as in `alert` events.")
    kind: AlertKind = Field(description="Condition that raised the alert.")
    speaker: Party | None = Field(description="Party concerned; null for both.")
    since_s: Seconds = Field(description="Media time at which the alert was raised.")


class CallBody(EventModel):
    """Figures of a call so far (`live`) or in total (`final`, published once at hang-up)."""

    type: Literal["call"] = "call"
    phase: Literal["live", "final"] = Field(description="Whether the call is in progress or has ended.")
    start_s: Seconds = Field(default=0.0, description="Always 0: the figures cover the whole call.")
    end_s: Seconds = Field(description="Media time up to which the figures hold.")
    customer_s: Seconds = Field(description="Time in which only the customer spoke.")
    agent_s: Seconds = Field(description="Time in which only the agent spoke.")
    silence_s: Seconds = Field(description="Time in which neither party spoke.")
    crosstalk_s: Seconds = Field(description="Time in which both parties spoke.")
    lost_s: Seconds = Field(
        default=0.0,
        description="Time without speech in which audio was missing: gaps, pauses. The five times add up to `end_s`.",
    )
    state: FloorState = Field(description="Who speaks at `end_s`.")
    current_silence_s: Seconds = Field(description="Length of the current silence; 0 while a party speaks.")
    longest_silence_s: Seconds = Field(description="Longest silence so far.")
    parties: tuple[CallParty, ...] = Field(description="One entry per party with a track.")
    alerts: tuple[CallAlert, ...] = Field(description="Active alerts.")
    alerts_raised: dict[AlertKind, int] = Field(description="Alerts raised so far, by kind.")


class AlertBody(EventModel):
    """Start or end of an alert: of a call, or by a rule of one's own of any stream."""

    type: Literal["alert"] = "alert"
    phase: Literal["start", "end"] = Field(description="Whether the alert is raised or ends.")
    alert: str = Field(description="Identifier, equal at start and end; unique within session and source.")
    kind: AlertKind = Field(description="Condition that raised the alert; `rule`: one of `alerts.rules`.")
    rule: str | None = Field(default=None, description="Name of the rule; null for a built-in alert.")
    speaker: Party | None = Field(description="Party concerned; null for both, and outside calls.")
    person: str | None = Field(
        default=None, description="Speaker concerned, by name; null if not known, and for built-in alerts."
    )
    start_s: Seconds = Field(description="Media time at which the alert was raised.")
    end_s: Seconds = Field(description="Media time at which the alert ended; equal to `start_s` at its start.")
    value: float = Field(
        description="Value at `end_s`: seconds, a share or probability from 0 to 1; of a rule, the field (1 for text)."
    )
    threshold: float = Field(description="Value that raises the alert, in the same unit; from the settings.")
    detail: str = Field(default="", description="What a rule found, at its start; free text.")
