"""Options that commands share, and what becomes of them: the top layer of the settings.

Each option is declared once, so that `run`, `replay` and their neighbours take the same words in the same sense.
Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.errors import SettingsError

if TYPE_CHECKING:
    from stream.settings import Settings

Preset = Annotated[str, typer.Option(help="compact, pretrained or wav2vec2: which models, with which windows.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file on top of the preset.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting, e.g. pool.workers=2.")]
Sinks = Annotated[
    list[str] | None,
    typer.Option("--sink", help="Where events go: stdout, FILE.ndjson, mqtt://HOST/PREFIX. May be given again."),
]
Emotion = Annotated[str | None, typer.Option(help="Emotion model: a zoo name, ORG/MODEL, a folder, or '' for none.")]
Speaker = Annotated[str | None, typer.Option(help="Speaker model, likewise.")]
Profiles = Annotated[
    str | None, typer.Option(metavar="FILE", help="The file of enrolled people, if not the usual one; '' for none.")
]
Channels = Annotated[str | None, typer.Option(help="mix, split, or the number of one channel.")]
Enroll = Annotated[
    list[str] | None, typer.Option(metavar="NAME=FILE", help="Someone to know by name. May be given again.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No panel and no summary.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell more on standard error.")]


def as_layer(
    *,
    settings: list[str] | None,
    emotion: str | None = None,
    speaker: str | None = None,
    profiles: str | None = None,
    sinks: list[str] | None = None,
    enroll: list[str] | None = None,
) -> dict[str, Any]:
    """The command line as a layer of settings. Raises `SettingsError`."""
    from stream.settings import layered, plant  # noqa: PLC0415

    layer = layered(settings or [])
    named = (("models.emotion.name", emotion), ("models.speaker.name", speaker), ("speakers.profiles", profiles))
    for key, given in named:
        if given is not None:
            plant(layer, key, given)
    if sinks:
        layer["sinks"] = sinks
    if enroll:
        pairs = [_pair(text, "--enroll", "NAME=FILE") for text in enroll]
        layer.setdefault("speakers", {})["enrolled"] = dict(pairs)
    return layer


def settings_of(layer: Mapping[str, Any], *, preset: str, config: Path | None) -> Settings:
    """All settings, the command line's on top. Raises `SettingsError`."""
    from stream.settings import load  # noqa: PLC0415

    return load(preset=preset, config=config, environment=os.environ, flags=layer)


def profiles_path(settings: Settings) -> Path:
    """The file of profiles. Raises `SettingsError` where the settings want none."""
    from stream.profiles.store import path_of  # noqa: PLC0415

    path = path_of(settings.speakers.profiles)
    if path is None:
        raise SettingsError(
            "speakers.profiles is empty, so there is no file of profiles; name one with --profiles FILE"
        )
    return path


def source_of(text: str) -> dict[str, Any]:
    """`-`, `demo`, `microphone`, `microphone:NAME`, `KIND:TARGET` of a plug-in, or a file: a source's settings."""
    from stream.app.registry import SOURCES, names  # noqa: PLC0415

    if text == "-":
        return {"kind": "pipe"}
    if text == "demo" and not Path(text).exists():
        from stream.demo.conversation import AUDIO  # noqa: PLC0415

        return {"kind": "file", "target": str(AUDIO), "id": "demo"}
    kind, _, target = text.partition(":")
    if kind in names(SOURCES) and not Path(text).exists():
        return {"kind": kind, "target": target}
    return {"kind": "file", "target": text}


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not (separator and key):
        raise SettingsError(f"{option} takes {form}, not {text!r}")
    return key, value
