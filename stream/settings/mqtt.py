"""Settings of the MQTT sink."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, model_validator

from stream.control.commands import CommandName
from stream.settings.base import Positive
from stream.settings.outbox import OutboxSettings
from stream.settings.texts import TopicPrefix, UrlPath


class MqttSettings(OutboxSettings):
    """The MQTT sink (`--sink mqtt://host:1883/prefix`)."""

    qos: Literal[0, 1, 2] = Field(1, description="Quality of service of every message.")
    protocol: Literal["5", "3.1.1"] = Field("5", description="Version of MQTT.")
    payload: Literal["native", "cloudevents"] = Field(
        "native", description="Format of events: as on standard output, or as CloudEvents 1.0 objects."
    )
    client_id: str = Field("", max_length=64, description="Client id; empty: node and host name with a random suffix.")
    username: str = Field("", description="User name at the broker.")
    password: SecretStr = Field(SecretStr(""), description="Password; preferably set in the environment.")
    password_file: str = Field("", description="File that contains the password, readable by its owner only.")
    keepalive_s: int = Field(30, ge=5, le=3_600, description="Keep-alive interval of the connection.")
    tls: bool = Field(False, description="Use TLS (also switched on by `mqtts://` and `mqtt+wss://`).")
    ca_file: str = Field("", description="CA certificates, PEM; empty: the system's.")
    cert_file: str = Field("", description="Client certificate, PEM; empty: none.")
    key_file: str = Field("", description="Key of the client certificate, PEM; empty: in `cert_file`.")
    websocket_path: UrlPath = Field("/mqtt", description="Path at the broker, for `mqtt+ws://` and `mqtt+wss://`.")
    expiry_s: int = Field(
        300, ge=10, le=86_400, description="Age at which rolling state expires and is no longer published."
    )
    reconnect_max_s: Positive = Field(30.0, description="Maximum delay between two attempts to connect.")
    commands: tuple[CommandName, ...] = Field(
        (),
        description="Commands allowed over MQTT: "
        "`status`, `pause`, `resume`, `enroll`, `reload`, `set_alert`, `drain`.",
    )
    discovery_prefix: TopicPrefix = Field(
        "", description="Discovery prefix of Home Assistant (usually `homeassistant`); empty: no discovery."
    )

    areas: dict[str, str] = Field(
        default_factory=dict, description="Suggested area in Home Assistant of each stream, by its name."
    )
    people: bool = Field(
        False,
        description="Publish where and when each enrolled person was heard last, also as devices of Home Assistant.",
    )
    room_topic: TopicPrefix = Field(
        "",
        description="Topic below which every stream publishes whom it hears, for Home Assistant's `mqtt_room` (usually "
        "`room_presence`); empty: none.",
    )

    @model_validator(mode="after")
    def _check_combinations(self) -> MqttSettings:
        if self.password.get_secret_value() and self.password_file:
            msg = "password and password_file are both set; remove one"
            raise ValueError(msg)
        if self.key_file and not self.cert_file:
            msg = "key_file is set without cert_file; set both"
            raise ValueError(msg)
        return self
