"""The history of calls as a table (pure)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime

from stream.dashboard.views import CallRecord

COLUMNS = ("call", "node", "caller", "caller_name", "called", "agent", "queue", "start", "duration_s", "outcome")

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""First characters that spreadsheets take for a formula."""


def calls_csv(calls: Sequence[CallRecord]) -> str:
    """Return one row per call: who, when, how long, how it ended, emotions, speech and alerts."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow((*COLUMNS, "held_s", "transfers", "emotions", "speech_s", "alerts"))
    for call in calls:
        known = (call.about.get(name, "") for name in COLUMNS[2:7])
        start = datetime.fromtimestamp(call.start_ms / 1000, UTC).isoformat(timespec="seconds")
        duration_s = f"{(call.end_ms - call.start_ms) / 1000:.1f}"
        details = (_pairs(call.emotions), _pairs(call.talk), _pairs(call.alerts))
        held = (f"{call.held_s:.1f}", str(call.transfers))
        row = (call.name, call.node, *known, start, duration_s, call.outcome, *held, *details)
        writer.writerow([_safe(cell) for cell in row])
    return table.getvalue()


def _pairs(values: dict[str, float] | dict[str, int]) -> str:
    return " ".join(f"{name}={value:g}" for name, value in values.items())


def _safe(cell: str) -> str:
    """Return a cell that no spreadsheet evaluates; telephone numbers begin with a plus sign."""
    is_number = cell.startswith("+") and cell[1:].replace(" ", "").isdigit()
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) and not is_number else cell
