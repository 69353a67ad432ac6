"""The body of a health event."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stream.events.base import EventModel, Seconds


class LaneHealth(EventModel):
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


class SinkHealth(EventModel):
    """One sink's queue."""

    sink: str = Field(description="The sink's target.")
    sent: int = Field(description="Events handed to the sink.")
    dropped: int = Field(description="Events lost because the sink fell behind, or had no room.")
    conflated: int = Field(description="Rolling states a newer one took the place of.")
    waiting: int = Field(description="Events queued.")
    owed: int = Field(default=0, description="Events the sink has taken but not delivered yet.")
    refused: int = Field(default=0, description="Events the other end did not want: an access list, usually.")
    unsaved: int = Field(default=0, description="Events owed that are not on disk, because it is full or broken.")


class ProtocolHealth(EventModel):
    """What came over the network by one protocol."""

    protocol: str = Field(description="generic, twilio, asterisk, audiosocket or audiohook.")
    open: int = Field(description="Connections open now.")
    accepted: int = Field(description="Connections since the start.")
    refused: dict[str, int] = Field(description="Connections that were not let in, or were ended by us, by reason.")
    messages: int = Field(description="Messages received; of a plain socket, reads.")
    bytes: int = Field(description="Bytes in them.")
    gaps: int = Field(description="Times at which sound was missing.")
    lost_s: float = Field(description="How much of it, in seconds.")


class HealthBody(EventModel):
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
