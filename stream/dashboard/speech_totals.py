"""Seconds of speech by speaker over a whole stream, though its history of turns is bounded (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stream.dashboard.views import ShareView, TurnView

MAX_SHARES = 8


@dataclass(slots=True)
class SpeakerTotal:
    """Seconds of all ended turns of one speaker, and the media time at which the first of them ended."""

    seconds: float
    first_end_s: float


class SpeechTotals:
    """Seconds of ended turns by speaker name; "" stands for unknown speakers."""

    def __init__(self) -> None:
        self._totals: dict[str, SpeakerTotal] = {}

    def add(self, name: str, seconds: float, end_s: float) -> None:
        """Count an ended turn."""
        total = self._totals.get(name)
        if total is None:
            self._totals[name] = SpeakerTotal(seconds, end_s)
        else:
            total.seconds += seconds
            total.first_end_s = min(total.first_end_s, end_s)

    def correct(self, previous: str, speaker: str, since_s: float, corrected: Iterable[TurnView]) -> None:
        """Move speech of `previous` after `since_s` to `speaker`.

        `corrected` are the turns concerned that the history still holds. Older turns are counted as well if all turns
        of `previous` ended after `since_s`.
        """
        total = self._totals.get(previous)
        if total is None:
            return
        if total.first_end_s > since_s:
            del self._totals[previous]
            self.add(speaker, total.seconds, total.first_end_s)
            return
        for turn in corrected:
            if not turn.open:
                total.seconds -= turn.seconds
                self.add(speaker, turn.seconds, turn.end_s)

    def shares(self, open_turns: Iterable[TurnView], end_s: float) -> tuple[ShareView, ...]:
        """Return the largest totals first; open turns count up to `end_s`."""
        seconds = {name: total.seconds for name, total in self._totals.items()}
        for turn in open_turns:
            name = turn.speaker or ""
            seconds[name] = seconds.get(name, 0.0) + max(0.0, end_s - turn.start_s)
        largest = sorted(seconds.items(), key=lambda share: -share[1])[:MAX_SHARES]
        return tuple(ShareView(name=name, seconds=round(value, 2)) for name, value in largest)
