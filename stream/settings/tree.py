"""The settings tree: one frozen object, read once at the start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field, field_serializer, model_validator

from stream.settings.alerts import AlertRuleSettings, AlertsSettings
from stream.settings.apprise import AppriseSettings
from stream.settings.base import Branch, Fraction, Positive, masked_address
from stream.settings.calls import CallsSettings
from stream.settings.dashboard import DashboardSettings
from stream.settings.mqtt import MqttSettings
from stream.settings.rooms import RoomsSettings
from stream.settings.serve import ServeSettings
from stream.settings.service import ServiceSettings
from stream.settings.speakers import SpeakersSettings
from stream.settings.texts import Channels, NodeName, SinkAddress, SourceName, shown_sink
from stream.settings.webhook import WebhookSettings


class SourceSettings(Branch):
    """One audio source."""

    kind: str = Field("file", description="Kind of source: `microphone`, `file`, `pipe`, or that of a plug-in.")
    id: SourceName = Field(
        "", max_length=64, description="Name in events and topics; empty: derived from the kind or file name."
    )
    target: str = Field(
        "", description="A file's path; a microphone's name or index (empty: the default one); a network address."
    )

    @field_serializer("target", when_used="json")
    def _mask_target(self, target: str) -> str:
        return masked_address(target)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Mask credentials in the address of a network stream."""
        shown = dict(super().__repr_args__())
        return (shown | {"target": masked_address(self.target)}).items()

    channels: Channels = Field(
        "mix",
        description="`mix`: all channels in one stream; `split`: one stream per channel; or the "
        "numbers of some channels, one stream each (`3` or `1,2`); "
        "`customer-agent` or `agent-customer`: the left and right channel are the two parties of a call; "
        "`customer` or `agent`: the audio is one party of a call.",
    )
    realtime: bool = Field(False, description="Play a file in real time.")
    connect_timeout_s: Positive = Field(10.0, description="Time to open a network stream.")
    read_timeout_s: Positive = Field(
        10.0, description="Time without data after which a network stream is opened again; longer than its segments."
    )
    rate_hz: int = Field(16_000, ge=4_000, le=384_000, description="Sample rate of raw PCM on standard input.")
    pcm_channels: int = Field(1, ge=1, le=64, description="Channels of raw PCM on standard input.")
    pcm_format: Literal["s16le", "f32le", "mulaw", "alaw"] = Field(
        "s16le", description="Sample format of raw PCM on standard input."
    )
    live: bool = Field(
        False,
        description="Standard input is live: if processing falls behind, the newest audio comes first, and wall time "
        "follows the clock.",
    )


class ModelSettings(Branch):
    """One model and its windows."""

    name: str = Field(description="Name in the zoo, hub name (`org/model`) or folder; empty: none.")
    revision: str = Field("", description="Commit, tag or branch on the hub; empty: the pinned commit.")
    window_s: float = Field(ge=0.5, le=30, description="Length of a window in seconds.")
    hop_s: float = Field(ge=0.05, le=30, description="Time between the ends of two windows in seconds.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Device of the model; auto: an accelerator if there is one."
    )
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = Field(
        "auto",
        description="Number format; auto: the fastest on this machine without loss of accuracy (`tonewatch doctor`); "
        "int8 is faster and less accurate, for pretrained models on the CPU only.",
    )

    @model_validator(mode="after")
    def _hop_within_window(self) -> ModelSettings:
        if self.hop_s > self.window_s:
            msg = "hop_s is longer than window_s and would leave gaps; lower hop_s"
            raise ValueError(msg)
        return self


