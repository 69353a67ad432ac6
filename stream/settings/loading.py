"""Reading the settings: layers, their merge, and error messages that name layer and key.

Layers, each on top of the one before: `config/default.toml`, a preset (`config/<name>.toml`), the `--config` file,
the environment (`TONEWATCH__POOL__WORKERS=2`), the command line. A layer is a nested mapping; the merge keeps, for
every key, the name of the layer that set it, so that an error can name the file (or variable, or option), the key and
the values it takes. Refused are files that are not TOML, unknown and renamed keys, wrong values, and files with
secrets that other users can read. No message contains the value of a secret.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from stream.errors import SettingsError
from stream.settings.base import ANY_ITEM, Branch, masked_address, secret_paths
from stream.settings.secret_files import read_secret_files
from stream.settings.tree import LISTED, Settings

ENVIRONMENT_PREFIX = "TONEWATCH__"

DEFAULT_PRESET = "compact"
"""The preset that is used when none is named."""

RENAMED = {
    "grace_s": "shutdown_timeout_s",
    "gate.fresh_speech_ms": "gate.new_speech_ms",
    "speakers.caution": "speakers.enrolled_penalty",
    "speakers.novel_caution": "speakers.new_voice_penalty",
    "speakers.strictness": "speakers.log_odds_penalty",
    "speakers.novelty": "speakers.new_voice_prior",
    "speakers.hold": "speakers.continuity",
    "speakers.hold_s": "speakers.continuity_s",
    "serve.idle_s": "serve.idle_timeout_s",
    "serve.ahead_s": "serve.max_ahead_s",
    "serve.stall_s": "serve.write_timeout_s",
    "service.stuck_s": "service.stall_timeout_s",
    "mqtt.homeassistant": "mqtt.discovery_prefix",
}
"""Earlier keys and their successors; an earlier key is refused with the new one in the message."""

Layer = tuple[str, Mapping[str, Any]]
"""A layer's name, as error messages show it, and its nested values."""


def config_folder() -> Path:
    """Return the folder of the shipped presets: beside `stream/` in a checkout, inside the package in a wheel."""
    package = Path(__file__).parent.parent
    packaged = package / "config"
    return packaged if packaged.is_dir() else package.parent / "config"


def presets() -> dict[str, Path]:
    """Return the shipped presets by name."""
    return {path.stem: path for path in sorted(config_folder().glob("*.toml")) if path.stem != "default"}


def presets_with_speaker(model: str) -> list[str]:
    """Return the names of the presets whose speaker model is `model`."""
    layers = {name: file_layer(path) for name, path in presets().items()}
    return [name for name, (_, values) in layers.items() if model in _find(values, ("models", "speaker", "name"))]


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
        raise SettingsError(f"unknown preset {preset!r}; available: {', '.join(known)}")
    layers: list[Layer] = [file_layer(config_folder() / "default.toml"), file_layer(known[preset])]
    if config is not None:
        layers.append(file_layer(config))
        _require_private_file(config, layers[-1][1])
    layers.extend(environment_layers(environment or {}))
    if flags:
        _refuse_secrets(flags)
        layers.append(("the command line", flags))
    return build(layers)


def file_layer(path: Path) -> Layer:
    """Read a TOML file as a layer. Raises `SettingsError`."""
    try:
        return str(path), tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = f"no configuration file {path}; check its path"
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        msg = f"cannot read {path} ({why}); name a TOML file"
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not valid TOML: {error}"
    raise SettingsError(msg)


def environment_layers(environment: Mapping[str, str]) -> Iterator[Layer]:
    """Yield each `TONEWATCH__A__B=value` as a layer `{a: {b: value}}`; numbers, booleans and lists are read as JSON."""
    for name in sorted(environment):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        value = parse_value(path, environment[name])
        for key in reversed(path):
            value = {key: value}
        yield f"the environment variable {name}", value


def parse_value(path: Sequence[str], text: str) -> Any:
    """Parse the text given for a key, or take it as a string; text for a string setting is never parsed.

    A value is JSON; a list or a table may also be that of a settings file: `{hall = 6.0}`.
    """
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = tomllib.loads(f"value = {text}")["value"] if text.startswith(("{", "[")) else text
        except (tomllib.TOMLDecodeError, RecursionError):
            return text
    branch: Any = Settings
    for part in path:
        known = isinstance(branch, type) and issubclass(branch, BaseModel) and part in branch.model_fields
        branch = branch.model_fields[part].annotation if known else None
    return text if branch in (str, SecretStr) and not isinstance(value, str) else value


def assignments_layer(assignments: Sequence[str]) -> dict[str, Any]:
    """Build a layer of the `KEY=VALUE` texts after `--set`; later ones win. Raises `SettingsError`."""
    tree: dict[str, Any] = {}
    for text in assignments:
        key, separator, value = text.partition("=")
        if not (separator and key):
            start = re.match(r"[\w.]*", text)  # what follows may be a secret
            raise SettingsError(f"--set takes KEY=VALUE, not {start[0] if start else ''!r}")
        set_key(tree, key, value)
    return tree


