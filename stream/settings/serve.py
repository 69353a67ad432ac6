"""Settings of the network listener (`tonewatch serve`)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from stream.settings.base import Branch, Positive


class ServeSettings(Branch):
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
    idle_timeout_s: Positive = Field(
        30.0, description="Silence on the connection after which it is closed; also without any sound announced."
    )
    max_ahead_s: Positive = Field(30.0, description="How far sound may run ahead of the clock.")
    write_timeout_s: Positive = Field(10.0, description="How long a client may let what we send lie; then it is cut off.")
