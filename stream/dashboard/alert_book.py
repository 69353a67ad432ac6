"""Alerts as objects: what set them off, who has seen them, until when they are put off, and notes on them.

One book serves all pages of a server; with a store it survives a restart. It keeps the newest `MAX_ALERTS`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Literal

from stream.dashboard.alert_store import AlertStore
from stream.dashboard.views import RaisedAlert
from stream.events import AlertEvent
from stream.events.labels import alert_label

MAX_ALERTS = 500
MAX_NOTE_CHARACTERS = 500
MAX_SNOOZE_MIN = 24 * 60

AlertAction = Literal["acknowledge", "reopen", "snooze", "note"]


class AlertBook:
    """The newest alerts of all nodes, each with a version that rises with its changes."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.version = 0
        self._records: OrderedDict[str, RaisedAlert] = OrderedDict()  # the oldest first
        self._versions: dict[str, int] = {}
        self._store: AlertStore | None = None

    def attach(self, store: AlertStore) -> None:
        """Read what a store has, and keep it up to date from now on."""
        self._store = store
        for record in store.newest_alerts(MAX_ALERTS):
            self._put(record, persist=False)

    def apply(self, event: AlertEvent, *, node: str, name: str, about: Mapping[str, str]) -> None:
        """Apply the start or end of an alert of a card called `name`."""
        key = f"{node}/{event.session}/{event.source}/{event.alert}"
        known, at_ms = self._records.get(key), event.time.timestamp() * 1000
        if known is None:
            known = RaisedAlert(
                id=key,
                card=f"{node}/{name}",
                name=name,
                about=dict(about),
                kind=event.kind,
                label=alert_label(event.kind, event.rule),
                speaker=event.speaker,
                cause=_cause(event),
                start_ms=at_ms - 1000 * (event.end_s - event.start_s),
            )
        if event.phase == "end":
            known = known.model_copy(update={"end_ms": at_ms})
        self._put(known)

    def act(self, alert: str, action: AlertAction, value: Any = None) -> str:
        """Change an alert as a supervisor asked; returns an error for the page, or ""."""
        record = self._records.get(alert)
        if record is None:
            return "this alert is not known any more"
        now_ms = round(1000 * self._clock())
        match action:
            case "acknowledge":
                changed: dict[str, Any] = {"acknowledged_ms": now_ms}
            case "reopen":
                changed = {"acknowledged_ms": None, "snoozed_ms": None}
            case "snooze":
                if not isinstance(value, int) or not 1 <= value <= MAX_SNOOZE_MIN:
                    return f"minutes must be from 1 to {MAX_SNOOZE_MIN}"
                changed = {"snoozed_ms": now_ms + 60_000 * value}
            case "note":
                changed = {"note": str(value or "")[:MAX_NOTE_CHARACTERS]}
            case _:
                return "action must be acknowledge, reopen, snooze or note"
        self._put(record.model_copy(update=changed))
        return ""

    def since(self, version: int) -> tuple[RaisedAlert, ...]:
        """Return the alerts that changed after a version, the oldest first."""
        return tuple(record for key, record in self._records.items() if self._versions[key] > version)

    def _put(self, record: RaisedAlert, *, persist: bool = True) -> None:
        self.version += 1
        self._records[record.id] = record
        self._versions[record.id] = self.version
        if len(self._records) > MAX_ALERTS:
            oldest, _ = self._records.popitem(last=False)
            del self._versions[oldest]
        if persist and self._store is not None:
            self._store.put_alert(record)


def _cause(event: AlertEvent) -> str:
    """Return what set an alert off, with its value."""
    match event.kind:
        case "anger":
            return f"anger {event.value:.0%}"
        case "crosstalk":
            return f"{event.value:.0%} of the time both talk"
        case "dead_air":
            return f"no speech for {event.value:.0f} s"
        case "monologue":
            return f"the floor for {event.value:.0f} s"
        case "rule":
            return ": ".join(filter(None, (event.person, event.detail)))
