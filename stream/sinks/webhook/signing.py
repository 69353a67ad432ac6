"""Signatures of webhooks, after the Standard Webhooks specification (https://www.standardwebhooks.com) (pure).

The receiver recomputes an HMAC-SHA256 over id, timestamp and body, and refuses old timestamps, so that a request that
was recorded on its way cannot be repeated later. Libraries for most languages verify it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from stream.errors import SettingsError

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of a secret, not one
MIN_SECRET_BYTES = 16


def parse_secret(text: str) -> bytes:
    """Return the bytes of a key: Base64 behind `whsec_`, or any text. Raises `SettingsError`."""
    secret = text.encode()
    if text.startswith(SECRET_PREFIX):
        try:
            secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error:
            raise SettingsError("webhook.secret is not Base64 behind 'whsec_'; copy it again") from None
    if 0 < len(secret) < MIN_SECRET_BYTES or text == SECRET_PREFIX:
        raise SettingsError(f"webhook.secret is too short to be safe; use at least {MIN_SECRET_BYTES} bytes")
    return secret


def message_id(event_id: str) -> str:
    """Return the identifier of an event in headers, equal for every attempt: event ids may hold any letters."""
    return f"evt_{hashlib.sha256(event_id.encode(errors='surrogatepass')).hexdigest()[:32]}"


def headers(*, identifier: str, time_s: int, body: bytes, secret: bytes) -> dict[str, str]:
    """Return the headers that identify and, with a secret, sign a request at POSIX time `time_s`."""
    named = {"webhook-id": identifier, "webhook-timestamp": str(time_s)}
    if secret:
        digest = hmac.digest(secret, f"{identifier}.{time_s}.".encode() + body, "sha256")
        named["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return named
