"""Settings of the webhook sink."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from stream.settings.base import Positive
from stream.settings.outbox import OutboxSettings

WebhookEvent = Literal["turn", "turn_start", "alert", "call", "stream", "speaker_resolved"]


class WebhookSettings(OutboxSettings):
    """The webhook sink (`--sink https://host/path`)."""

    events: tuple[WebhookEvent, ...] = Field(
        ("turn", "alert", "call"),
        description="Events that are sent: ended turns, starts of turns, alerts, final figures of calls, states of "
        "streams, corrections of speakers.",
    )
    secret: SecretStr = Field(
        SecretStr(""),
        description="Key of the signature, shared with the receiver: `whsec_` and Base64, or any text; empty: requests "
        "are not signed.",
    )
    secret_file: str = Field("", description="File that contains the key, readable by its owner only.")
    token: SecretStr = Field(SecretStr(""), description="Token sent as `Authorization: Bearer`; empty: none.")
    token_file: str = Field("", description="File that contains the token, readable by its owner only.")
    ca_file: str = Field("", description="CA certificates, PEM; empty: the system's.")
    timeout_s: Positive = Field(10.0, description="Time within which the receiver has to answer.")
    retry_max_s: Positive = Field(
        60.0, description="Maximum pause between two attempts; a receiver may ask for a longer one (`Retry-After`)."
    )
