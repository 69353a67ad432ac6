"""What can be set: one frozen tree, read once at the start.

Layers, each on top of the one before: `config/default.toml`, a preset (`config/<name>.toml`), the `--config` file,
the environment (`TONEWATCH__POOL__WORKERS=2`), the command line. A layer is a plain nested mapping; merging keeps,
for every key, the name of the layer that set it, so that a refusal can name the file (or variable, or flag), the key
and what it may be. Refused are: files that are not TOML, keys that do not exist, values that cannot be.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from stream.errors import SettingsError
from stream.settings_calls import AlertsSettings, CallsSettings, DashboardSettings, ServeSettings
from stream.settings_mqtt import MqttSettings
from stream.settings_service import ServiceSettings
from stream.settings_speakers import SpeakersSettings

ENVIRONMENT_PREFIX = "TONEWATCH__"
SECRETS = (("mqtt", "password"), ("service", "token"))
"""What a file may hold only if nobody else can read it."""

DEFAULT_PRESET = "compact"
"""What is used when no preset is named."""

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Branch(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class SourceSettings(_Branch):
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


class ModelSettings(_Branch):
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


class ModelsSettings(_Branch):
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


class GateSettings(_Branch):
    """The speech gate: which windows are worth a model's time."""

    on: Fraction = Field(0.5, description="Speech begins at this probability …")
    off: Fraction = Field(0.35, description="… and ends below this one.")
    min_speech_ms: int = Field(250, ge=0, le=5_000, description="Shorter bursts are not speech.")
    min_silence_ms: int = Field(300, ge=0, le=5_000, description="Shorter pauses do not end a stretch of speech.")
    window_speech_ms: int = Field(500, ge=0, le=30_000, description="Speech a window must hold to be scored.")
    fresh_speech_ms: int = Field(100, ge=0, le=30_000, description="Speech its last hop must hold to be scored.")

    @model_validator(mode="after")
    def _hysteresis(self) -> GateSettings:
        if self.off > self.on:
            msg = "off must not be above on"
            raise ValueError(msg)
        return self


class PoolSettings(_Branch):
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


class EmotionSettings(_Branch):
    """How single windows become a rolling emotion."""

    smoothing_s: Positive = Field(2.0, description="Time constant of the average, in seconds of speech.")
    enter: Fraction = Field(0.5, description="A label is taken up at this smoothed probability …")
    exit: Fraction = Field(0.4, description="… and given up below this one.")
    margin: Fraction = Field(0.1, description="Lead over the runner-up that a label needs.")
    dwell_s: float = Field(1.0, ge=0, le=60, description="Speech for which a label holds at least.")


class TurnsSettings(_Branch):
    """Where one person's turn ends."""

    pause_s: float = Field(1.0, ge=0.1, le=60, description="Silence that ends a turn.")
    min_s: float = Field(0.3, ge=0, le=60, description="Shorter turns are not told.")


class Settings(_Branch):
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
    grace_s: float = Field(
        10.0, ge=0, le=600, description="Seconds that a stop may take before what is left is cut off."
    )


Layer = tuple[str, Mapping[str, Any]]
"""A layer's name (as a refusal shows it) and its nested values."""


def config_folder() -> Path:
    """Where the shipped presets lie: beside `stream/` in a checkout, inside the package in a wheel."""
    package = Path(__file__).parent
    packaged = package / "config"
    return packaged if packaged.is_dir() else package.parent / "config"


def presets() -> dict[str, Path]:
    """The shipped presets by name."""
    return {path.stem: path for path in sorted(config_folder().glob("*.toml")) if path.stem != "default"}


