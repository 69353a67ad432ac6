"""What is found: the bodies of events, one pydantic model each.

`rolling/` and the rooms that count make these; they know no time of day. `events` puts the envelope around.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

NODE = "node"
"""The source of events that speak of the whole process."""


def _in_utc(time: datetime) -> datetime:
    """What is told of a time: UTC to the millisecond, so that an event read back equals the one sent."""
    time = time.astimezone(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


TimeOfDay = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Probability = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
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
Party = Literal["customer", "agent"]
Floor = Literal["customer", "agent", "silence", "crosstalk"]
AlertKind = Literal["anger", "dead_air", "crosstalk", "monologue"]


class Frozen(BaseModel):
    """A model that never changes and takes nothing unknown, on its own or as part of an event."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class ModelRef(Frozen):
    """Which model, at which revision, an event rests on."""

    name: str
    revision: str


class Emotion(Frozen):
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


class Candidate(Frozen):
    """One of a closed set of people."""

    label: str = Field(description="The model's own label of somebody, such as `id10001` of VoxCeleb1.")
    probability: Probability = Field(description="How likely it is they, were it one of the set.")


class Identity(Frozen):
    """A demonstration: the likeliest of a closed set of people. A stranger is called someone, too."""

    label: str = Field(description="The likeliest.")
    probability: Probability = Field(description="How likely, were it one of the set.")
    candidates: tuple[Candidate, ...] = Field(
        default=(), description="The likeliest few, in order (`speakers.candidates`)."
    )
    evidence_s: Seconds = Field(default=0.0, description="Speech of the turn that this rests on.")


class Speaker(Frozen):
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


class SpeakerResolved(Frozen):
    """A voice met in the stream turned out to be somebody else: what was told under its old name since is theirs."""

    type: Literal["speaker_resolved"] = "speaker_resolved"
    start_s: Seconds = Field(description="Media time since which it holds.")
    end_s: Seconds = Field(description="Media time at which it turned out.")
    was: str = Field(description="The name it was told under, S1, S2 …; it is never given again.")
    speaker: str = Field(description="Whose voice it is.")
    enrolled: bool = Field(description="Whether that name was enrolled.")
    probability: Probability = Field(description="How likely the two voices are one person's.")


class Turn(Frozen):
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


class Stream(Frozen):
    """What became of the sound itself."""

    type: Literal["stream"] = "stream"
    state: Literal["started", "gap", "stalled", "paused", "resumed", "ended"] = Field(description="What happened.")
    start_s: Seconds = Field(description="Media time from which on it holds.")
    end_s: Seconds = Field(description="Media time up to which it holds: a gap's end.")
    lost_s: Seconds = Field(default=0.0, description="Sound lost in a gap.")
    detail: str = Field(default="", description="Rate and channels, or the reason, for people.")


class CallEmotion(Frozen):
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


class CallParty(Frozen):
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


class CallAlert(Frozen):
    """An alert that is on."""

    alert: str = Field(description="The same as in the `alert` events.")
    kind: AlertKind = Field(description="What it is about.")
    speaker: Party | None = Field(description="Who it is about; null for both.")
    since_s: Seconds = Field(description="Media time at which it was raised.")


class Call(Frozen):
    """A call so far (`live`) or as a whole (`final`, told once, at hang-up)."""

    type: Literal["call"] = "call"
    phase: Literal["live", "final"] = Field(description="While it goes on, or its summary.")
    start_s: Seconds = Field(default=0.0, description="Always 0: the figures are of the whole call.")
    end_s: Seconds = Field(description="Media time up to which the figures hold.")
    customer_s: Seconds = Field(description="Time in which only the customer talked.")
    agent_s: Seconds = Field(description="Time in which only the agent talked.")
    silence_s: Seconds = Field(description="Time in which nobody talked.")
    crosstalk_s: Seconds = Field(description="Time in which both talked. The four add up to `end_s`.")
    state: Floor = Field(description="What goes on at `end_s`.")
    current_silence_s: Seconds = Field(description="For how long nobody has talked; 0 if somebody does.")
    longest_silence_s: Seconds = Field(description="The longest silence so far.")
    parties: tuple[CallParty, ...] = Field(description="A row a party that is on the line.")
    alerts: tuple[CallAlert, ...] = Field(description="Alerts that are on.")
    alerts_raised: dict[AlertKind, int] = Field(description="Alerts so far, ended ones included, by kind.")


