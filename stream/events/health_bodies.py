"""Body of health events."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stream.events.base import EventModel, Seconds, TimeOfDay


class ClusterHealth(EventModel):
    """Cluster that scores the windows of a lane."""

    state: Literal["connected", "fallback", "lost"] = Field(
        description="`fallback`: no replica answers, the node scores the windows itself; `lost`: they fail."
    )
    replicas: int = Field(description="Replicas that the node uses.")
    replicas_up: int = Field(description="Replicas that answer.")
    repeated: int = Field(default=0, description="Batches that were asked again because their replica was lost.")
    local: int = Field(default=0, description="Windows scored by the node itself, since the start.")
    outages: int = Field(default=0, description="How often all replicas were lost since the start.")
    detail: str = Field(default="", description="Why no replica answers; free text.")


class LaneHealth(EventModel):
    """Inference lane of one model, or of several models that share one.

    `submitted` = `inferred` + `dropped` + `failed` + `waiting`.
    """

    model: str = Field(description="Name of the model; names joined by `+` where models share a lane.")
    submitted: int = Field(description="Windows submitted to the lane.")
    inferred: int = Field(description="Windows scored.")
    dropped: int = Field(description="Windows dropped in favour of newer ones.")
    failed: int = Field(description="Windows of batches that failed in the model.")
    waiting: int = Field(description="Windows queued or being scored.")
    batches: int = Field(description="Batches scored.")
    workers_replaced: int = Field(default=0, description="Worker threads replaced because a batch timed out.")
    mean_batch: float = Field(description="Mean number of windows per batch.")
    inference_ms: float = Field(description="Mean inference time per batch.")
    hop_ms: float | None = Field(
        default=None,
        description="Effective hop since the last `health` event: as configured, longer where windows were dropped; "
        "null if none was scored.",
    )
    cluster: ClusterHealth | None = Field(default=None, description="Cluster of the lane; null: the node itself.")


class SetAside(EventModel):
    """Messages of one kind that a receiver refused; they are not sent."""

    topic: str = Field(description="Topic of the newest one; of a webhook the id of its event.")
    reason: str = Field(description="Reason of the newest one; free text.")
    count: int = Field(ge=1, description="How many there were.")
    time: TimeOfDay = Field(description="When the newest one was refused, UTC.")


class BrokerHealth(EventModel):
    """Connection of a sink to its broker."""

    state: Literal["connecting", "connected", "lost"] = Field(
        description="`connecting`: not connected yet since the start."
    )
    since: TimeOfDay = Field(description="When the state began, UTC.")
    error: str = Field(default="", description="Why the connection was lost or the newest attempt failed; free text.")
    outages: int = Field(default=0, description="How often the connection was lost since the start.")
    outage_s: Seconds | None = Field(default=None, description="Duration of the last outage that is over.")
    recovered: int = Field(default=0, description="Messages that waited at its end and were sent then.")
    set_aside: tuple[SetAside, ...] = Field(
        default=(), description="What the broker refused, by kind of message, the newest first."
    )


class SinkHealth(EventModel):
    """Queue and delivery of one sink."""

    sink: str = Field(description="Target of the sink.")
    sent: int = Field(description="Events passed to the sink.")
    dropped: int = Field(description="Events lost because the sink fell behind or had no space.")
    conflated: int = Field(description="Rolling states replaced by newer ones.")
    waiting: int = Field(description="Events queued.")
    pending: int = Field(default=0, description="Events accepted by the sink and not delivered yet.")
    rejected: int = Field(default=0, description="Events rejected by the receiver, for example by an access list.")
    not_persisted: int = Field(default=0, description="Undelivered events not on disk because it is full or broken.")
    broker: BrokerHealth | None = Field(default=None, description="Connection to the broker, of a sink that has one.")
    set_aside: tuple[SetAside, ...] = Field(
        default=(), description="What a webhook's receiver refused, by reason, the newest first; of MQTT see `broker`."
    )


class Refusal(EventModel):
    """A connection that the node refused or ended."""

    time: TimeOfDay = Field(description="When it happened last, UTC.")
    peer: str = Field(description="Address of the client.")
    reason: str = Field(description="Kind of reason, as in `refused`.")
    message: str = Field(description="What was wrong, and what to do; free text.")
    count: int = Field(ge=1, description="How often it happened.")


class ProtocolHealth(EventModel):
    """Connections and data of one network protocol."""

    protocol: str = Field(description="generic, twilio, asterisk, audiosocket, audiohook, wyoming, …")
    open: int = Field(description="Open connections.")
    accepted: int = Field(description="Connections accepted since the start.")
    refused: dict[str, int] = Field(description="Connections rejected or closed by the node, by reason.")
    messages: int = Field(description="Messages received; for plain sockets, reads.")
    bytes: int = Field(description="Bytes received.")
    gaps: int = Field(description="Gaps in the audio received.")
    lost_s: float = Field(description="Audio missing in these gaps.")
    malformed: int = Field(default=0, description="Malformed messages that were left out, wholly or in part.")
    refusals: tuple[Refusal, ...] = Field(
        default=(), description="The newest connections that were refused, the newest first."
    )


class HealthBody(EventModel):
    """Statistics of the node since its start."""

    type: Literal["health"] = "health"
    start_s: Seconds = Field(default=0.0, description="Always 0.")
    end_s: Seconds = Field(description="Seconds since the start of the run.")
    streams: int = Field(description="Streams opened, including ended ones.")
    audio_s: Seconds = Field(description="Audio processed, over all streams.")
    speech_s: Seconds = Field(description="Speech in that audio.")
    windows_gated: int = Field(description="Windows not scored because they hold too little speech.")
    lanes: tuple[LaneHealth, ...] = Field(description="One entry per inference lane.")
    sinks: tuple[SinkHealth, ...] = Field(description="One entry per sink.")
    protocols: tuple[ProtocolHealth, ...] = Field(
        default=(), description="One entry per protocol that connected to the listener."
    )
    clock_shifts_s: dict[str, float] = Field(
        default_factory=dict,
        description="Streams whose source has a clock of its own: by how much the time of their events was corrected.",
    )
    latency_p50_ms: float | None = Field(description="Median latency of recent rolling events.")
    latency_p95_ms: float | None = Field(description="95th percentile of that latency.")
    real_time_factor: float | None = Field(description="Processing time per audio time; real time needs at most 1.")
    memory_mb: float | None = Field(description="Resident memory, where /proc provides it.")
