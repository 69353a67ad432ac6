"""The log on standard error: sentences for people or, for machines, one JSON object a line.

What is logged is the same as for people: never sound, voices, names or emotions. What comes from outside stands inside
JSON strings, so that no line can be forged.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.settings import Settings


def log_to_stderr(settings: Settings, *, verbose: bool) -> None:
    """Where the log goes, and in which form."""
    handler = logging.StreamHandler(sys.stderr)
    machine = settings.service.logs == "json"
    handler.setFormatter(JsonFormatter() if machine else logging.Formatter("tonewatch: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


class JsonFormatter(logging.Formatter):
    """A record as `{"time", "level", "logger", "message"}`, and `"error"` for an exception's kind."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": time, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
        return json.dumps(line, ensure_ascii=False)
