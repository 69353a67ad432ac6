"""Settings of unattended operation: probes, metrics, log format."""

from __future__ import annotations

import ipaddress
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from stream.settings.base import MIN_TOKEN_CHARACTERS, Branch, Token


class ServiceSettings(Branch):
    """Unattended operation: the port of probes and metrics, and the log format."""

    port: int = Field(
        0, ge=0, le=65_535, description="Port of `/healthz`, `/readyz`, `/metrics` and `/drain`; 0: none."
    )
    host: str = Field("127.0.0.1", description="Address of that port; any but a loopback address needs a token.")
    token: Token = Field(
        SecretStr(""),
        description=f"Bearer token of that port, at least {MIN_TOKEN_CHARACTERS} characters; empty: none is required.",
    )
    token_file: str = Field("", description="File that contains the token, readable by its owner only.")
    drain_s: float = Field(
        0.0,
        ge=0,
        le=86_400,
        description="`serve`: time that calls get to end after SIGTERM, while no new ones are taken; 0: none.",
    )
    ready_streams: int = Field(
        0,
        ge=0,
        le=10_000,
        description="`serve`: number of streams from which on `/readyz` says not ready; 0: `serve.max_streams`.",
    )
    stall_timeout_s: float = Field(
        30.0, ge=1, le=3_600, description="Time without audio progress of a stream after which the node is unhealthy."
    )
    logs: Literal["text", "json"] = Field("text", description="Log format: plain text, or one JSON object per line.")

    @model_validator(mode="after")
    def _require_token(self) -> ServiceSettings:
        try:
            is_local = self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            is_local = False
        if self.port and not is_local and not self.token.get_secret_value():
            msg = f"service.port on {self.host!r} needs a token; set TONEWATCH__SERVICE__TOKEN or listen on 127.0.0.1"
            raise ValueError(msg)
        return self
