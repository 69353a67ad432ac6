"""Settings of the dashboard."""

from __future__ import annotations

from pydantic import Field, SecretStr

from stream.settings.base import MIN_TOKEN_CHARACTERS, Branch, Token


class DashboardSettings(Branch):
    """The dashboard (`tonewatch dashboard`, or `--dashboard` on `run`)."""

    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on; any but a loopback address needs a token."
    )
    port: int = Field(8765, ge=0, le=65_535, description="Port to listen on; 0: any free one.")
    token: Token = Field(
        SecretStr(""),
        description=f"Access token, at least {MIN_TOKEN_CHARACTERS} characters; preferably set in the environment.",
    )
    token_file: str = Field("", description="File that contains the token, readable by its owner only.")
    supervisor_token: Token = Field(
        SecretStr(""),
        description="Token of supervisors, who acknowledge alerts, pause streams and export calls, but do not enrol "
        "and see no settings; needs `dashboard.token`.",
    )
    supervisor_token_file: str = Field(
        "", description="File that contains the supervisors' token, readable by its owner only."
    )
    viewer_token: Token = Field(
        SecretStr(""), description="Token of viewers, who see everything live and change nothing; needs the same."
    )
    viewer_token_file: str = Field("", description="File that contains the viewers' token, readable by its owner only.")
    alert_days: int = Field(
        30,
        ge=0,
        le=3_650,
        description="Days for which alerts, acknowledgements and notes are kept on disk; 0: in memory only.",
    )
    call_days: int = Field(
        0,
        ge=0,
        le=3_650,
        description="Days for which ended calls are kept: names and numbers of the call, duration, outcome, shares of "
        "emotions and of speech, alerts, and the turns and emotions of their reports; 0: none.",
    )
    change_days: int = Field(
        365,
        ge=0,
        le=3_650,
        description="Days for which changes made on the dashboard are kept: who (role and address) did what, when; 0: "
        "they are only logged.",
    )
    origins: tuple[str, ...] = Field(
        (), description="Further web origins that may connect, such as `https://wall.example`."
    )
