"""The task of one recording: the whole pipeline in a process of the cluster, from a file to lines of events.

A machine that sees the recording under the path it was given, with equal size and date, reads it there; to others its
bytes are sent, and are kept in a file in memory that ends with the process. Models stay loaded for the next task. This
module does not depend on Ray.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shutil import rmtree
from tempfile import NamedTemporaryFile, TemporaryDirectory, gettempdir
from types import TracebackType
from typing import Any, Self

from stream.app.assembly import LoadedModels, assemble, assign_ids, load
from stream.errors import SourceError, TonewatchError
from stream.events import Event, to_json
from stream.settings import Settings, SourceSettings, SpeakersSettings
from stream.tools.watch.folder import FoundRecording

PREFIX = "tonewatch-"
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - files in it are created in a folder of the owner


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """What every task needs: settings without secrets, options of the sources, and people to recognise.

    `profiles` is the content of a profile database, `enrolled` the content of the recordings of `speakers.enrolled`.
    """

    settings: Settings
    source: Mapping[str, Any]
    profiles: bytes
    enrolled: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Lines of events, UTF-8, and why the recording could not be read to its end; `error` ends the whole run.

    `is_absent`: the machine does not see the file; its bytes are needed. `is_lost`: the failure is not known to be one
    of the recording, and another run tries again.
    """

    events: bytes = b""
    failure: str | None = None
    error: str = ""
    is_absent: bool = False
    is_lost: bool = False


def process(shared: ArchiveSettings, recording: FoundRecording, content: bytes | None = None) -> Outcome:
    """Process a recording; without `content` it is read at its path, if it is there."""
    if content is None and not is_here(recording):
        return Outcome(is_absent=True)
    (source,) = assign_ids([SourceSettings.model_validate({**shared.source, "target": str(recording.path)})])
    try:
        with _readable(recording, content) as path:
            outcome = asyncio.run(_run(shared, source.model_copy(update={"target": path})))
    except TonewatchError as error:
        return Outcome(error=str(error))
    return Outcome(outcome.events, outcome.failure and outcome.failure.replace(path, recording.path.name))


def is_here(recording: FoundRecording) -> bool:
    """Return whether this machine has the recording under its path."""
    with suppress(OSError, ValueError):
        status = recording.path.stat()
        return (status.st_size, status.st_mtime_ns) == (recording.size, recording.modified_ns)
    return False


async def _run(shared: ArchiveSettings, source: SourceSettings) -> Outcome:
    settings, sink = shared.settings, _LinesSink()
    loaded = _loaded(settings.models.model_dump_json(), settings.pool.model_dump_json())
    with _people(shared) as speakers:  # which are read at the start
        settings = settings.model_copy(update={"sources": (source,), "speakers": speakers})
        pipeline = await assemble(settings, sinks={"archive": sink}, loaded=loaded)
    try:
        failures = (await pipeline.run()).failures
    except SourceError as error:
        return Outcome(bytes(sink.lines), str(error))
    return Outcome(bytes(sink.lines), str(failures[0]) if failures else None)


@lru_cache(maxsize=1)
def _loaded(models: str, pool: str) -> LoadedModels:
    """Return the loaded models of this process, by their settings as JSON."""
    return load(Settings.model_validate({"models": json.loads(models), "pool": json.loads(pool)}))


@contextmanager
def _readable(recording: FoundRecording, content: bytes | None) -> Iterator[str]:
    """Yield a path under which the recording can be read; its content, if given, is in a file without a name."""
    if content is None:
        yield str(recording.path)
        return
    in_memory = sys.platform == "linux"
    with open(os.memfd_create("recording"), "wb") if in_memory else NamedTemporaryFile() as file:  # noqa: PTH123
        file.write(content)
        file.flush()
        yield f"/proc/{os.getpid()}/fd/{file.fileno()}" if in_memory else str(file.name)


@contextmanager
def _people(shared: ArchiveSettings) -> Iterator[SpeakersSettings]:
    """Yield settings of speakers whose profiles and recordings are in a folder that only the owner can read.

    It is in memory where the machine has `/dev/shm`. Folders of processes that were killed meanwhile are removed.
    """
    place = MEMORY_FOLDER if os.access(MEMORY_FOLDER, os.W_OK) else Path(gettempdir())
    for left in place.glob(f"{PREFIX}*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not _is_alive(int(owner)):
            rmtree(left, ignore_errors=True)  # of another user: it cannot be removed
    speakers = shared.settings.speakers
    with TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=place) as name:
        folder = Path(name)
        profiles = str(_write(folder / "profiles.sqlite", shared.profiles)) if shared.profiles else ""
        enrolled = {
            name: str(_write(folder / f"{number}-{Path(speakers.enrolled[name]).name}", content))
            for number, (name, content) in enumerate(shared.enrolled.items())
        }
        yield speakers.model_copy(update={"profiles": profiles, "enrolled": enrolled})


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _write(path: Path, content: bytes) -> Path:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
        file.write(content)
    return path


class _LinesSink:
    """Collects events as lines."""

    def __init__(self) -> None:
        self.lines = bytearray()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def send(self, event: Event) -> None:
        self.lines += to_json(event).encode() + b"\n"
