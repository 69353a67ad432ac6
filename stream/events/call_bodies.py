"""The bodies of call and alert events."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stream.events.base import EventModel, Party, Probability, Seconds

FloorState = Literal["customer", "agent", "silence", "crosstalk"]
AlertKind = Literal["anger", "dead_air", "crosstalk", "monologue"]


class CallEmotion(EventModel):
    """How one party of a call sounds, and has sounded."""

    label: str = Field(description="The newest label: one of the model's, or `uncertain`.")
    since_s: Seconds = Field(description="Media time since which the label holds.")
    confidence: Probability = Field(description="Smoothed probability of the label.")
    probabilities: dict[str, Probability] = Field(description="Smoothed in speech time.")
    trend: float = Field(
        ge=-1, le=1, description="Probability of anger against its slow average in speech; above 0: getting angrier."
    )
    angry_s: Seconds = Field(description="Speech that sounded angry.")
    shares: dict[str, Probability] = Field(description="Share of the party's judged speech that each label held.")


class CallParty(EventModel):
    """One party of a call."""

    party: Party = Field(description="Whose row it is.")
    speaking: bool = Field(description="Whether the party talks at `end_s`.")
    talk_s: Seconds = Field(description="Talk, crosstalk included.")
    talk_share: Probability = Field(description="Part of both parties' talk; 0 before anybody has talked.")
    turns: int = Field(ge=0, description="How often the party took the floor.")
    longest_monologue_s: Seconds = Field(description="The longest time it held the floor in one go.")
    current_monologue_s: Seconds = Field(description="For how long it holds the floor now; 0 if it does not.")
    interruptions: int = Field(ge=0, description="How often it talked into the other's talk.")
    interrupting_s: Seconds = Field(description="Crosstalk of these interruptions.")
    response_gap_s: Seconds | None = Field(
        description="Mean time it took to answer the other (0 where they overlapped); null before the first answer."
    )
    emotion: CallEmotion | None = Field(
        description="Null where no emotion is inferred (agents, by default), and before any speech was judged."
    )


class CallAlert(EventModel):
    """An alert that is on."""

    alert: str = Field(description="The same as in the `alert` events.")
    kind: AlertKind = Field(description="What it is about.")
    speaker: Party | None = Field(description="Who it is about; null for both.")
    since_s: Seconds = Field(description="Media time at which it was raised.")


class CallBody(EventModel):
    """A call so far (`live`) or as a whole (`final`, told once, at hang-up)."""

    type: Literal["call"] = "call"
    phase: Literal["live", "final"] = Field(description="While it goes on, or its summary.")
    start_s: Seconds = Field(default=0.0, description="Always 0: the figures are of the whole call.")
    end_s: Seconds = Field(description="Media time up to which the figures hold.")
    customer_s: Seconds = Field(description="Time in which only the customer talked.")
    agent_s: Seconds = Field(description="Time in which only the agent talked.")
    silence_s: Seconds = Field(description="Time in which nobody talked.")
    crosstalk_s: Seconds = Field(description="Time in which both talked. The four add up to `end_s`.")
    state: FloorState = Field(description="What goes on at `end_s`.")
    current_silence_s: Seconds = Field(description="For how long nobody has talked; 0 if somebody does.")
    longest_silence_s: Seconds = Field(description="The longest silence so far.")
    parties: tuple[CallParty, ...] = Field(description="A row a party that is on the line.")
    alerts: tuple[CallAlert, ...] = Field(description="Alerts that are on.")
    alerts_raised: dict[AlertKind, int] = Field(description="Alerts so far, ended ones included, by kind.")


class AlertBody(EventModel):
    """Something in a call asks for attention (`start`), or no longer does (`end`)."""

    type: Literal["alert"] = "alert"
    phase: Literal["start", "end"] = Field(description="Whether it was raised or ended.")
    alert: str = Field(description="The same at start and end; unique within the session and source.")
    kind: AlertKind = Field(description="What it is about.")
    speaker: Party | None = Field(description="Who it is about; null for both.")
    start_s: Seconds = Field(description="Media time at which it was raised.")
    end_s: Seconds = Field(description="Media time at which it ended; at its start the same as `start_s`.")
    value: float = Field(description="What was measured at `end_s`: seconds, or a share or probability from 0 to 1.")
    threshold: float = Field(description="What raises it, in the same unit; from the settings.")
