"""The command `set_alert`: conditions of alerts change on a running node, and the log says by whom."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from stream.calls.current_alerts import CurrentAlerts
from stream.control.commands import SetAlertCommand
from stream.control.dispatcher import Handler

log = logging.getLogger(__name__)


def alert_handlers(alerts: CurrentAlerts) -> dict[str, Handler]:
    """Return the handler of `set_alert`, by its name."""

    async def set_alert(command: SetAlertCommand) -> Mapping[str, Any]:
        previous = alerts.change(command.name, command.value)
        request = f" (id {command.id!r})" if command.id else ""
        log.warning("alert %r set from %r to %r by command%s", command.name, previous, command.value, request)
        return {"name": command.name, "value": command.value, "previous": previous}

    return {"set_alert": set_alert}
