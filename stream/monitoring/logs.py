"""The log on standard error: text, or one JSON object per line.

Neither form holds audio, voices, names or emotions. Hidden characters of text from outside are escaped, so that no line
can be forged. Lines of one kind are limited per minute, so that no client can fill a disk.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.settings import Settings


MAX_LINES_PER_MINUTE = 10
"""Lines of one kind, that is, of one logger and one message text before its arguments."""

MAX_KINDS = 1_000
"""Kinds that are counted at a time."""

MINUTE_S = 60.0


def log_to_stderr(settings: Settings, *, verbose: bool) -> None:
    """Send the log to standard error, in the form that `service.logs` sets."""
    handler = logging.StreamHandler(sys.stderr)
    is_json = settings.service.logs == "json"
    handler.addFilter(RepetitionFilter())
    handler.setFormatter(JsonFormatter() if is_json else TextFormatter("tonewatch: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


class TextFormatter(logging.Formatter):
    """Formats a record as text; its message is one line, whatever it quotes."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of the base class
        """Return the line."""
        from stream.events.text import printable  # noqa: PLC0415 - with all events: `--help` needs none

        record.message = printable(record.message)
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """Formats a record as `{"time", "level", "logger", "message"}`, with `"error"` for an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        from stream.events.text import printable  # noqa: PLC0415

        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {
            "time": time,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(record.getMessage(), keep="\n"),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
        return json.dumps(line, ensure_ascii=False)


@dataclass(slots=True)
class _Repetition:
    """Lines of one kind since `started_s`."""

    started_s: float
    lines: int = 0


class RepetitionFilter(logging.Filter):
    """Passes up to `MAX_LINES_PER_MINUTE` lines of one kind; the first one after that minute has the number left out.

    While `MAX_KINDS` are counted, lines of further kinds are left out: a program has far fewer.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, str], _Repetition] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is written."""
        kind, now_s = (record.name, str(record.msg)), self._clock()
        counted = self._kinds.get(kind)
        if counted is None:
            self._forget(now_s)
            if len(self._kinds) >= MAX_KINDS:
                return False
            counted = self._kinds[kind] = _Repetition(now_s)
        left_out = 0
        if now_s - counted.started_s >= MINUTE_S:
            left_out = max(0, counted.lines - MAX_LINES_PER_MINUTE)
            counted.started_s, counted.lines = now_s, 0
        counted.lines += 1
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more in the last minute)", ()
        return counted.lines <= MAX_LINES_PER_MINUTE

    def _forget(self, now_s: float) -> None:
        """Forget kinds that were not repeated beyond the limit and are over."""
        over = [
            kind
            for kind, counted in self._kinds.items()
            if now_s - counted.started_s >= MINUTE_S and counted.lines <= MAX_LINES_PER_MINUTE
        ]
        for kind in over:
            del self._kinds[kind]
