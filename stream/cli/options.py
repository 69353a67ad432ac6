"""Options that several commands share, and the settings layer made of them.

Each option is declared once, so that all commands spell it and describe it alike. Heavy modules are imported inside the
functions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.errors import SettingsError

if TYPE_CHECKING:
    from stream.settings import Settings

Preset = Annotated[str, typer.Option(help="Models and windows: compact, tiny, pretrained or wav2vec2.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file on top of the preset.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting, e.g. pool.workers=2. Repeatable.")
]
Sinks = Annotated[
    list[str] | None,
    typer.Option("--sink", help="Destination of events: stdout, FILE.ndjson, mqtt://HOST/PREFIX. Repeatable."),
]
Emotion = Annotated[str | None, typer.Option(help="Emotion model: a zoo name, ORG/MODEL, a folder; '' for none.")]
Speaker = Annotated[str | None, typer.Option(help="Speaker model: a zoo name, ORG/MODEL, a folder; '' for none.")]
Profiles = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Profile database; '' for none. Default: the user's data folder."),
]
Channels = Annotated[
    str | None, typer.Option(help="mix, split, the number of one channel, customer-agent or agent-customer.")
]
Enroll = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=FILE", help="Recognise NAME from the voice in FILE. Repeatable."),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show neither panel nor summary, nor what the machine carries.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more detail to standard error.")]


def options_layer(
    *,
    settings: list[str] | None,
    emotion: str | None = None,
    speaker: str | None = None,
    profiles: str | None = None,
    sinks: list[str] | None = None,
    enroll: list[str] | None = None,
    keys: Mapping[str, str | int | None] | None = None,
) -> dict[str, Any]:
    """Build the settings layer of the command line.

    `settings` are the texts after `--set`; `keys` maps further settings keys to the options that stand for them, None
    for an option that was not given. Raises `SettingsError`.
    """
    from stream.settings import assignments_layer, set_key  # noqa: PLC0415

    layer = assignments_layer(settings or [])
    named = {"models.emotion.name": emotion, "models.speaker.name": speaker, "speakers.profiles": profiles}
    for key, given in {**named, **(keys or {})}.items():
        if given is not None:
            set_key(layer, key, str(given))
    if sinks:
        layer["sinks"] = sinks
    if enroll:
        pairs = [_split_pair(text, option="--enroll", form="NAME=FILE") for text in enroll]
        set_key(layer, "speakers.enrolled", json.dumps(dict(pairs)))
    return layer


def read_settings(layer: Mapping[str, Any], *, preset: str, config: Path | None) -> Settings:
    """Read all layers of the settings with `layer` on top. Raises `SettingsError`."""
    from stream.settings import load  # noqa: PLC0415

    return load(preset=preset, config=config, environment=os.environ, flags=layer)


def profiles_path(settings: Settings) -> Path:
    """Return the path of the profile database. Raises `SettingsError` if the settings switch it off."""
    from stream.profiles.store import database_path  # noqa: PLC0415

    path = database_path(settings.speakers.profiles)
    if path is None:
        raise SettingsError("no profile database: speakers.profiles is empty; name one with --profiles FILE")
    return path


@contextmanager
def demo_people(settings: Settings) -> Iterator[Settings]:
    """Yield the settings with the people of the bundled conversation enrolled, if those name no people themselves.

    The profiles are in a temporary file. A speaker model that they have no x-vectors of gets the recordings.
    """
    from tempfile import TemporaryDirectory  # noqa: PLC0415

    from stream.demo.conversation import ENROLMENTS, PROFILES  # noqa: PLC0415
    from stream.profiles import transfer  # noqa: PLC0415
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    speakers, model = settings.speakers, settings.models.speaker.name
    if not model or speakers.enrolled or speakers.profiles != "auto":
        yield settings
        return
    profiles = transfer.read(PROFILES)
    if model not in {ref.name for profile in profiles for ref in profile.models}:
        enrolled = {name: str(path) for name, path in ENROLMENTS.items()}
        yield _with_speakers(settings, enrolled=enrolled, profiles="")
        return
    with TemporaryDirectory(prefix="tonewatch-demo-") as folder:
        path = Path(folder) / "profiles.sqlite"
        with ProfileStore(path, create=True) as store:
            store.restore(profiles)
        yield _with_speakers(settings, profiles=str(path))


def _with_speakers(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"speakers": settings.speakers.model_copy(update=changes)})


def _split_pair(text: str, *, option: str, form: str) -> tuple[str, str]:
    """Split `KEY=VALUE`. Raises `SettingsError`."""
    key, separator, value = text.partition("=")
    if not (separator and key):
        raise SettingsError(f"{option} takes {form}, not {text!r}")
    return key, value
