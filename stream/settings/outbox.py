"""Settings of an outbox: events that wait for a receiver."""

from __future__ import annotations

from pydantic import Field

from stream.settings.base import Branch, Positive


class OutboxSettings(Branch):
    """Where and how long undelivered events are kept."""

    outbox: str = Field(
        "auto",
        description="Folder for ordered events (turns, alerts, states) that the receiver has not acknowledged; `auto`: "
        "the user's state folder; empty: in memory only, lost with the process.",
    )
    queue_events: int = Field(
        10_000, ge=1, le=200_000, description="Maximum number of events in the outbox; the oldest are dropped first."
    )
    outbox_mb: Positive = Field(
        32.0, description="Maximum size of the outbox in MB; the oldest events are dropped first."
    )
    outbox_age_s: Positive = Field(604_800.0, description="Age at which events in the outbox are dropped.")
