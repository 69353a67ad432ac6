"""Settings of calls and of their alerts."""

from __future__ import annotations

from pydantic import Field, model_validator

from stream.settings.base import Branch, Fraction, Positive


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


class AlertsSettings(Branch):
    """Conditions of alerts: one is raised at `..._on`, and ends when its value stays below `..._off`."""

    anger_on: Fraction = Field(0.6, description="Smoothed probability of anger that raises `anger` …")
    anger_off: Fraction = Field(0.4, description="… and below which it ends.")
    anger_arousal: Fraction = Field(
        0.5, description="Arousal that `anger` needs besides, with a model that gives it; 0: anger alone decides."
    )
    anger_s: float = Field(3.0, ge=0, le=600, description="Speech for which the anger must last.")
    dead_air_s: Positive = Field(10.0, description="Silence that raises `dead_air`; speech ends it.")
    crosstalk_on: Fraction = Field(0.2, description="Share of crosstalk that raises `crosstalk` …")
    crosstalk_off: Fraction = Field(0.1, description="… and below which it ends.")
    crosstalk_window_s: float = Field(30.0, ge=5, le=600, description="Time over which that share is computed.")
    monologue_s: Positive = Field(120.0, description="Uninterrupted time with the floor that raises `monologue`.")
    clear_s: float = Field(
        2.0, ge=0, le=60, description="Time that the value must stay below `off` for the alert to end."
    )

    @model_validator(mode="after")
    def _hysteresis(self) -> AlertsSettings:
        if self.anger_off > self.anger_on or self.crosstalk_off > self.crosstalk_on:
            msg = "an alert's off is above its on; lower off or raise on"
            raise ValueError(msg)
        return self
