"""An archive's progress on standard error: a bar on a terminal, and a line for each recording."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from stream.events.text import printable
from stream.settings import Settings
from stream.tools.archive.archive import Archive

INTERRUPTED = 128 + signal.SIGINT


def process_with_progress(
    archive: Archive, settings: Settings, address: str, source: Mapping[str, Any], *, quiet: bool
) -> int:
    """Process an archive until it is done or Ctrl-C, and return the exit code: 1 if a recording failed.

    Raises `TonewatchError`.
    """
    console = Console(stderr=True, soft_wrap=True, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("recordings")

        def begin(total: int, done: int) -> None:
            progress.update(task, total=total, completed=done)
            if done:
                console.print(Text(f"tonewatch: {done} of {total} recordings are done already"))

        def report(path: Path, line: str) -> None:
            console.print(Text(f"tonewatch: {printable(path.name)}: {printable(line)}"))
            progress.advance(task)

        try:
            failed = archive.process(settings, address, source, begin=begin, report=report)
        except KeyboardInterrupt:
            return INTERRUPTED
    return 1 if failed else 0
