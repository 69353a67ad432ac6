"""Base of all event models: the frozen model, field types, and model references."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

NODE = "node"
"""Source name of events about the whole process."""


def _in_utc(time: datetime) -> datetime:
    """Convert to UTC and truncate to milliseconds, so that an event read back equals the one sent."""
    time = time.astimezone(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


TimeOfDay = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Probability = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Party = Literal["customer", "agent"]


class EventModel(BaseModel):
    """Frozen model without unknown fields; base of events and of their parts."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class ModelRef(EventModel):
    """Name and revision of a model behind an event."""

    name: str
    revision: str
