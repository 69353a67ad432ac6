"""What a node proves itself with at the broker: certificates and a password, read once at the start."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from stream.errors import SettingsError
from stream.settings import MqttSettings
from stream.sinks.tls import verifying_context

MAX_PASSWORD_LENGTH = 65_535
"""The protocol's limit."""


def tls_context(settings: MqttSettings) -> ssl.SSLContext:
    """Load the trusted authorities and the client certificate. Raises `SettingsError`."""
    context = verifying_context(settings.ca_file, key="mqtt.ca_file")
    if settings.cert_file:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file or None, password=_no_password)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"cannot load mqtt.cert_file {settings.cert_file!r} ({error}); name a PEM certificate and its key"
            ) from None
    return context


def read_password(settings: MqttSettings) -> str:
    """Return `mqtt.password`, or the content of `mqtt.password_file`. Raises `SettingsError`."""
    if not settings.password_file:
        return settings.password.get_secret_value()
    path = Path(settings.password_file)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise SettingsError(f"mqtt.password_file {str(path)!r} is not a file; name a text file")
        if mode & 0o077:
            raise SettingsError(f"mqtt.password_file {str(path)!r} is readable by others; run `chmod 600 {path}`")
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_PASSWORD_LENGTH + 3).strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(f"cannot read mqtt.password_file {str(path)!r} ({why}); name a text file") from None
    if not text or "\n" in text or len(text) > MAX_PASSWORD_LENGTH:
        raise SettingsError(f"mqtt.password_file {str(path)!r} is not a password; write one line, the password")
    return text


def _no_password() -> str:
    """Refuse an encrypted key, for which OpenSSL would otherwise prompt on the terminal."""
    raise ssl.SSLError("the private key is encrypted; use an unencrypted key readable by its owner only")
