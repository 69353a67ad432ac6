"""What can be set about running as a service: a branch of the tree in `settings`."""

from __future__ import annotations

import ipaddress
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from stream.settings.base import Branch


class ServiceSettings(Branch):
    """Running unattended: a port for probes and metrics, logs for machines."""

    port: int = Field(0, ge=0, le=65_535, description="Port of `/healthz`, `/readyz` and `/metrics`; 0: none listens.")
    host: str = Field("127.0.0.1", description="Address of that port; one that others reach needs a token.")
    token: SecretStr = Field(SecretStr(""), description="What `Authorization: Bearer …` must show; empty: nothing.")
    stall_timeout_s: float = Field(
        30.0, ge=1, le=3_600, description="A stream whose sound stands still for so long makes the node unhealthy."
    )
    logs: Literal["text", "json"] = Field("text", description="Logs for people, or one JSON object a line.")

    @model_validator(mode="after")
    def _guarded(self) -> ServiceSettings:
        try:
            near = self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            near = False
        if self.port and not near and not self.token.get_secret_value():
            msg = f"a port that others reach ({self.host}) needs a token; set TONEWATCH__SERVICE__TOKEN"
            raise ValueError(msg)
        return self
