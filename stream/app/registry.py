"""Names to factories, by entry points: the same door for what ships and for what a plug-in adds.

Three groups: `stream.sources` (called with `settings=SourceSettings`), `stream.models` (called with `ModelSettings`)
and `stream.sinks` (called with `target=str, settings=Settings`; the name is the target's scheme). A factory's module
is imported only when it is asked for, so that nobody pays for what he does not use.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from stream.errors import ModelNotFound, SettingsError, SourceNotFound, TonewatchError
from stream.settings import ModelSettings, Settings, SourceSettings
from stream.types import Model, Sink, Source

SOURCES = "stream.sources"
MODELS = "stream.models"
SINKS = "stream.sinks"
PRETRAINED = "emotion-wav2vec2-large"
"""The entry whose factory also loads folders and hub names."""


def names(group: str) -> tuple[str, ...]:
    """What is registered in a group."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


def source(settings: SourceSettings) -> Source:
    """Build a source; it opens nothing yet."""
    made: Source = _factory(SOURCES, settings.kind, SourceNotFound)(settings=settings)
    return made


def model(settings: ModelSettings) -> Model:
    """Load a model by its zoo name, a folder, or a hub name (`org/model`)."""
    elsewhere = "/" in settings.name or Path(settings.name).is_dir()
    made: Model = _factory(MODELS, PRETRAINED if elsewhere else settings.name, ModelNotFound)(settings)
    return made


def sink(target: str, settings: Settings) -> Sink:
    """Build a sink from what was written after `--sink`; it opens nothing yet."""
    scheme, separator, _ = target.partition(":")
    if not separator:
        scheme = "file" if Path(target).suffix in {".ndjson", ".jsonl"} else target
    made: Sink = _factory(SINKS, scheme, SettingsError)(target=target, settings=settings)
    return made


def _factory(group: str, name: str, refusal: type[TonewatchError]) -> Any:
    found: EntryPoint | None = next(iter(entry_points(group=group, name=name)), None)
    if found is None:
        kind = group.rpartition(".")[2].removesuffix("s")
        raise refusal(f"there is no {kind} called {name!r}; there are {', '.join(names(group))}")
    return found.load()
