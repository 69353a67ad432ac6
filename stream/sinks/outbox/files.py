"""Where the files of an outbox are, and what they are called."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def state_folder(setting: str) -> Path | None:
    """Return the folder of a sink's `outbox`: none for "", a path, or for `auto` the user's or service's state folder.

    That is `$STATE_DIRECTORY` (systemd), or `tonewatch` in `$XDG_STATE_HOME` or `~/.local/state`.
    """
    if setting != "auto":
        return Path(setting) if setting else None
    service_folder = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if service_folder:
        return Path(service_folder)
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home else Path.home() / ".local" / "state") / "tonewatch"


def file_name(node: str, receiver: str) -> str:
    """Return the base name of the files of one node and receiver, which no other receiver's text equals."""
    return f"outbox-{node}-{hashlib.sha256(receiver.encode()).hexdigest()[:8]}"


def private(path: str, flags: int) -> int:
    """Open a file that only its owner can read; the `opener` of `open`."""
    return os.open(path, flags, 0o600)
