"""Alerts of a call, with hysteresis: raised at `on`, ended when the value has stayed below `off` for `clear_s`.

Asked at every update of the call, with a `AlertReading` of everything there is to watch. Each alert has a name of its own
and is told twice: when it is raised, and when it has ended (or the call has).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stream.clock import samples, seconds
from stream.events import AlertBody, AlertKind, CallAlert, Party

DIGITS = 4
"""Values are told to this many places."""


@dataclass(frozen=True, slots=True)
class AlertReading:
    """What was measured of one thing that is watched. `ripe` says that it has lasted long enough to be raised."""

    kind: AlertKind
    speaker: Party | None
    value: float
    on: float
    off: float
    ripe: bool = True


@dataclass(slots=True)
class _ActiveAlert:
    """An alert that is on. `clear_since` is where its value fell below `off`."""

    name: str
    since: int
    reading: AlertReading
    clear_since: int | None = None


class AlertTracker:
    """The alerts of one call."""

    def __init__(self, *, clear_s: float) -> None:
        self._clear = samples(clear_s)
        self._raised: dict[tuple[AlertKind, Party | None], _ActiveAlert] = {}
        self.counts: Counter[AlertKind] = Counter()

    @property
    def open(self) -> tuple[CallAlert, ...]:
        """Those that are on, the oldest first."""
        return tuple(
            CallAlert(alert=one.name, kind=one.reading.kind, speaker=one.reading.speaker, since_s=seconds(one.since))
            for one in self._raised.values()
        )

    def check(self, at_sample: int, readings: Sequence[AlertReading]) -> list[AlertBody]:
        """What the readings of this moment raise and end."""
        told = []
        for reading in readings:
            key = (reading.kind, reading.speaker)
            raised = self._raised.get(key)
            if raised is None:
                if reading.ripe and reading.value >= reading.on:
                    told.append(self._raise(key, reading, at_sample))
                continue
            raised.reading = reading
            if reading.value >= reading.off:
                raised.clear_since = None
            elif raised.clear_since is None:
                raised.clear_since = at_sample
            if raised.clear_since is not None and at_sample - raised.clear_since >= self._clear:
                told.append(self._end(key, at_sample))
        return told

    def close(self, at_sample: int) -> list[AlertBody]:
        """The call is over, and so is every alert."""
        return [self._end(key, at_sample) for key in list(self._raised)]

    def _raise(self, key: tuple[AlertKind, Party | None], reading: AlertReading, at_sample: int) -> AlertBody:
        self.counts[reading.kind] += 1
        raised = self._raised[key] = _ActiveAlert(f"a{self.counts.total()}", at_sample, reading)
        return _told(raised, at_sample, ended=False)

    def _end(self, key: tuple[AlertKind, Party | None], at_sample: int) -> AlertBody:
        return _told(self._raised.pop(key), at_sample, ended=True)


def _told(raised: _ActiveAlert, at_sample: int, *, ended: bool) -> AlertBody:
    reading = raised.reading
    return AlertBody(
        phase="end" if ended else "start",
        alert=raised.name,
        kind=reading.kind,
        speaker=reading.speaker,
        start_s=seconds(raised.since),
        end_s=seconds(at_sample),
        value=round(reading.value, DIGITS),
        threshold=reading.on,
    )
