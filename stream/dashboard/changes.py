"""The log of changes: who did what on the dashboard, when, and whether it worked."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from stream.dashboard.views import View
from stream.server.roles import Role

MAX_DETAIL_CHARACTERS = 500
MAX_SHOWN = 1_000
"""The newest changes that are exported."""

log = logging.getLogger(__name__)


class ChangeRecord(View):
    """One change; `detail` has what it was about as JSON, `error` says why it was refused."""

    time_ms: float
    role: Role
    address: str
    action: str
    detail: str
    error: str


class ChangeLog:
    """Logs every change, and hands it to the stores that are attached."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._store: Callable[[ChangeRecord], None] = lambda _: None

    def attach(self, store: Callable[[ChangeRecord], None]) -> None:
        """Keep changes by calling `store`."""
        self._store = store

    def add(self, *, role: Role, address: str, action: str, fields: dict[str, Any], error: str = "") -> None:
        """Add a change that was made, or refused for an `error`."""
        about = {name: value for name, value in fields.items() if name not in ("command", "action", "id")}
        detail = json.dumps(about)[:MAX_DETAIL_CHARACTERS]  # ASCII: safe in any log
        record = ChangeRecord(
            time_ms=round(1000 * self._clock()), role=role, address=address, action=action, detail=detail, error=error
        )
        self._store(record)
        log.info("%s at %s: %s %s%s", role, address, action, detail, f", refused: {error}" if error else "")
