"""The report of a file of events, as HTML and as an image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stream.calls.report.page import html
from stream.calls.report.session import session_records
from stream.calls.report.timeline import stack, timeline
from stream.errors import SettingsError
from stream.events import Event, read_event
from stream.tools.private_files import write_private


def write_report(file: Path, *, out: Path, png: Path | None = None, only: str | None = None) -> list[Path]:
    """Write the report of a file of events and return the files written. Raises `SettingsError`."""
    records = session_records(read_events(file))
    if only is not None:
        names = ", ".join(dict.fromkeys(one.name for one in records))
        records = [one for one in records if one.name == only]
        if not records:
            raise SettingsError(f"no events of {only!r} in {file}; available: {names}")
    if not records:
        raise SettingsError(f"{file} has no event of a stream or call; record events with --sink {file.name}")
    if out.resolve() == file.resolve() or (png is not None and png.resolve() in (file.resolve(), out.resolve())):
        raise SettingsError("the report would overwrite its input; choose another file with --out")
    contents = [(out, html(records, title=file.stem).encode())]
    if png is not None:
        contents.append((png, stack([timeline(one) for one in records]).png()))
    for path, content in contents:
        try:
            write_private(path, content)
        except OSError as error:
            raise SettingsError(f"{path} cannot be written ({error.strerror or error}); choose another file") from None
    return [path for path, _ in contents]


def read_events(file: Path) -> Iterator[Event]:
    """Yield the events of a file, one per line; an incomplete last line is ignored."""
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    yield read_event(line)
                except ValueError as fault:
                    if not line.endswith("\n"):  # the run was killed while writing
                        return
                    raise SettingsError(f"{file}, line {number}: {fault}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise SettingsError(f"{file} cannot be read ({reason}); give a file of events") from None
