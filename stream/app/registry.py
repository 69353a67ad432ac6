"""Sources, models and sinks by name, through entry points, for built-in ones and plug-ins alike.

Three groups: `stream.sources` (called with `settings=SourceSettings`), `stream.models` (called with `ModelSettings`)
and `stream.sinks` (called with `target=str, settings=Settings`; the name is the target's scheme). A factory's module is
imported when it is first needed.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from stream.demo.conversation import AUDIO
from stream.errors import ModelNotFound, SettingsError, SourceNotFound, TonewatchError
from stream.settings import ModelSettings, Settings, SourceSettings
from stream.sources.network import is_address
from stream.types import Model, Sink, Source

SOURCES = "stream.sources"
MODELS = "stream.models"
SINKS = "stream.sinks"
PRETRAINED = "emotion-wav2vec2-large"
"""The entry point whose factory also loads folders and hub names."""


def names(group: str) -> tuple[str, ...]:
    """Return the names of a group's entry points."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


def source(settings: SourceSettings) -> Source:
    """Build a source without opening it. Raises `SourceError` or `SettingsError`."""
    made: Source = _factory(SOURCES, settings.kind, SourceNotFound)(settings=settings)
    return made


def parse_source(text: str) -> dict[str, Any]:
    """Return the settings of a source.

    That is `-`, `demo`, `microphone`, `microphone:NAME`, an address `SCHEME://…`, a plug-in's `KIND:TARGET`, a named
    pipe, or a file.

    A file of that name takes precedence over `demo` and over kinds.
    """
    if text == "-":
        return {"kind": "pipe"}
    if text == "demo" and not Path(text).exists():
        return demo_source()
    if Path(text).is_fifo():
        return {"kind": "pipe", "target": text}
    if is_address(text):
        return {"kind": "network", "target": text}
    kind, _, target = text.partition(":")
    if kind in names(SOURCES) and not Path(text).exists():
        return {"kind": kind, "target": target}
    return {"kind": "file", "target": text}


def demo_source() -> dict[str, Any]:
    """Return the settings of the bundled conversation as a source."""
    return {"kind": "file", "target": str(AUDIO), "id": "demo"}


def model(settings: ModelSettings) -> Model:
    """Load a model by its zoo name, a folder, or a hub name (`org/model`). Raises `ModelError` or `SettingsError`."""
    is_elsewhere = "/" in settings.name or Path(settings.name).is_dir()
    made: Model = _factory(MODELS, PRETRAINED if is_elsewhere else settings.name, ModelNotFound)(settings)
    return made


def sink(target: str, settings: Settings) -> Sink:
    """Build a sink from the value of `--sink` without opening it. Raises `SettingsError`."""
    scheme, separator, _ = target.partition(":")
    if not separator:
        scheme = "file" if Path(target).suffix in {".ndjson", ".jsonl"} else target
    if scheme not in names(SINKS):
        scheme = scheme.partition("+")[0]  # `apprise+ntfy`: one factory for many services
    made: Sink = _factory(SINKS, scheme, SettingsError)(target=target, settings=settings)
    return made


def _factory(group: str, name: str, error: type[TonewatchError]) -> Any:
    found: EntryPoint | None = next(iter(entry_points(group=group, name=name)), None)
    if found is None:
        kind = group.rpartition(".")[2].removesuffix("s")
        raise error(f"unknown {kind} {name!r}; available: {', '.join(names(group))}")
    return found.load()
