"""What the bodies of events share: the frozen model, field types, and the reference to a model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

NODE = "node"
"""The source of events that speak of the whole process."""


def _in_utc(time: datetime) -> datetime:
    """What is told of a time: UTC to the millisecond, so that an event read back equals the one sent."""
    time = time.astimezone(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


TimeOfDay = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Probability = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Party = Literal["customer", "agent"]


class EventModel(BaseModel):
    """A model that never changes and takes nothing unknown, on its own or as part of an event."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class ModelRef(EventModel):
    """Which model, at which revision, an event rests on."""

    name: str
    revision: str
