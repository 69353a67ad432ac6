"""Body of rooms events: who is in which room, where several microphones receive one person."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stream.events.base import EventModel, Seconds


class RoomLevel(EventModel):
    """A microphone that receives a person."""

    node: str = Field(description="Name of its node.")
    source: str = Field(description="Name of its stream.")
    level_dbfs: float = Field(description="Level of the speech, smoothed, less the known difference of the microphone.")


class RoomOccupant(EventModel):
    """A person who speaks, and the room."""

    speaker: str | None = Field(description="Name of an enrolled voice; null for any other.")
    node: str = Field(description="Node whose microphone is nearest.")
    source: str = Field(description="Stream of that microphone: the room.")
    since_s: Seconds = Field(
        description="Time since which the person speaks in this room, on the clock of `end_s`. A new room with an "
        "equal `since_s` corrects the one before; with a later one the person has moved."
    )
    certain: bool = Field(
        description="Whether the room is clear: much louder than any other, or kept for a while; it may be corrected "
        "otherwise."
    )
    lead_db: float | None = Field(
        default=None, description="Lead of the loudest microphone over the second one; null if there is only one."
    )
    levels: tuple[RoomLevel, ...] = Field(
        description="The microphones that receive the person, the loudest first; 4 at most."
    )


class RoomsBody(EventModel):
    """Everyone who speaks, each in one room, as far as this node and those it listens to receive them."""

    type: Literal["rooms"] = "rooms"
    start_s: Seconds = Field(default=0.0, description="Always 0.")
    end_s: Seconds = Field(description="Time since the start of the node.")
    people: tuple[RoomOccupant, ...] = Field(description="Empty in silence; 50 at most.")
