"""The settings tree: one frozen object, read once at the start."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from stream.settings.base import Branch, Fraction, Positive
from stream.settings.calls import AlertsSettings, CallsSettings
from stream.settings.dashboard import DashboardSettings
from stream.settings.mqtt import MqttSettings
from stream.settings.serve import ServeSettings
from stream.settings.service import ServiceSettings
from stream.settings.speakers import SpeakersSettings


class SourceSettings(Branch):
    """One source of sound."""

    kind: str = Field("file", description="Which source: `microphone`, `file`, `pipe`, or one a plug-in adds.")
    id: str = Field(
        "", max_length=64, description="Name in events and topics; made from the kind or file name when empty."
    )
    target: str = Field("", description="A file's path; a microphone's name or index (empty: the default one).")
    channels: str = Field(
        "mix",
        pattern=r"^(mix|split|[1-9][0-9]?|customer-agent|agent-customer|customer|agent)$",
        description="`mix` all channels into one stream, `split` one stream a channel, or the number of one; "
        "`customer-agent` or `agent-customer`: the left and right channel are the two parties of a call; "
        "`customer` or `agent`: the sound is one party of a call.",
    )
    realtime: bool = Field(False, description="Pace a file as if it were heard now.")
    rate_hz: int = Field(16_000, ge=4_000, le=384_000, description="Frames a second of raw PCM on standard input.")
    pcm_channels: int = Field(1, ge=1, le=64, description="Channels of raw PCM on standard input.")
    pcm_format: Literal["s16le", "f32le"] = Field("s16le", description="Samples of raw PCM on standard input.")


class ModelSettings(Branch):
    """One model and the windows it sees."""

    name: str = Field(description="A name of the zoo, a hub name (`org/model`) or a folder; empty: none.")
    revision: str = Field("", description="Commit, tag or branch on the hub; empty: the pinned one.")
    window_s: float = Field(ge=0.5, le=30, description="Length of a window in seconds.")
    hop_s: float = Field(ge=0.05, le=30, description="From one window's end to the next one's in seconds.")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Where it runs.")
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = Field(
        "auto",
        description="What it computes in; auto: what this machine is quickest in without harm (`tonewatch doctor`). "
        "int8 is quicker and less exact, for pretrained models on the processor only.",
    )

    @model_validator(mode="after")
    def _hop_within_window(self) -> ModelSettings:
        if self.hop_s > self.window_s:
            msg = "hop_s must not be longer than window_s, or sound would go unheard"
            raise ValueError(msg)
        return self


class ModelsSettings(Branch):
    """Which models listen."""

    emotion: ModelSettings = Field(
        ModelSettings(name="compact-emotion", window_s=3.0, hop_s=1.0), description="Emotion."
    )
    speaker: ModelSettings = Field(
        ModelSettings(name="compact-speaker", window_s=2.0, hop_s=0.5), description="Speaker verification."
    )
    identity: ModelSettings = Field(
        ModelSettings(name="", window_s=3.0, hop_s=1.0), description="Closed-set speaker identification."
    )
    overlap: ModelSettings = Field(
        ModelSettings(name="", window_s=2.0, hop_s=0.5),
        description="Several people at once, frame by frame; its hop should be that of the speaker model.",
    )


class GateSettings(Branch):
    """The speech gate: which windows are worth a model's time."""

    on: Fraction = Field(0.5, description="Speech begins at this probability …")
    off: Fraction = Field(0.35, description="… and ends below this one.")
    min_speech_ms: int = Field(250, ge=0, le=5_000, description="Shorter bursts are not speech.")
    min_silence_ms: int = Field(300, ge=0, le=5_000, description="Shorter pauses do not end a stretch of speech.")
    window_speech_ms: int = Field(500, ge=0, le=30_000, description="Speech a window must hold to be scored.")
    new_speech_ms: int = Field(100, ge=0, le=30_000, description="Speech its last hop must hold to be scored.")

    @model_validator(mode="after")
    def _hysteresis(self) -> GateSettings:
        if self.off > self.on:
            msg = "off must not be above on"
            raise ValueError(msg)
        return self


class PoolSettings(Branch):
    """Worker threads and the queue before them."""

    workers: int = Field(1, ge=1, le=64, description="Threads (replicas) for each model.")
    threads: int = Field(0, ge=0, le=256, description="BLAS threads for each worker; 0: the cores shared out.")
    max_batch: int = Field(8, ge=1, le=1_024, description="Windows a batch holds at most.")
    max_wait_ms: int = Field(5, ge=0, le=1_000, description="How long a batch waits to fill, when several streams run.")
    timeout_s: Positive = Field(60.0, description="A batch that takes longer is lost, and its worker is replaced.")
    deadline_ms: int = Field(
        1_000,
        ge=0,
        le=60_000,
        description="Age from which a waiting window of live sound gives way to a fresher one of its stream.",
    )
    queue_windows: int = Field(4, ge=1, le=1_024, description="Windows of one stream that wait for one model at most.")


class EmotionSettings(Branch):
    """How single windows become a rolling emotion."""

    smoothing_s: Positive = Field(2.0, description="Time constant of the average, in seconds of speech.")
    enter: Fraction = Field(0.5, description="A label is taken up at this smoothed probability …")
    exit: Fraction = Field(0.4, description="… and given up below this one.")
    margin: Fraction = Field(0.1, description="Lead over the runner-up that a label needs.")
    dwell_s: float = Field(1.0, ge=0, le=60, description="Speech for which a label holds at least.")


class TurnsSettings(Branch):
    """Where one person's turn ends."""

    pause_s: float = Field(1.0, ge=0.1, le=60, description="Silence that ends a turn.")
    min_s: float = Field(0.3, ge=0, le=60, description="Shorter turns are not told.")


class Settings(Branch):
    """The whole tree."""

    node: str = Field(
        "tonewatch", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="This machine's name in topics and events."
    )
    sources: tuple[SourceSettings, ...] = Field((), description="Sources, when none are given on the command line.")
    models: ModelsSettings = Field(ModelsSettings(), description="Models.")
    gate: GateSettings = Field(GateSettings(), description="Speech gate.")
    pool: PoolSettings = Field(PoolSettings(), description="Worker pool.")
    emotion: EmotionSettings = Field(EmotionSettings(), description="Rolling emotion.")
    speakers: SpeakersSettings = Field(SpeakersSettings(), description="Active speaker.")
    turns: TurnsSettings = Field(TurnsSettings(), description="Turns.")
    calls: CallsSettings = Field(CallsSettings(), description="Calls.")
    alerts: AlertsSettings = Field(AlertsSettings(), description="Alerts of calls.")
    serve: ServeSettings = Field(ServeSettings(), description="The listener.")
    sinks: tuple[str, ...] = Field((), description="Sinks, when none are given on the command line.")
    mqtt: MqttSettings = Field(MqttSettings(), description="MQTT.")
    service: ServiceSettings = Field(ServiceSettings(), description="Running unattended.")
    dashboard: DashboardSettings = Field(DashboardSettings(), description="The page.")
    health_s: float = Field(10.0, ge=0.1, le=3_600, description="Seconds between two `health` events.")
    ring_s: float = Field(
        60.0, ge=35, le=600, description="Seconds a stream remembers where speech was, and of sound at most."
    )
    shutdown_timeout_s: float = Field(
        10.0, ge=0, le=600, description="Seconds that a stop may take before what is left is cut off."
    )