class Alert(Frozen):
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


class LaneHealth(Frozen):
    """The lane of one model, or of several that answer together, through the pool.

    `cut` = `inferred` + `dropped` + `failed` + `waiting`.
    """

    model: str = Field(description="The model's name; names joined by `+` where models answer together.")
    cut: int = Field(description="Windows put into the lane.")
    inferred: int = Field(description="Windows scored.")
    dropped: int = Field(description="Windows a fresher one took the place of.")
    failed: int = Field(description="Windows of batches that failed inside the model.")
    waiting: int = Field(description="Windows queued or being scored.")
    batches: int = Field(description="Batches scored.")
    replaced: int = Field(default=0, description="Workers replaced because a batch took too long.")
    mean_batch: float = Field(description="Windows a batch held on average.")
    inference_ms: float = Field(description="Mean time of a batch in the model.")
    hop_ms: float | None = Field(
        default=None,
        description="The hop achieved since the last `health`: the one set, longer where windows were dropped; null "
        "where none was scored.",
    )


class SinkHealth(Frozen):
    """One sink's queue."""

    sink: str = Field(description="The sink's target.")
    sent: int = Field(description="Events handed to the sink.")
    dropped: int = Field(description="Events lost because the sink fell behind, or had no room.")
    conflated: int = Field(description="Rolling states a newer one took the place of.")
    waiting: int = Field(description="Events queued.")
    owed: int = Field(default=0, description="Events the sink has taken but not delivered yet.")
    refused: int = Field(default=0, description="Events the other end did not want: an access list, usually.")
    unsaved: int = Field(default=0, description="Events owed that are not on disk, because it is full or broken.")


class ProtocolHealth(Frozen):
    """What came over the network by one protocol."""

    protocol: str = Field(description="generic, twilio, asterisk, audiosocket or audiohook.")
    open: int = Field(description="Connections open now.")
    accepted: int = Field(description="Connections since the start.")
    refused: dict[str, int] = Field(description="Connections that were not let in, or were ended by us, by reason.")
    messages: int = Field(description="Messages received; of a plain socket, reads.")
    bytes: int = Field(description="Bytes in them.")
    gaps: int = Field(description="Times at which sound was missing.")
    lost_s: float = Field(description="How much of it, in seconds.")


class Health(Frozen):
    """How the node is doing, now and at the end."""

    type: Literal["health"] = "health"
    start_s: Seconds = Field(default=0.0, description="Always 0.")
    end_s: Seconds = Field(description="Seconds since the run began.")
    streams: int = Field(description="Streams heard, ended ones included.")
    audio_s: Seconds = Field(description="Sound heard, all streams together.")
    speech_s: Seconds = Field(description="Speech in it.")
    gated: int = Field(description="Windows without enough speech, which no model saw.")
    lanes: tuple[LaneHealth, ...] = Field(description="A row a model.")
    sinks: tuple[SinkHealth, ...] = Field(description="A row a sink.")
    protocols: tuple[ProtocolHealth, ...] = Field(
        default=(), description="A row for each protocol that was spoken with the listener."
    )
    latency_p50_ms: float | None = Field(description="Median latency of recent rolling events.")
    latency_p95_ms: float | None = Field(description="Their 95th percentile.")
    real_time_factor: float | None = Field(description="Processing time over sound; under 1 keeps up.")
    memory_mb: float | None = Field(description="Resident memory, where /proc tells it.")


Body = Emotion | Speaker | SpeakerResolved | Turn | Stream | Call | Alert | Health
"""What was found, before it is put into an envelope."""
