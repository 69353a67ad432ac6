"""Settings of the dashboard."""

from __future__ import annotations

from pydantic import Field, SecretStr

from stream.settings.base import Branch


class DashboardSettings(Branch):
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
