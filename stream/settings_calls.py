"""What can be set about calls, the listener they come through and the page: branches of the tree in `settings`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Branch(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class CallsSettings(_Branch):
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


class AlertsSettings(_Branch):
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


class ServeSettings(_Branch):
    """The listener of `tonewatch serve`."""

    host: str = Field("127.0.0.1", description="Address to listen on; any but a loopback one needs a token.")
    port: int = Field(8765, ge=0, le=65_535, description="Port for WebSockets and pages; 0: any that is free.")
    token: SecretStr = Field(SecretStr(""), description="What clients must show; better in the environment.")
    origins: tuple[str, ...] = Field((), description="Web origins allowed beside the listener's own.")
    public_url: str = Field("", description="How Twilio reaches the listener, e.g. wss://calls.example.org.")
    twilio_auth_token: SecretStr = Field(
        SecretStr(""), description="Auth token of the Twilio account: X-Twilio-Signature is then checked."
    )
    audiohook_api_key: SecretStr = Field(SecretStr(""), description="API key that Genesys Cloud must send.")
    audiohook_secret: SecretStr = Field(
        SecretStr(""), description="Client secret of the AudioHook integration (base64): signatures are then checked."
    )
    audiosocket_port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(
        None, description="TCP port for Asterisk's AudioSocket; 0: any that is free; unset: none."
    )
    audiosocket_peers: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="Networks from which AudioSocket connections are taken."
    )
    max_message_bytes: int = Field(65_536, ge=1_024, le=16_777_216, description="The longest message that is taken.")
    max_streams: int = Field(256, ge=1, le=10_000, description="Tracks that may be heard at a time.")
    streams_per_peer: int = Field(
        256, ge=1, le=10_000, description="Of these, from one address; no more connections, either."
    )
    messages_per_s: int = Field(
        500, ge=1, le=1_000_000, description="Messages that one connection may send, on average."
    )
    idle_s: Positive = Field(
        30.0, description="Silence on the connection after which it is closed; also without any sound announced."
    )
    ahead_s: Positive = Field(30.0, description="How far sound may run ahead of the clock.")
    stall_s: Positive = Field(10.0, description="How long a client may let what we send lie; then it is cut off.")


class DashboardSettings(_Branch):
    """The page (`tonewatch dashboard`, or `--dashboard` on `run`)."""

    host: str = Field(
        "127.0.0.1", min_length=1, description="Address it listens on; beyond loopback a token is needed."
    )
    port: int = Field(8765, ge=0, le=65_535, description="Port it listens on; 0: any free one.")
    token: SecretStr = Field(
        SecretStr(""), description="What a visitor must know, 16 characters or more; better in the environment."
    )
    origins: tuple[str, ...] = Field(
        (), description="Further sites whose pages may connect, like `https://wall.example`."
    )
