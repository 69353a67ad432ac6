"""The results of a recording: its events, its summary, which also says that it is done, and a report if wanted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stream.calls.report.session import SessionRecord, session_records
from stream.errors import SettingsError
from stream.tools.report import read_events, write_report
from stream.tools.watch.folder import FoundRecording

DIGITS = 3


class RecordingResults:
    """The files of one recording in the folder of results."""

    def __init__(self, recording: FoundRecording, *, folder: Path) -> None:
        self.recording = recording
        name = recording.path.name
        self.part = folder / f".{name}.ndjson.part"
        self.events = folder / f"{name}.ndjson"
        self.report = folder / f"{name}.html"
        self.summary = folder / f"{name}.summary.json"

    @property
    def is_done(self) -> bool:
        """Whether this recording, not an earlier one of its name, has a summary."""
        try:
            kept = json.loads(self.summary.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(kept, dict) and kept.get("recording") == self._identity

    def begin(self) -> None:
        """Remove what an interrupted run, or one without events, left."""
        self.part.unlink(missing_ok=True)

    def write(self, events: bytes) -> None:
        """Write all events at once, as lines. Raises `SettingsError` if a disk is full."""
        try:
            with open(os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
                file.write(events)
        except OSError as error:
            raise SettingsError(f"cannot write {str(self.part)!r} ({error.strerror}); free disk space") from None

    def finish(self, *, failure: str | None, with_report: bool) -> dict[str, Any]:
        """Give the files their names, the summary last, and return it. Raises `SettingsError` if a disk is full."""
        try:
            records = session_records(read_events(self.part)) if self.part.exists() else []
            for earlier in (self.events, self.report):  # of another recording of this name
                earlier.unlink(missing_ok=True)
            if records:
                self.part.replace(self.events)
                if with_report:
                    write_report(self.events, out=self.report)
            self.begin()
            summary = {"recording": self._identity, "failure": failure, "streams": [_stream(one) for one in records]}
            _write_atomically(self.summary, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise SettingsError(f"cannot write {str(self.summary)!r} ({error.strerror}); free disk space") from None
        return summary

    @property
    def _identity(self) -> dict[str, Any]:
        found = self.recording
        name = os.fsencode(found.path.name).decode(errors="backslashreplace")
        return {"file": name, "size": found.size, "modified_ns": found.modified_ns}


def one_line(summary: Mapping[str, Any]) -> str:
    """Return a summary in one line."""
    if summary["failure"]:
        return str(summary["failure"])
    streams = summary["streams"]
    people = {speaker["speaker"] for stream in streams for speaker in stream["speakers"]}
    turns = sum(speaker["turns"] for stream in streams for speaker in stream["speakers"])
    duration_s = max((stream["duration_s"] for stream in streams), default=0.0)
    return f"{duration_s:.0f} s, {turns} turns, {len(people)} speakers"


def _stream(record: SessionRecord) -> dict[str, Any]:
    """Return what is said about one stream or call."""
    speakers = [
        {
            "speaker": name,
            "turns": sum(turn.speaker == name for turn in record.turns),
            "talk_s": round(record.speech_s(name), DIGITS),
            "emotions": {label: round(share, DIGITS) for label, share in record.emotions(name).items()},
        }
        for name in record.speakers
    ]
    alerts = [
        {"alert": alert.label, "concerns": alert.speaker, "start_s": alert.start_s, "end_s": alert.end_s}
        for alert in record.alerts
    ]
    return {
        "name": record.name,
        "duration_s": round(record.end_s, DIGITS),
        "speakers": speakers,
        "alerts": alerts,
        "gaps_s": round(sum(end_s - start_s for start_s, end_s, _ in record.gaps), DIGITS),
        "models": record.models,
    }


def _write_atomically(path: Path, text: str) -> None:
    """Write a file that is complete or not there, readable by its owner only."""
    part = path.with_name(f".{path.name}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
