"""Processing of a watched folder: one recording after the other, each once, on models that are loaded once."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream.app.assembly import LoadedModels, assemble, load
from stream.app.signals import SignalHandler
from stream.errors import BrokerUnreachable, SettingsError, SourceError
from stream.events.text import printable
from stream.pipeline.pipeline import Pipeline
from stream.settings import Settings, SourceSettings
from stream.sinks.file import FileSink
from stream.tools.watch.folder import FolderScan, FoundRecording
from stream.tools.watch.results import RecordingResults, one_line

POLL_S = 2.0
"""How often the folder is looked at."""

LOCK = ".tonewatch.lock"
"""File in the folder of results; it is locked as long as a process writes there."""


class FolderWatch:
    """Processes the recordings of `folder` into files of `results` until it is stopped.

    Args:
        settings: Settings of the runs; their sinks get the events as well.
        folder: Where recordings arrive.
        results: Where events, summaries and reports are written.
        source: Options of every recording, such as its channels.
        with_report: Whether to write a report of each.
        scan: Finds complete recordings.
        report: Called with each recording and the line about it.
        poll_s: Time between two looks at the folder.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        folder: Path,
        results: Path,
        source: Mapping[str, Any],
        with_report: bool = False,
        scan: FolderScan | None = None,
        report: Callable[[Path, str], None] = lambda path, line: None,  # noqa: ARG005
        poll_s: float = POLL_S,
    ) -> None:
        self._settings, self._source = settings, dict(source)
        self._results, self._with_report = results, with_report
        self._scan = scan or FolderScan(folder, clock=time.monotonic)
        self._report, self._poll_s = report, poll_s
        self._stopping = asyncio.Event()
        self._pipeline: Pipeline | None = None

    def stop(self) -> None:
        """Stop after what has been read; a recording that is not complete is done again at the next start."""
        self._stopping.set()
        if self._pipeline is not None:
            self._pipeline.stop()

    async def run(self, loaded: LoadedModels | None = None) -> None:
        """Process recordings until `stop`. Raises `TonewatchError` for all but recordings that cannot be read."""
        self._scan.complete()  # a wrong folder is found before models are loaded
        with locked(self._results):
            if loaded is None:
                loaded = await asyncio.to_thread(load, self._settings)
            while not self._stopping.is_set():
                for recording in self._scan.complete():
                    results = RecordingResults(recording, folder=self._results)
                    if not results.is_done:
                        await self._process(recording, results, loaded)
                    if self._stopping.is_set():
                        return
                await self._wait()

    async def _process(self, recording: FoundRecording, results: RecordingResults, loaded: LoadedModels) -> None:
        results.begin()
        source = SourceSettings.model_validate({**self._source, "kind": "file", "target": str(recording.path)})
        settings = self._settings.model_copy(update={"sources": (source,)})
        failure: str | None = None
        self._pipeline = await assemble(
            settings, sinks={"recording": FileSink(target=f"file:{results.part}")}, loaded=loaded
        )
        try:
            failures = (await self._pipeline.run()).failures
            failure = str(failures[0]) if failures else None
        except SourceError as error:
            failure = str(error)
        except BrokerUnreachable as error:  # its outbox keeps the events
            sys.stderr.write(f"tonewatch: {error}\n")
        finally:
            self._pipeline = None
        if self._stopping.is_set():
            results.begin()
            return
        summary = await asyncio.to_thread(results.finish, failure=failure, with_report=self._with_report)
        self._report(recording.path, one_line(summary))

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_s):
                await self._stopping.wait()
        except TimeoutError:
            return


def watch_until_stopped(
    settings: Settings, *, folder: Path, results: Path, source: Mapping[str, Any], with_report: bool, quiet: bool
) -> int:
    """Watch a folder until a signal, and return the exit code: 0, the regular end. Raises `TonewatchError`."""

    def report(path: Path, line: str) -> None:
        if not quiet:
            sys.stderr.write(f"tonewatch: {printable(path.name)}: {printable(line)}\n")

    async def run() -> None:
        signals = SignalHandler()
        signals.install(asyncio.get_running_loop())
        watch = signals.run = FolderWatch(
            settings=settings, folder=folder, results=results, source=source, with_report=with_report, report=report
        )
        await watch.run()

    asyncio.run(run())
    return 0


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the results. Raises `SettingsError` if another process does, or nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(
            f"cannot write into the folder {str(folder)!r} ({error.strerror}); name another one with --results"
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"another process writes into {str(folder)!r}; stop it, or name another folder with --results"
            ) from None
        yield
    finally:
        os.close(descriptor)
