"""The command `set_alert`: conditions of alerts change on a running node, and the log says by whom."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from stream.calls.current_alerts import CurrentAlerts
from stream.control.commands import SetAlertCommand
from stream.control.dispatcher import Handler
from stream.errors import CommandRefused

log = logging.getLogger(__name__)


def alert_handlers(alerts: CurrentAlerts) -> dict[str, Handler]:
    """Return the handler of `set_alert`, by its name."""

    async def set_alert(command: SetAlertCommand) -> Mapping[str, Any]:
        if command.value is None and command.enabled is None:
            raise CommandRefused("nothing to set; give a value or, of a rule, enabled")
        request = f" (id {command.id!r})" if command.id else ""
        result: dict[str, Any] = {"name": command.name}
        if command.enabled is not None:
            alerts.enable(command.name, enabled=command.enabled)
            log.warning("rule %r %s by command%s", command.name, ("disabled", "enabled")[command.enabled], request)
            result["enabled"] = command.enabled
        if command.value is not None:
            previous = alerts.change(command.name, command.value)
            log.warning("alert %r set from %r to %r by command%s", command.name, previous, command.value, request)
            result |= {"value": command.value, "previous": previous}
        return result

    return {"set_alert": set_alert}
