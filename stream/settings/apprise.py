"""Settings of notifications."""

from __future__ import annotations

from pydantic import Field, SecretStr

from stream.settings.base import Branch, Positive


class AppriseSettings(Branch):
    """Notifications of alerts by apprise (`--sink apprise`, `--sink apprise+ntfy://topic`)."""

    url: SecretStr = Field(
        SecretStr(""), description="Address of the sink `apprise`, such as tgram://TOKEN/CHAT; several with spaces."
    )
    url_file: str = Field("", description="File that contains the address, readable by its owner only.")
    alerts: tuple[str, ...] = Field(
        (), description="Kinds of built-in alerts and names of rules that are sent; empty: all."
    )
    ends: bool = Field(False, description="Send the end of an alert as well.")
    pause_s: Positive = Field(
        30.0, description="Minimum time between two notifications; alerts in between become one notification."
    )
