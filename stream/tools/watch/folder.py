"""The recordings of a folder that are complete: not written to for a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stream.errors import SettingsError

SETTLE_S = 5.0
"""Time without a change of size or date after which a recording is complete."""

AUDIO = {".aac", ".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav", ".wma"}
CONTAINERS = {".m4a", ".mka", ".mkv", ".mov", ".mp4", ".webm"}
SUFFIXES = frozenset(AUDIO | CONTAINERS)
"""Endings of recordings, in any case; files that begin with a dot are left alone, as those of a transfer."""


@dataclass(frozen=True, slots=True)
class FoundRecording:
    """A recording as it was found: with another size or date it is another one."""

    path: Path
    size: int
    modified_ns: int


class FolderScan:
    """Looks for recordings in a folder, not in those below it."""

    def __init__(self, folder: Path, *, clock: Callable[[], float], settle_s: float = SETTLE_S) -> None:
        self._folder, self._clock, self._settle_s = folder, clock, settle_s
        self._seen: dict[FoundRecording, float] = {}  # since when

    def complete(self) -> list[FoundRecording]:
        """Return the recordings that are complete, the oldest first. Raises `SettingsError` without the folder."""
        now_s, found = self._clock(), self._find()
        self._seen = {recording: self._seen.get(recording, now_s) for recording in found}
        settled = [recording for recording, since_s in self._seen.items() if now_s - since_s >= self._settle_s]
        return sorted(settled, key=lambda recording: (recording.modified_ns, recording.path))

    def _find(self) -> list[FoundRecording]:
        found = []
        try:
            for path in self._folder.iterdir():
                if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                    continue
                try:
                    status = path.stat()
                except FileNotFoundError:  # removed meanwhile, or a broken link
                    continue
                if path.is_file() and status.st_size:
                    found.append(FoundRecording(path, status.st_size, status.st_mtime_ns))
        except OSError as error:
            raise SettingsError(
                f"cannot read the folder {str(self._folder)!r} ({error.strerror}); name another"
            ) from None
        return found
