"""Who may do what on the dashboard (pure): three roles, each with a token of its own.

A viewer sees streams, calls and alerts. A supervisor also acknowledges alerts and sets their conditions, pauses
streams, sends audio from the browser and exports the history of calls. An admin, whose token is `dashboard.token`, also
enrols voices, and sees the settings and the log of changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Role = Literal["viewer", "supervisor", "admin"]

ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""

COMMAND_ROLES: Mapping[str, Role] = {"pause": "supervisor", "resume": "supervisor", "set_alert": "supervisor"}
"""Roles that commands need; any other one needs an admin."""


def includes(role: Role | None, needed: Role) -> bool:
    """Whether a role may do what another one may."""
    return role is not None and ROLES.index(role) >= ROLES.index(needed)


def may_send(role: Role, command: str) -> bool:
    """Whether a role may send a command."""
    return includes(role, COMMAND_ROLES.get(command, "admin"))
