"""A short account at the end of a run: who spoke how long and how, and what it took.

Counts ended turns only (a turn that never ends is ended when its stream does) and the last `health`. `RunSummary` keeps
the figures and knows no terminal; `SummarySink` prints them when it closes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.table import Table

from stream.events import Event, HealthEvent, TurnEvent

NOBODY = "(unknown)"


@dataclass(slots=True)
class _SpeakerShare:
    """One speaker's part of a stream."""

    turns: int = 0
    talk_s: float = 0.0
    emotions: Counter[str] = field(default_factory=Counter)


class RunSummary:
    """What a run's events add up to."""

    def __init__(self) -> None:
        self._speakers: defaultdict[str, dict[str, _SpeakerShare]] = defaultdict(dict)
        self._health: HealthEvent | None = None

    def take(self, event: Event) -> None:
        """Add one event."""
        if isinstance(event, HealthEvent):
            self._health = event
        elif isinstance(event, TurnEvent) and event.phase == "end":
            share = self._speakers[event.source].setdefault(event.speaker or NOBODY, _SpeakerShare())
            length_s = event.end_s - event.start_s
            share.turns += 1
            share.talk_s += length_s
            for label, part in event.emotions.items():
                share.emotions[label] += part * length_s  # type: ignore[assignment]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
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
        """The account for a terminal."""
        said: list[Table | str] = []
        for source, shares in self.as_dict()["streams"].items():
            table = Table(title=source, title_justify="left", box=None, pad_edge=False)
            for name in ("speaker", "talk", "share", "turns", "sounded"):
                table.add_column(name, justify="left" if name in ("speaker", "sounded") else "right")
            for speaker, row in shares.items():
                sounded = ", ".join(f"{label} {part:.0%}" for label, part in row["emotions"].items()) or "–"
                talk = f"{row['talk_s']:.1f} s"
                table.add_row(speaker, talk, f"{row['talk_share']:.0%}", str(row["turns"]), sounded)
            said.append(table)
        if not said:
            said.append("No speech was heard.")
        if self._health is not None:
            said += _took(self._health)
        return said


class SummarySink:
    """Prints the account to its console when the run ends."""

    def __init__(self, *, console: Console) -> None:
        self._console = console
        self._account = RunSummary()

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Print, unless the run broke: then its error is what counts."""
        if kind is None:
            for part in self._account.render():
                self._console.print(part)

    async def send(self, event: Event) -> None:
        """Count one event."""
        self._account.take(event)


def _shares(emotions: Counter[str]) -> dict[str, float]:
    """Parts of one, the largest first; parts that round to nothing are left out."""
    whole = sum(emotions.values())
    return {label: round(part / whole, 4) for label, part in emotions.most_common() if part / whole >= 0.005}  # noqa: PLR2004


def _took(health: HealthEvent) -> list[Table | str]:
    table = Table(box=None, pad_edge=False)
    for name in ("model", "windows cut", "inferred", "dropped", "failed", "mean batch", "ms a batch"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for lane in health.lanes:
        counts = (lane.cut, lane.inferred, lane.dropped, lane.failed)
        table.add_row(lane.model, *map(str, counts), f"{lane.mean_batch:.1f}", f"{lane.inference_ms:.1f}")
    line = f"{health.audio_s:.1f} s of sound, {health.speech_s:.1f} s of it speech; "
    line += f"{health.gated} windows of silence skipped"
    if health.real_time_factor is not None:
        line += f"; real-time factor {health.real_time_factor:.3f}"
    if health.latency_p50_ms is not None and health.latency_p95_ms is not None:
        line += f"; latency p50 {health.latency_p50_ms:.0f} ms, p95 {health.latency_p95_ms:.0f} ms"
    return [table, line]
