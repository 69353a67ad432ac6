"""Alerts of a call, with hysteresis: raised at `on`, ended when the value has stayed below `off` for `clear_s` (pure).

Every update of the call passes one `AlertReading` for each monitored value. Each alert has a unique name and two
events: one when it is raised, and one when it or the call ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stream.clock import samples, seconds
from stream.events import AlertBody, AlertKind, CallAlert, Party

DIGITS = 4
"""Decimal places of values."""


@dataclass(frozen=True, slots=True)
class AlertReading:
    """One monitored value. `eligible` means that it has lasted long enough to raise an alert."""

    kind: AlertKind
    speaker: Party | None
    value: float
    on: float
    off: float
    eligible: bool = True


@dataclass(slots=True)
class _ActiveAlert:
    """An active alert. `clear_since` is the sample at which its value fell below `off`."""

    name: str
    since: int
    reading: AlertReading
    clear_since: int | None = None


class AlertTracker:
    """The alerts of one call."""

    def __init__(self) -> None:
        self._active: dict[tuple[AlertKind, Party | None], _ActiveAlert] = {}
        self.counts: Counter[AlertKind] = Counter()

    @property
    def open(self) -> tuple[CallAlert, ...]:
        """Active alerts, oldest first."""
        return tuple(
            CallAlert(
                alert=active.name,
                kind=active.reading.kind,
                speaker=active.reading.speaker,
                since_s=seconds(active.since),
            )
            for active in self._active.values()
        )

    def check(self, at_sample: int, readings: Sequence[AlertReading], *, clear_s: float) -> list[AlertBody]:
        """Update all alerts with the readings at `at_sample`; return those raised and ended."""
        bodies = []
        for reading in readings:
            key = (reading.kind, reading.speaker)
            active = self._active.get(key)
            if active is None:
                if reading.eligible and reading.value >= reading.on:
                    bodies.append(self._raise(key, reading, at_sample))
                continue
            active.reading = reading
            if reading.value >= reading.off:
                active.clear_since = None
            elif active.clear_since is None:
                active.clear_since = at_sample
            if active.clear_since is not None and at_sample - active.clear_since >= samples(clear_s):
                bodies.append(self._end(key, at_sample))
        return bodies

    def close(self, at_sample: int) -> list[AlertBody]:
        """End all alerts at the end of the call."""
        return [self._end(key, at_sample) for key in list(self._active)]

    def _raise(self, key: tuple[AlertKind, Party | None], reading: AlertReading, at_sample: int) -> AlertBody:
        self.counts[reading.kind] += 1
        active = self._active[key] = _ActiveAlert(f"a{self.counts.total()}", at_sample, reading)
        return _alert_body(active, at_sample, ended=False)

    def _end(self, key: tuple[AlertKind, Party | None], at_sample: int) -> AlertBody:
        return _alert_body(self._active.pop(key), at_sample, ended=True)


def _alert_body(active: _ActiveAlert, at_sample: int, *, ended: bool) -> AlertBody:
    reading = active.reading
    return AlertBody(
        phase="end" if ended else "start",
        alert=active.name,
        kind=reading.kind,
        speaker=reading.speaker,
        start_s=seconds(active.since),
        end_s=seconds(at_sample),
        value=round(reading.value, DIGITS),
        threshold=reading.on,
    )
