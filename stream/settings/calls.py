"""Settings of calls."""

from __future__ import annotations

from pydantic import Field

from stream.settings.base import Branch, Positive


class CallsSettings(Branch):
    """The figures of a call: floor, pauses, interruptions, trend."""

    agent_emotion: bool = Field(
        False,
        description="Infer the agent's emotion as well. The European Union prohibits this at the workplace (AI Act, "
        "Article 5(1)(f)); switch it on only where it is lawful.",
    )
    update_s: float = Field(
        1.0, ge=0.1, le=10, description="Media time between two `call` events; alerts are checked at the same interval."
    )
    floor_s: float = Field(
        0.5,
        ge=0,
        le=10,
        description="Speech of one party alone that takes the floor from the other; shorter is a back-channel (`mhm`).",
    )
    pause_s: float = Field(2.0, ge=0.1, le=60, description="Silence after which no party has the floor.")
    interruption_s: float = Field(
        0.5, ge=0.05, le=10, description="Crosstalk after which the party that began later counts as interrupting."
    )
    trend_s: Positive = Field(30.0, description="Time constant of the slow average that `trend` is relative to.")