def set_key(tree: dict[str, Any], key: str, value: str) -> None:
    """Set the key `a.b.c` of a nested layer to the parsed text; an earlier value that is no table is replaced."""
    *branches, leaf = path = key.split(".")
    for branch in branches:
        if not isinstance(tree.get(branch), dict):
            tree[branch] = {}
        tree = tree[branch]
    tree[leaf] = parse_value(path, value)


def build(layers: Sequence[Layer]) -> Settings:
    """Merge layers, the last on top, and validate the result. Raises `SettingsError`."""
    merged: dict[str, Any] = {}
    origins: dict[tuple[str, ...], str] = {}
    for name, values in layers:
        _refuse_renamed(name, values)
        _merge(merged, values, origins=origins, layer=name, path=())
    read_secret_files(merged)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(_explain(error, origins)) from None


def _refuse_renamed(layer: str, values: Mapping[str, Any]) -> None:
    """Refuse a layer that sets an earlier name of a key. Raises `SettingsError`."""
    for old, new in RENAMED.items():
        if _find(values, old.split(".")):
            raise SettingsError(f"{layer}: setting {old!r} was renamed; use {new!r}")


def _require_private_file(path: Path, values: Mapping[str, Any]) -> None:
    """Refuse a file that contains a secret and that other users can read. Raises `SettingsError`."""
    if not path.stat().st_mode & 0o077:
        return
    for secret in secret_paths(Settings):
        if any(_find(values, secret)):
            raise SettingsError(
                f"{path} contains {'.'.join(secret)} and other users can read it; "
                f"run `chmod 600 {path}` or set {_variable(secret)} instead"
            )


def _refuse_secrets(flags: Mapping[str, Any]) -> None:
    """Refuse a secret on the command line, which every user of the machine can read. Raises `SettingsError`."""
    for secret in secret_paths(Settings):
        if any(_find(flags, secret)):
            key = ".".join(secret)
            raise SettingsError(
                f"{key} is a secret and every user of this machine can read a command line; "
                f"set {_variable(secret)} or name a file in {key}_file instead"
            )


def _variable(secret: Sequence[str]) -> str:
    """Return the environment variable that sets a secret."""
    return ENVIRONMENT_PREFIX + "__".join(takewhile(lambda key: key != ANY_ITEM, secret)).upper()


def _find(values: Any, path: Sequence[str]) -> list[Any]:
    """Return what nested values contain at a path: one or none, or several if it goes through `ANY_ITEM`."""
    found = [values]
    for key in path:
        tables = [value for value in found if isinstance(value, Mapping)]
        if key == ANY_ITEM:
            lists = [value for value in found if isinstance(value, list)]
            found = [item for items in (*lists, *(table.values() for table in tables)) for item in items]
        else:
            found = [table[key] for table in tables if key in table]
    return found


def _merge(
    into: dict[str, Any],
    values: Mapping[str, Any],
    *,
    origins: dict[tuple[str, ...], str],
    layer: str,
    path: tuple[str, ...],
) -> None:
    """Merge a layer into the values below it; `origins` records the layer that set each path."""
    for key, value in values.items():
        here = (*path, key)
        origins[here] = layer
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            _merge(into.setdefault(key, {}), value, origins=origins, layer=layer, path=here)
        else:
            into[key] = value


def _explain(error: ValidationError, origins: Mapping[tuple[str, ...], str]) -> str:
    """Describe the first fault in one line: the layer, the key, and the values it takes."""
    fault = error.errors(include_url=False, include_input=True)[0]
    path = tuple(str(part) for part in fault["loc"])
    layer = next(
        (origins[path[:depth]] for depth in range(len(path), 0, -1) if path[:depth] in origins), "the settings"
    )
    key = ".".join(path)
    if fault["type"] == "extra_forbidden":
        return f"{layer}: unknown setting {key!r}; valid keys: {', '.join(_siblings(path))}"
    reason = str(fault["msg"]).removeprefix("Value error, ")
    given = fault["input"]
    hidden = isinstance(given, Mapping | BaseModel) or _contains_secret(path)
    given = masked_address(given) if isinstance(given, str) and "://" in given else given
    return f"{layer}: {key}: {reason[:1].lower()}{reason[1:]}" + ("" if hidden else f", not {given!r}")


def _contains_secret(path: Sequence[str]) -> bool:
    """Whether a path leads to a secret, to a part of one, or to a branch that has one."""
    return any(
        all(key in (part, ANY_ITEM) for part, key in zip(path, secret, strict=False))
        for secret in secret_paths(Settings)
    )


def _siblings(path: Sequence[str]) -> list[str]:
    """Return the valid keys of the branch that the last key of a path was looked up in."""
    branch: type[Branch] = Settings
    for part in path[:-1]:
        if part.isdigit():
            continue
        inner = branch.model_fields[part].annotation
        inner = LISTED.get((branch, part), inner)
        if not (isinstance(inner, type) and issubclass(inner, Branch)):
            return []
        branch = inner
    return list(branch.model_fields)
