"""Verification of servers by TLS, for every sink that opens connections."""

from __future__ import annotations

import ssl

from stream.errors import SettingsError


def verifying_context(ca_file: str, *, key: str) -> ssl.SSLContext:
    """Return a context that trusts the authorities in a file, or the system's. Raises `SettingsError` naming `key`."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"cannot load {key} {ca_file!r} ({error}); name a PEM file of certificates") from None
