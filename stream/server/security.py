"""Who may connect (pure): tokens, web origins, Twilio's and Genesys' signatures.

All comparisons take the same time whatever they compare. Header names are lower-case throughout.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

SIGNED = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)
"""What an AudioHook signature must cover."""

OLDEST_S = 30
"""A signature made longer ago, or for longer in the future, is no good."""

_INPUT = re.compile(r'\s*([a-z][\w-]*)=(\(((?:"[^"]*"\s*)*)\)((?:;[a-z]+=(?:"[^"]*"|\d+))*))\s*')
_SIGNATURE = re.compile(r"\s*([a-z][\w-]*)=:([A-Za-z0-9+/=]*):\s*")
_NONCE_LENGTH = 22


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_within(host: str, networks: Iterable[str]) -> bool:
    """Whether an address lies in one of the networks. Raises `ValueError` for what is no network."""
    allowed = [ipaddress.ip_network(network) for network in networks]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in allowed)


def is_same(given: str, wanted: str) -> bool:
    """Whether two secrets are equal; an empty one is no secret."""
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())


def token_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str:
    """The token a request shows: `Authorization: Bearer …`, or `?token=…` where headers cannot be set."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else query.get("token", "")


def is_own_origin(headers: Mapping[str, str], allowed: Iterable[str]) -> bool:
    """Whether a page that opens the connection is ours (or one that is allowed); other programs send no Origin."""
    origin = headers.get("origin")
    return origin is None or origin in allowed or urlsplit(origin).netloc == headers.get("host", "")


def is_signed_by_twilio(signature: str, *, url: str, key: str) -> bool:
    """X-Twilio-Signature: HMAC-SHA1 over the address, in either scheme and with or without a slash at its end."""
    plain = re.sub(r"^(wss?|https?)://", "", url).rstrip("/")
    found = False
    for scheme in ("wss", "https", "ws", "http"):
        for tail in ("", "/"):
            digest = hmac.new(key.encode(), f"{scheme}://{plain}{tail}".encode(), hashlib.sha1).digest()
            found |= hmac.compare_digest(base64.b64encode(digest).decode(), signature)
    return found


def is_signed_by_genesys(headers: Mapping[str, str], *, target: str, secret: str, now_s: float) -> bool:
    """HTTP message signature (HMAC-SHA256) of an AudioHook request; `target` is its path with the query."""
    asked = _INPUT.fullmatch(headers.get("signature-input", ""))
    given = _SIGNATURE.fullmatch(headers.get("signature", ""))
    if asked is None or given is None or asked[1] != given[1]:
        return False
    names = re.findall(r'"([^"]*)"', asked[3])
    told = dict(re.findall(r';([a-z]+)=("[^"]*"|\d+)', asked[4]))
    created, expires = (int(told[name]) if told.get(name, "").isdigit() else -1 for name in ("created", "expires"))
    fresh = abs(now_s - created) <= OLDEST_S and (expires < 0 or now_s <= expires)
    nonce = told.get("nonce", "").strip('"')
    keyid = told.get("keyid", "").strip('"')
    if not set(SIGNED) <= set(names) or not fresh or len(nonce) < _NONCE_LENGTH or keyid != headers.get("x-api-key"):
        return False
    values = {"@request-target": target, "@authority": headers.get("host", "").lower()}
    lines = [f'"{name}": {values.get(name, headers.get(name, ""))}' for name in names]
    lines.append(f'"@signature-params": {asked[2]}')
    try:
        key, signature = base64.b64decode(secret, validate=True), base64.b64decode(given[2], validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest(), signature)
