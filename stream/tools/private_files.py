"""Files that only their owner can read, since they show who spoke and how they sounded."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 0600, also if it exists with another one. Raises `OSError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if os.path.isfile(path):  # noqa: PTH113 - not a terminal or a pipe
            os.fchmod(descriptor, 0o600)
            file.truncate()
        file.write(content)
