"""Settings of room arbitration."""

from __future__ import annotations

from pydantic import Field

from stream.settings.base import Branch


class RoomsSettings(Branch):
    """In which room a person speaks whom several microphones receive."""

    enabled: bool = Field(
        False,
        description="Publish `rooms` events: everyone who speaks, each in one room. With an MQTT sink also from what "
        "other nodes of the same prefix publish; one node is enough.",
    )
    offset_db: dict[str, float] = Field(
        {}, description="How much louder a microphone is than the others, by the name of its stream."
    )
