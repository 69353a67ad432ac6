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
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from stream.errors import SettingsError
from stream.settings.tree import Settings, SourceSettings

ENVIRONMENT_PREFIX = "TONEWATCH__"
SECRETS = (("mqtt", "password"), ("service", "token"))
"""What a file may hold only if nobody else can read it."""

DEFAULT_PRESET = "compact"
"""What is used when no preset is named."""

Layer = tuple[str, Mapping[str, Any]]
"""A layer's name (as a refusal shows it) and its nested values."""


def config_folder() -> Path:
    """Where the shipped presets lie: beside `stream/` in a checkout, inside the package in a wheel."""
    package = Path(__file__).parent.parent
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
