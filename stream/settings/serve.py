"""Settings of the network listener (`tonewatch serve`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from stream.settings.base import MIN_TOKEN_CHARACTERS, Branch, Positive, Token


class ServeSettings(Branch):
    """The network listener of `tonewatch serve`."""

    host: str = Field("127.0.0.1", description="Address to listen on; any but a loopback address needs a token.")
    port: int = Field(8765, ge=0, le=65_535, description="Port for WebSockets and the dashboard; 0: any free one.")
    token: Token = Field(
        SecretStr(""),
        description=f"Access token, at least {MIN_TOKEN_CHARACTERS} characters; preferably set in the environment.",
    )
    token_file: str = Field("", description="File that contains the token, readable by its owner only.")
    origins: tuple[str, ...] = Field((), description="Further web origins that may connect, beside the listener's own.")
    trusted_proxies: tuple[str, ...] = Field(
        (),
        description="Networks of the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, e.g. 127.0.0.1.",
    )
    public_url: str = Field(
        "", description="Address at which Twilio reaches the listener, e.g. wss://calls.example.org."
    )
    twilio_auth_token: SecretStr = Field(
        SecretStr(""), description="Auth token of the Twilio account; if set, X-Twilio-Signature is verified."
    )
    twilio_auth_token_file: str = Field(
        "", description="File that contains the auth token, readable by its owner only."
    )
    audiohook_api_key: SecretStr = Field(SecretStr(""), description="API key that Genesys Cloud sends.")
    audiohook_api_key_file: str = Field("", description="File that contains the API key, readable by its owner only.")
    audiohook_secret: SecretStr = Field(
        SecretStr(""),
        description="Client secret of the AudioHook integration (base64); if set, signatures are verified.",
    )
    audiohook_secret_file: str = Field(
        "", description="File that contains the client secret, readable by its owner only."
    )
    audiosocket_port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(
        None, description="TCP port for Asterisk's AudioSocket; 0: any free one; unset: none."
    )
    audiosocket_peers: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="Networks from which AudioSocket connections are accepted."
    )
    wyoming_port: Annotated[int, Field(ge=0, le=65_535)] | None = Field(
        None, description="TCP port for Home Assistant's speech-to-text (Wyoming); 0: any free one; unset: none."
    )
    wyoming_upstream: str = Field(
        "", description="The speech-to-text service that gets the audio and answers, e.g. tcp://whisper:10300."
    )
    wyoming_peers: tuple[str, ...] = Field(
        ("127.0.0.0/8", "::1/128"), description="Networks from which Wyoming connections are accepted."
    )
    wyoming_source: str = Field("assist", min_length=1, description="Name of the stream of what is said over Wyoming.")
    wyoming_wait_s: float = Field(
        0.0,
        ge=0,
        le=5,
        description="How long a transcript may be held while it is not decided who speaks; 0: never.",
    )
    wyoming_tell: tuple[Literal["context", "detection"], ...] = Field(
        (),
        description="What a Wyoming client gets beside the transcript: its `context` with the speaker and the "
        "emotion, a `detection` event with the speaker before it. Empty: every byte is the service's own.",
    )
    wyoming_announce: bool = Field(
        False, description="Announce the Wyoming port on the local network (mDNS), for Home Assistant to find."
    )
    mask_numbers: bool = Field(
        False, description="Show only the last digits of telephone numbers, in events and on the dashboard."
    )
    max_message_bytes: int = Field(65_536, ge=1_024, le=16_777_216, description="Maximum size of a message.")
    max_streams: int = Field(256, ge=1, le=10_000, description="Maximum number of streams at a time.")
    streams_per_peer: int = Field(
        256, ge=1, le=10_000, description="Maximum number of streams, and of connections, from one address."
    )
    buffer_mb: Positive = Field(
        128.0, description="Maximum size of audio that waits for processing, in MB, over all streams."
    )
    messages_per_s: int = Field(
        500, ge=1, le=1_000_000, description="Maximum rate of messages of one connection, on average."
    )
    idle_timeout_s: Positive = Field(
        30.0, description="Time without data, or without an announced stream, after which a connection is closed."
    )
    max_ahead_s: Positive = Field(30.0, description="Maximum time that audio may be ahead of real time.")
    write_timeout_s: Positive = Field(
        10.0, description="Time after which a client that does not read what it is sent is disconnected."
    )
