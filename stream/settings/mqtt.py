"""What can be set about the MQTT sink: a branch of the tree in `settings`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from stream.control.commands import CommandName
from stream.settings.base import Branch, Positive

TopicPrefix = Annotated[str, Field(max_length=200, pattern=r"^[^+#\x00-\x1f]*$")]


class MqttSettings(Branch):
    """The MQTT sink (`--sink mqtt://host:1883/prefix`)."""

    qos: Literal[0, 1, 2] = Field(1, description="Quality of service of every message.")
    protocol: Literal["5", "3.1.1"] = Field("5", description="Version of MQTT.")
    payload: Literal["native", "cloudevents"] = Field(
        "native", description="Events as they are, or each as a CloudEvents 1.0 object."
    )
    client_id: str = Field(
        "", max_length=64, description="Empty: node and host name, and a random end so that no two are alike."
    )
    username: str = Field("", description="User name at the broker.")
    password: SecretStr = Field(SecretStr(""), description="Password; better in the environment than in a file.")
    password_file: str = Field("", description="A file that holds the password, readable by you only.")
    keepalive_s: int = Field(30, ge=5, le=3_600, description="Keep-alive of the connection.")
    tls: bool = Field(False, description="Encrypt (also switched on by `mqtts://` and `mqtt+wss://`).")
    ca_file: str = Field("", description="Certificates to trust, PEM; empty: the system's.")
    cert_file: str = Field("", description="Certificate to show the broker, PEM; empty: none.")
    key_file: str = Field("", description="Its key, PEM; empty: in the certificate's file.")
    websocket_path: str = Field("/mqtt", pattern="^/", description="Path at the broker, for `mqtt+ws://`.")
    expiry_s: int = Field(
        300, ge=10, le=86_400, description="Rolling state older than this is worth nothing and is not told any more."
    )
    outbox: str = Field(
        "auto",
        description="Folder for turn and stream events that the broker has not taken yet; `auto`: tonewatch's state "
        "folder of this user; empty: in memory only, lost when the process is.",
    )
    queue_events: int = Field(10_000, ge=1, le=200_000, description="Events the outbox holds; the oldest go first.")
    outbox_mb: Positive = Field(32.0, description="Size of the events in the outbox; the oldest go first.")
    outbox_age_s: Positive = Field(604_800.0, description="Older events in the outbox are dropped.")
    reconnect_max_s: Positive = Field(30.0, description="Longest pause between two attempts to connect.")
    commands: tuple[CommandName, ...] = Field(
        (), description="Commands that may come over MQTT: `status`, `pause`, `resume`, `enroll`, `reload`."
    )
    discovery_prefix: TopicPrefix = Field(
        "", description="Discovery prefix of Home Assistant (usually `homeassistant`); empty: not announced there."
    )

    @model_validator(mode="after")
    def _whole(self) -> MqttSettings:
        if self.password.get_secret_value() and self.password_file:
            msg = "password and password_file are both set; leave one out"
            raise ValueError(msg)
        if self.key_file and not self.cert_file:
            msg = "key_file is worth nothing without cert_file"
            raise ValueError(msg)
        return self
