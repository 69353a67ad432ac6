"""The log on standard error: text, or one JSON object per line.

Neither form holds audio, voices, names or emotions. Text from outside stands inside JSON strings, so that no line can
be forged.
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
    """Send the log to standard error, in the form that `service.logs` sets."""
    handler = logging.StreamHandler(sys.stderr)
    is_json = settings.service.logs == "json"
    handler.setFormatter(JsonFormatter() if is_json else logging.Formatter("tonewatch: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


class JsonFormatter(logging.Formatter):
    """Formats a record as `{"time", "level", "logger", "message"}`, with `"error"` for an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": time, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
        return json.dumps(line, ensure_ascii=False)
