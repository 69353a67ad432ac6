"""The calls that are kept as a page, and the report of one (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from stream.calls.report.page import escape, html, page, section
from stream.calls.report.session import session_records
from stream.calls.report.timeline import clock_text
from stream.dashboard.recording import unpack
from stream.dashboard.views import CallRecord

HEADS = ("Began (UTC)", "Caller", "Agent", "Queue", "Length", "How it ended", "Emotion", "Alerts", "Report")
MAX_ROWS = 500


def calls_page(calls: Sequence[CallRecord], *, query: str, days: int) -> str:
    """Return a table of the calls, the newest first, with a filter and links to exports and reports."""
    also = f"?q={quote(query)}" if query else ""
    shown = f"{len(calls)} call{'s' * (len(calls) != 1)}" if len(calls) < MAX_ROWS else f"The newest {MAX_ROWS} calls"
    head = (
        f'<header><h1>Ended calls</h1><p>{shown} of {days} days · <a href="calls.csv{also}">CSV</a> · '
        f'<a href="calls.ndjson{also}">NDJSON</a> · <a href="./#/">Wall</a></p>'
        '<form action="calls"><p><label>Words that each has: '
        f'<input type="search" name="q" value="{escape(query)}"></label> <button>Filter</button></p></form></header>'
    )
    heads = "".join(f"<th>{name}</th>" for name in HEADS)
    rows = "".join(_row(call) for call in calls)
    body = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>" if calls else "No call matches."
    return page(f"{head}{section('Calls', body)}", title="Ended calls")


def report_page(packed: bytes, record: CallRecord) -> str:
    """Return the report of a call. Raises `ValueError` or `zlib.error` if its events cannot be read."""
    return html(session_records(unpack(packed)), title=_caller(record))


def _row(call: CallRecord) -> str:
    began = datetime.fromtimestamp(call.start_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    emotions = ", ".join(f"{label} {share:.0%}" for label, share in list(call.emotions.items())[:2])
    alerts = ", ".join(f"{label} {times}×" if times > 1 else label for label, times in call.alerts.items())
    length = clock_text((call.end_ms - call.start_ms) / 1000)
    about = (call.about.get("agent", ""), call.about.get("queue", ""))
    cells = "".join(
        f"<td>{escape(text)}</td>" for text in (_caller(call), *about, length, call.outcome, emotions, alerts)
    )
    link = f'<a href="report?call={quote(call.id, safe="")}">Open</a>'
    return f'<tr><td class="whole">{began}</td>{cells}<td>{link}</td></tr>'


def _caller(call: CallRecord) -> str:
    return call.about.get("caller_name") or call.about.get("caller") or call.name