class ModelsSettings(Branch):
    """The models of a node."""

    emotion: ModelSettings = Field(
        ModelSettings(name="emotion-campplus", window_s=2.0, hop_s=0.5), description="Emotion recognition."
    )
    speaker: ModelSettings = Field(
        ModelSettings(name="speaker-campplus", window_s=2.0, hop_s=0.5), description="Speaker verification."
    )
    identity: ModelSettings = Field(
        ModelSettings(name="", window_s=3.0, hop_s=1.0), description="Closed-set speaker identification."
    )
    overlap: ModelSettings = Field(
        ModelSettings(name="overlap-segmentation", window_s=5.0, hop_s=0.5),
        description="Overlapping speech, frame by frame; loaded only with a speaker model, whose hop it should have.",
    )


class AudioSettings(Branch):
    """What is done to audio before any model gets it."""

    conditioning: bool = Field(
        True,
        description="Remove a constant offset, rumble below 20 Hz and mains hum, and amplify very soft speech for the "
        "speech detector.",
    )


class GateSettings(Branch):
    """The speech gate: which windows contain enough speech to be scored."""

    on: Fraction = Field(0.5, description="Speech begins at this probability …")
    off: Fraction = Field(0.35, description="… and ends below this one.")
    min_speech_ms: int = Field(250, ge=0, le=5_000, description="Minimum length of a speech segment.")
    min_silence_ms: int = Field(300, ge=0, le=5_000, description="Minimum pause that ends a speech segment.")
    window_speech_ms: int = Field(500, ge=0, le=30_000, description="Minimum speech in a window for it to be scored.")
    new_speech_ms: int = Field(
        100, ge=0, le=30_000, description="Minimum speech in the last hop of a window for it to be scored."
    )

    @model_validator(mode="after")
    def _hysteresis(self) -> GateSettings:
        if self.off > self.on:
            msg = "off is above on; lower off or raise on"
            raise ValueError(msg)
        return self


class PoolSettings(Branch):
    """Inference threads and their queues."""

    workers: int = Field(1, ge=1, le=64, description="Inference threads (replicas) per model.")
    threads: int = Field(
        0, ge=0, le=256, description="BLAS threads per worker; 0: the cores divided among the workers."
    )
    max_batch: int = Field(8, ge=1, le=1_024, description="Maximum number of windows in a batch.")
    max_wait_ms: int = Field(
        5, ge=0, le=1_000, description="Maximum time that a batch waits to fill, with several streams."
    )
    timeout_s: Positive = Field(60.0, description="Time after which a batch is abandoned and its worker replaced.")
    deadline_ms: int = Field(
        1_000,
        ge=0,
        le=60_000,
        description="Age at which a queued window of live audio is replaced by a newer one of its stream.",
    )
    queue_windows: int = Field(4, ge=1, le=1_024, description="Maximum number of queued windows per stream and model.")
    cluster: str = Field(
        "",
        description="Ray cluster that runs the models: its address `host:port` or `ray://host:port`, `auto` for the "
        "one that this machine is part of, `local` to start one here. Empty: none, this node runs them.",
    )
    replicas: int = Field(1, ge=1, le=1_024, description="Processes in the cluster, each with all models.")
    num_cpus: float = Field(1.0, ge=0, le=1_024, description="CPU cores that Ray reserves for each replica.")
    num_gpus: float = Field(
        0.0, ge=0, le=64, description="GPUs that Ray reserves for each replica; a fraction shares one."
    )
    namespace: str = Field(
        "",
        max_length=64,
        description="Ray namespace in which nodes with equal models share replicas, which then outlive the nodes. "
        "Empty: each node has its own.",
    )
    cluster_samples: Literal["int16", "float32"] = Field(
        "int16", description="How audio travels to a replica; float32 gives exactly the scores of one machine."
    )
    cluster_timeout_s: Positive = Field(5.0, description="Time after which a batch in the cluster is given up.")
    fallback: Literal["same", "none"] = Field(
        "same",
        description="What scores windows while no replica answers: the same models on this node (loaded when first "
        "needed), or nothing.",
    )