def load(
    *,
    preset: str = DEFAULT_PRESET,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> Settings:
    """Read all layers and return the tree. Raises `SettingsError`, naming layer, key and allowed values."""
    known = presets()
    if preset not in known:
        msg = f"there is no preset {preset!r}; the presets are {', '.join(known)}"
        raise SettingsError(msg)
    layers: list[Layer] = [file_layer(config_folder() / "default.toml"), file_layer(known[preset])]
    if config is not None:
        layers.append(_guarded(file_layer(config), config))
    layers.extend(environment_layers(environment or {}))
    if flags:
        layers.append(("the command line", flags))
    return build(layers)


def file_layer(path: Path) -> Layer:
    """A TOML file as a layer."""
    try:
        return str(path), tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"there is no configuration file {path}"
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read: {error}"
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not valid TOML: {error}"
    raise SettingsError(msg)


def _guarded(layer: Layer, path: Path) -> Layer:
    """A file that holds a secret must be its owner's alone."""
    _, values = layer
    for branch, key in SECRETS:
        held = values.get(branch)
        if isinstance(held, Mapping) and held.get(key) and path.stat().st_mode & 0o077:
            raise SettingsError(
                f"{path} holds {branch}.{key}, and others can read it; run `chmod 600 {path}`, "
                f"or set {ENVIRONMENT_PREFIX}{branch.upper()}__{key.upper()} instead"
            )
    return layer


def environment_layers(environment: Mapping[str, str]) -> Iterator[Layer]:
    """Each `TONEWATCH__A__B=value` as a layer `{a: {b: value}}`; numbers, booleans and lists are read as JSON."""
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        value = typed(path, environment[name])
        for key in reversed(path):
            value = {key: value}
        yield f"the environment variable {name}", value


def typed(path: Sequence[str], text: str) -> Any:
    """What was typed for a key: JSON, or a plain word; for a setting that is text, `12345` is a word, too."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    branch: Any = Settings
    for part in path:
        known = isinstance(branch, type) and issubclass(branch, BaseModel) and part in branch.model_fields
        branch = branch.model_fields[part].annotation if known else None
    return text if branch in (str, SecretStr) and not isinstance(value, str) else value


def layered(assignments: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` texts, as typed after `--set`, as one layer; what comes later wins. Raises `SettingsError`."""
    tree: dict[str, Any] = {}
    for text in assignments:
        key, separator, value = text.partition("=")
        if not (separator and key):
            msg = f"--set takes KEY=VALUE, not {text!r}"
            raise SettingsError(msg)
        plant(tree, key, value)
    return tree


def plant(tree: dict[str, Any], key: str, value: str) -> None:
    """Put what was typed for `a.b.c` into a nested layer."""
    *branches, leaf = path = key.split(".")
    for branch in branches:
        if not isinstance(tree.get(branch), dict):
            tree[branch] = {}  # what comes later wins
        tree = tree[branch]
    tree[leaf] = typed(path, value)


def build(layers: Sequence[Layer]) -> Settings:
    """Merge layers, the last on top, and check the whole."""
    merged: dict[str, Any] = {}
    origins: dict[tuple[str, ...], str] = {}
    for name, values in layers:
        _merge(merged, values, origins=origins, layer=name, path=())
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(_explain(error, origins)) from None


def _merge(
    into: dict[str, Any],
    values: Mapping[str, Any],
    *,
    origins: dict[tuple[str, ...], str],
    layer: str,
    path: tuple[str, ...],
) -> None:
    for key, value in values.items():
        here = (*path, key)
        origins[here] = layer
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            _merge(into.setdefault(key, {}), value, origins=origins, layer=layer, path=here)
        else:
            into[key] = value


def _explain(error: ValidationError, origins: Mapping[tuple[str, ...], str]) -> str:
    """The first fault, in one sentence."""
    fault = error.errors(include_url=False, include_input=True)[0]
    path = tuple(str(part) for part in fault["loc"])
    layer = next(
        (origins[path[:depth]] for depth in range(len(path), 0, -1) if path[:depth] in origins), "the settings"
    )
    key = ".".join(path)
    if fault["type"] == "extra_forbidden":
        return f"{layer}: there is no setting {key!r}; beside it may stand {', '.join(_siblings(path))}"
    reason = str(fault["msg"]).removeprefix("Value error, ")
    given = fault["input"]
    shown = (
        ""
        if isinstance(given, Mapping | BaseModel | SecretStr) or {"password", "token"} & set(path)
        else f", not {given!r}"
    )
    return f"{layer}: {key or 'it'}: {reason[:1].lower()}{reason[1:]}{shown}"


def _siblings(path: tuple[str, ...]) -> list[str]:
    branch: type[BaseModel] = Settings
    for part in path[:-1]:
        if part.isdigit():
            continue
        inner = branch.model_fields[part].annotation
        if part == "sources":
            inner = SourceSettings
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        branch = inner
    return list(branch.model_fields)


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting, for the documentation."""

    key: str
    kind: str
    default: str
    description: str


def _kind(schema: Mapping[str, Any]) -> str:
    """A JSON Schema's type in words."""
    if "enum" in schema:
        return "one of " + ", ".join(str(value) or '""' for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    low, high, above = (schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    bounds = f" above {above:g}" if above is not None else "" if low is None else f" from {low:g}"
    if low is not None and high is not None:
        bounds = f" {low:g} … {high:g}"
    words = {"string": "text", "array": "list", "object": "table", "boolean": "yes or no", "null": "unset"}
    kind = str(schema["type"])
    return words.get(kind, kind) + bounds


def rows(branch: type[BaseModel] = Settings, prefix: str = "", values: BaseModel | None = None) -> Iterator[SettingRow]:
    """Every setting there is, depth first, with its default."""
    for name, field in branch.model_fields.items():
        value = getattr(values, name) if values is not None else field.get_default(call_default_factory=True)
        if isinstance(value, BaseModel):
            yield from rows(type(value), f"{prefix}{name}.", value)
        elif name == "sources":
            yield SettingRow("sources", "list of tables", "[]", field.description or "")
            yield from rows(SourceSettings, "sources[].")
        else:
            shown = value.get_secret_value() if isinstance(value, SecretStr) else value
            kind = _kind(branch.model_json_schema()["properties"][name])
            yield SettingRow(f"{prefix}{name}", kind, json.dumps(shown), field.description or "")
