"""An archive of recordings on a cluster: which are left to do, their tasks, and their results as they arrive."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stream.errors import ModelError, SettingsError, SourceNotFound, missing_extra
from stream.inference import connected_process
from stream.profiles.store import ProfileStore, database_path
from stream.settings import Settings
from stream.tools.archive.messages import ArchiveAnswer, ArchiveRequest
from stream.tools.archive.task import ArchiveSettings
from stream.tools.watch.folder import FoundRecording
from stream.tools.watch.results import RecordingResults, one_line
from stream.tools.watch.watching import locked

CLOSE_TIMEOUT_S = 5.0

_SENT = (
    *("node", "models", "audio", "gate", "emotion", "speakers", "turns", "calls", "alerts"),
    *("health_s", "ring_s", "shutdown_timeout_s"),
)
"""Settings that a task needs; none of them is secret."""


class Archive:
    """Recordings and the folder of their results; None: each beside its recording.

    Raises `SettingsError` or `SourceError` for what cannot be processed.
    """

    def __init__(self, paths: Sequence[str], *, results: Path | None, with_report: bool) -> None:
        if not paths:
            raise SettingsError("no recording given for --cluster; name files")
        self._with_report = with_report
        self._results = [
            RecordingResults(one, folder=results or one.path.parent) for one in map(_found, dict.fromkeys(paths))
        ]
        self._folders = list(dict.fromkeys(one.events.parent for one in self._results))
        names = [one.events for one in self._results]
        if repeated := sorted({one.name.removesuffix(".ndjson") for one in names if names.count(one) > 1}):
            raise SettingsError(
                f"several recordings are called {repeated[0]!r}; leave out --results, or process them one by one"
            )

    def process(
        self,
        settings: Settings,
        address: str,
        source: Mapping[str, Any],
        *,
        begin: Callable[[int, int], None],
        report: Callable[[Path, str], None],
    ) -> int:
        """Process what is left on the cluster at `address`; returns how many recordings failed.

        `begin` is called with the number of recordings, and of those that are done; `report` with each and a line about
        it. Raises `ModelError` if the cluster cannot be used or is lost; another call goes on.
        """
        if find_spec("ray") is None:
            raise SettingsError(missing_extra("--cluster", library="Ray", extra="ray"))
        with ExitStack() as stack:
            for folder in self._folders:
                stack.enter_context(locked(folder))
            left = [one for one in self._results if not one.is_done]
            begin(len(self._results), len(self._results) - len(left))
            if not left:
                return 0
            request = _request(settings, address, source, [one.recording for one in left])
            answers = stack.enter_context(_answers(request))
            return sum(self._take(answer, left[answer.number], report) for answer in answers)

    def _take(self, answer: ArchiveAnswer, results: RecordingResults, report: Callable[[Path, str], None]) -> bool:
        """Write the results of a recording; returns whether it failed."""
        outcome, path = answer.outcome, results.recording.path
        if outcome.is_lost:
            report(path, f"{outcome.failure}; run the same command again")
            return True
        results.begin()
        if outcome.events:
            results.write(outcome.events)
        summary = results.finish(failure=outcome.failure, with_report=self._with_report)
        report(path, one_line(summary))
        return outcome.failure is not None


def _found(name: str) -> FoundRecording:
    """Return a recording as it is on the disk. Raises `SourceNotFound`."""
    path = Path(name).absolute()
    with suppress(OSError, ValueError):
        status = path.stat()
        if path.is_file():
            return FoundRecording(path, status.st_size, status.st_mtime_ns)
        raise SourceNotFound(f"{name!r} is not a regular file; --cluster processes recordings")
    raise SourceNotFound(f"no such file {name!r}; name recordings for --cluster")


@contextmanager
def _answers(request: ArchiveRequest) -> Iterator[Iterator[ArchiveAnswer]]:
    """Start the process that holds the connection, and yield its answers; it ends with the context."""
    process, connection = connected_process.start("stream.tools.archive.cluster_tasks")
    with closing(connection), process:
        try:
            connection.send(request)
            yield _received(connection, len(request.recordings), request.address)
        finally:
            connection.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(CLOSE_TIMEOUT_S)
            process.kill()


def _received(connection: Connection, count: int, address: str) -> Iterator[ArchiveAnswer]:
    for _ in range(count):
        try:
            answer = connection.recv()
        except (EOFError, OSError):
            raise ModelError(f"the cluster {address!r} is lost; run the same command again to go on") from None
        if error := answer.outcome.error:
            raise ModelError(f"cannot process recordings on the cluster {address!r}: {error}")
        yield answer


def _request(
    settings: Settings, address: str, source: Mapping[str, Any], recordings: Sequence[FoundRecording]
) -> ArchiveRequest:
    pool = settings.pool
    threads = pool.threads or max(1, int(pool.num_cpus))
    kept = {name: getattr(settings, name) for name in _SENT}
    kept["pool"] = pool.model_copy(update={"cluster": "", "threads": threads})
    shared = ArchiveSettings(
        settings=Settings().model_copy(update=kept),
        source=source,
        profiles=_profiles(settings),
        enrolled={name: _content(path) for name, path in settings.speakers.enrolled.items()},
    )
    return ArchiveRequest(address, pool.num_cpus, pool.num_gpus, os.cpu_count() or 1, shared, recordings)


def _profiles(settings: Settings) -> bytes:
    """Return a copy of the profile database, empty without one. Raises `ProfilesError`."""
    path = database_path(settings.speakers.profiles)
    if path is None or not path.exists():
        return b""
    with ProfileStore(path) as store:
        return store.copy()


def _content(path: str) -> bytes:
    """Read the recording of an enrolment. Raises `SourceNotFound`."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SourceNotFound(f"cannot read {path!r} ({error.strerror}); check speakers.enrolled") from None
