"""A summary at the end of a run: speech and emotions of each speaker, and processing figures.

It counts ended turns (a stream's last turn ends with the stream) and the last `health` event. `RunSummary` keeps the
figures without a terminal; `SummarySink` prints them when it closes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.events import Event, HealthEvent, TurnEvent
from stream.events.text import printable

UNKNOWN_SPEAKER = "(unknown)"
MIN_SHARE = 0.005
"""Smallest share of an emotion that is shown."""


@dataclass(slots=True)
class _SpeakerShare:
    """One speaker's part of a stream."""

    turns: int = 0
    talk_s: float = 0.0
    emotions: Counter[str] = field(default_factory=Counter)


class RunSummary:
    """Figures of a run, added up from its events."""

    def __init__(self) -> None:
        self._speakers: defaultdict[str, dict[str, _SpeakerShare]] = defaultdict(dict)
        self._health: HealthEvent | None = None

    def add(self, event: Event) -> None:
        """Add one event."""
        if isinstance(event, HealthEvent):
            self._health = event
        elif isinstance(event, TurnEvent) and event.phase == "end":
            share = self._speakers[event.source].setdefault(event.speaker or UNKNOWN_SPEAKER, _SpeakerShare())
            length_s = event.end_s - event.start_s
            share.turns += 1
            share.talk_s += length_s
            for label, part in event.emotions.items():
                share.emotions[label] += part * length_s  # type: ignore[assignment]

    def as_dict(self) -> dict[str, Any]:
        """Return all figures as a JSON tree."""
        streams = {
            source: {
                speaker: {
                    "turns": share.turns,
                    "talk_s": round(share.talk_s, 3),
                    "talk_share": round(share.talk_s / sum(s.talk_s for s in shares.values()), 4),
                    "emotions": _shares(share.emotions),
                }
                for speaker, share in shares.items()
            }
            for source, shares in self._speakers.items()
        }
        return {"streams": streams, "health": self._health.model_dump(mode="json") if self._health else None}

    def render(self) -> list[Table | str]:
        """Return the summary for a terminal."""
        parts: list[Table | str] = []
        for source, shares in self.as_dict()["streams"].items():
            table = Table(title=Text(printable(source)), title_justify="left", box=None, pad_edge=False)
            for name in ("speaker", "speech", "share", "turns", "emotion"):
                table.add_column(name, justify="left" if name in ("speaker", "emotion") else "right")
            for speaker, row in shares.items():
                emotions = ", ".join(f"{label} {part:.0%}" for label, part in row["emotions"].items()) or "–"
                speech = f"{row['talk_s']:.1f} s"
                table.add_row(Text(printable(speaker)), speech, f"{row['talk_share']:.0%}", str(row["turns"]), emotions)
            parts.append(table)
        if not parts:
            parts.append("No speech detected.")
        if self._health is not None:
            parts += _processing(self._health)
        return parts


class SummarySink:
    """Prints the summary to its console when the run ends."""

    def __init__(self, *, console: Console) -> None:
        self._console = console
        self._summary = RunSummary()

    async def __aenter__(self) -> Self:
        """Return the sink; there is nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print the summary, unless the run failed: then only its error is shown."""
        if kind is None:
            for part in self._summary.render():
                self._console.print(part)

    async def send(self, event: Event) -> None:
        """Count one event."""
        self._summary.add(event)


def _shares(emotions: Counter[str]) -> dict[str, float]:
    """Return the shares in descending order, without those below `MIN_SHARE`."""
    total = sum(emotions.values())
    return {label: round(part / total, 4) for label, part in emotions.most_common() if part / total >= MIN_SHARE}


def _processing(health: HealthEvent) -> list[Table | str]:
    table = Table(box=None, pad_edge=False)
    for name in ("model", "windows", "inferred", "dropped", "failed", "mean batch", "ms per batch"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for lane in health.lanes:
        counts = (lane.submitted, lane.inferred, lane.dropped, lane.failed)
        table.add_row(
            Text(printable(lane.model)), *map(str, counts), f"{lane.mean_batch:.1f}", f"{lane.inference_ms:.1f}"
        )
    line = f"{health.audio_s:.1f} s of audio, {health.speech_s:.1f} s of speech; "
    line += f"{health.windows_gated} silent windows skipped"
    if health.real_time_factor is not None:
        line += f"; real-time factor {health.real_time_factor:.3f}"
    if health.latency_p50_ms is not None and health.latency_p95_ms is not None:
        line += f"; latency p50 {health.latency_p50_ms:.0f} ms, p95 {health.latency_p95_ms:.0f} ms"
    return [table, line]
