"""Settings of calls and their alerts."""

from __future__ import annotations

from pydantic import Field, model_validator

from stream.settings.base import Branch, Fraction, Positive


class CallsSettings(Branch):
    """The figures of a call, and what a party's track is judged by."""

    agent_emotion: bool = Field(
        False,
        description="Infer the agent's emotion, too. In the European Union that is forbidden at work (AI Act, "
        "Article 5(1)(f)); switch it on only where you may.",
    )
    update_s: float = Field(
        1.0, ge=0.1, le=10, description="Media time between two `call` events; alerts are judged then, too."
    )
    floor_s: float = Field(
        0.5, ge=0, le=10, description="Talk alone that takes the floor from the other; less is a mere `mhm`."
    )
    pause_s: float = Field(2.0, ge=0.1, le=60, description="Silence after which nobody holds the floor any more.")
    interruption_s: float = Field(
        0.5, ge=0.05, le=10, description="Crosstalk from which on whoever began later has interrupted."
    )
    trend_s: Positive = Field(30.0, description="Time constant of the slow average that `trend` is told against.")


class AlertsSettings(Branch):
    """When a call asks for attention. An alert is raised at `..._on`, and ends when its value stays below `..._off`."""

    anger_on: Fraction = Field(0.6, description="Smoothed probability of anger that raises `anger` …")
    anger_off: Fraction = Field(0.4, description="… and below which it ends.")
    anger_s: float = Field(3.0, ge=0, le=600, description="Speech for which the anger must have lasted.")
    dead_air_s: Positive = Field(10.0, description="Silence that raises `dead_air`; talk ends it.")
    crosstalk_on: Fraction = Field(0.2, description="Share of crosstalk that raises `crosstalk` …")
    crosstalk_off: Fraction = Field(0.1, description="… and below which it ends.")
    crosstalk_window_s: float = Field(30.0, ge=5, le=600, description="The time over which that share is taken.")
    monologue_s: Positive = Field(120.0, description="Floor held in one go that raises `monologue`.")
    clear_s: float = Field(2.0, ge=0, le=60, description="For how long an alert must be below `off` to end.")

    @model_validator(mode="after")
    def _hysteresis(self) -> AlertsSettings:
        if self.anger_off > self.anger_on or self.crosstalk_off > self.crosstalk_on:
            msg = "off must not be above on"
            raise ValueError(msg)
        return self