class EmotionCalibrationSettings(Branch):
    """A calibration fitted on one's own recordings (`tonewatch calibrate emotion`)."""

    model: str = Field("", description="Emotion model that it was fitted for; with any other it is ignored.")
    temperature: Positive = Field(1.0, description="Divisor of the logits: above 1, less confident.")
    bias: dict[str, float] = Field({}, description="Added to the logit of a label; labels without one get 0.")


class EmotionSettings(Branch):
    """How the scores of single windows become a rolling emotion."""

    smoothing_s: Positive = Field(2.0, description="Time constant of the smoothing, in seconds of speech.")
    enter: Fraction = Field(0.5, description="Smoothed probability at which a label becomes current …")
    exit: Fraction = Field(0.4, description="… and below which it is dropped.")
    margin: Fraction = Field(0.1, description="Minimum lead of a label over the second one.")
    dwell_s: float = Field(1.0, ge=0, le=60, description="Minimum speech before a label changes.")
    trend_s: Positive = Field(
        30.0, description="Time constant of the slow average of arousal that its trend is relative to, in speech."
    )
    calibration: EmotionCalibrationSettings = Field(
        EmotionCalibrationSettings(), description="Calibration on one's own recordings."
    )


class TurnsSettings(Branch):
    """Where a speaker's turn ends."""

    pause_s: float = Field(1.0, ge=0.1, le=60, description="Silence that ends a turn.")
    min_s: float = Field(0.3, ge=0, le=60, description="Minimum length of a turn; shorter ones are not published.")


class Settings(Branch):
    """The whole tree."""

    node: NodeName = Field("tonewatch", description="Name of this node in topics and events.")
    sources: tuple[SourceSettings, ...] = Field((), description="Sources, if none are given on the command line.")
    models: ModelsSettings = Field(ModelsSettings(), description="Models.")
    audio: AudioSettings = Field(AudioSettings(), description="Conditioning of audio.")
    gate: GateSettings = Field(GateSettings(), description="Speech gate.")
    pool: PoolSettings = Field(PoolSettings(), description="Inference pool.")
    emotion: EmotionSettings = Field(EmotionSettings(), description="Rolling emotion.")
    speakers: SpeakersSettings = Field(SpeakersSettings(), description="Active speaker.")
    turns: TurnsSettings = Field(TurnsSettings(), description="Turns.")
    rooms: RoomsSettings = Field(RoomsSettings(), description="Rooms.")
    calls: CallsSettings = Field(CallsSettings(), description="Calls.")
    alerts: AlertsSettings = Field(AlertsSettings(), description="Alerts.")
    serve: ServeSettings = Field(ServeSettings(), description="Network listener.")
    sinks: tuple[SinkAddress, ...] = Field((), description="Sinks, if none are given on the command line.")
    mqtt: MqttSettings = Field(MqttSettings(), description="MQTT.")
    webhook: WebhookSettings = Field(WebhookSettings(), description="Webhook.")
    apprise: AppriseSettings = Field(AppriseSettings(), description="Notifications.")
    service: ServiceSettings = Field(ServiceSettings(), description="Unattended operation.")
    dashboard: DashboardSettings = Field(DashboardSettings(), description="Dashboard.")
    health_s: float = Field(10.0, ge=0.1, le=3_600, description="Seconds between two `health` events.")
    ring_s: float = Field(
        60.0, ge=35, le=600, description="Seconds of speech activity kept per stream, and maximum seconds of audio."
    )
    shutdown_timeout_s: float = Field(
        10.0, ge=0, le=600, description="Seconds that a shutdown may take before remaining work is cancelled."
    )

    @field_serializer("sinks", when_used="json")
    def _mask_sinks(self, sinks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(shown_sink, sinks))


LISTED: Mapping[tuple[type[Branch], str], type[Branch]] = {
    (Settings, "sources"): SourceSettings,
    (AlertsSettings, "rules"): AlertRuleSettings,
}
"""Settings that are lists of tables, and the branch of each table."""
