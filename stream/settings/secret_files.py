"""Secrets in files of their own (`serve.token_file`), as containers and systemd hand them over."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stream.errors import SettingsError
from stream.settings.base import ANY_ITEM, secret_paths
from stream.settings.tree import Settings

MAX_SECRET_CHARACTERS = 4_096

PRIVATE_FOLDERS = (Path("/run/secrets"), Path("/run/credentials"))
"""Where containers and systemd put secrets for one service; the modes of files there are not the user's choice."""

READ_LATER = ("mqtt", "password")
"""Its file is read at each start of the sink."""


def read_secret_files(merged: dict[str, Any]) -> None:
    """Put the content of every file that is named into the merged settings. Raises `SettingsError`."""
    for branch, leaf in _secrets_with_files():
        given = merged.get(branch)
        name = given.get(f"{leaf}_file") if isinstance(given, Mapping) else None
        if not isinstance(name, str) or not name or given is None:
            continue
        if given.get(leaf):
            raise SettingsError(f"{branch}.{leaf} and {branch}.{leaf}_file are both set; remove one")
        merged[branch] = {**given, leaf: _read(Path(name), key=f"{branch}.{leaf}_file")}


def _secrets_with_files() -> Iterator[tuple[str, str]]:
    for path in secret_paths(Settings):
        if len(path) == 2 and ANY_ITEM not in path and path != READ_LATER:  # noqa: PLR2004 - branch and key
            branch, leaf = path
            if f"{leaf}_file" in getattr(Settings.model_fields[branch].annotation, "model_fields", ()):
                yield branch, leaf


def _read(path: Path, *, key: str) -> str:
    """Return the one line of a file that only its owner can read. Raises `SettingsError`."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):  # a pipe is what a shell makes of <(command)
            raise SettingsError(f"{key} {str(path)!r} is not a file; name a text file")
        if mode & 0o077 and not any(path.is_relative_to(folder) for folder in PRIVATE_FOLDERS):
            raise SettingsError(f"{key} {str(path)!r} is readable by others; run `chmod 600 {path}`")
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_SECRET_CHARACTERS + 1).strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(f"cannot read {key} {str(path)!r} ({why}); name a text file") from None
    if not text or "\n" in text or len(text) > MAX_SECRET_CHARACTERS:
        raise SettingsError(f"{key} {str(path)!r} does not hold a secret; write one line into it")
    return text
