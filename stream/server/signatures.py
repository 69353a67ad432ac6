"""How telephone systems prove who they are (pure): networks, Twilio's and Genesys' signatures.

All comparisons take the same time whatever they compare. Header names are lower-case throughout.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping

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

MOST_NONCES = 100_000

_INPUT = re.compile(r'\s*([a-z][\w-]*)=(\(((?:"[^"]*"\s*)*)\)((?:;[a-z]+=(?:"[^"]*"|\d+))*))\s*')
_SIGNATURE = re.compile(r"\s*([a-z][\w-]*)=:([A-Za-z0-9+/=]*):\s*")
_NONCE_LENGTH = 22


def is_within(host: str, networks: Iterable[str]) -> bool:
    """Whether an address lies in one of the networks. Raises `ValueError` for what is no network."""
    allowed = [ipaddress.ip_network(network) for network in networks]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in allowed)


def is_signed_by_twilio(signature: str, *, url: str, key: str) -> bool:
    """X-Twilio-Signature: HMAC-SHA1 over the address, in either scheme and with or without a slash at its end."""
    plain = re.sub(r"^(wss?|https?)://", "", url).rstrip("/")
    found = False
    for scheme in ("wss", "https", "ws", "http"):
        for tail in ("", "/"):
            digest = hmac.new(key.encode(), f"{scheme}://{plain}{tail}".encode(), hashlib.sha1).digest()
            found |= hmac.compare_digest(base64.b64encode(digest).decode(), signature)
    return found


class GenesysSignatures:
    """HTTP message signatures (HMAC-SHA256) of AudioHook requests, each good for once.

    The nonce of a signature that was taken is remembered for as long as the signature could be shown again; at most
    `MOST_NONCES`, beyond which nobody is let in until the oldest have run out: whoever holds the secret is known, and
    makes no such number of calls.
    """

    def __init__(self, *, secret: str) -> None:
        self._secret = secret
        self._taken: OrderedDict[str, float] = OrderedDict()  # nonces, and until when they count; the oldest first

    def takes(self, headers: Mapping[str, str], *, target: str, now_s: float) -> bool:
        """Whether a request is genuine, fresh and was not shown before; `target` is its path with the query."""
        nonce = _signed_nonce(headers, target=target, secret=self._secret, now_s=now_s)
        while self._taken and next(iter(self._taken.values())) < now_s:
            self._taken.popitem(last=False)
        if nonce is None or nonce in self._taken or len(self._taken) >= MOST_NONCES:
            return False
        self._taken[nonce] = now_s + 2 * OLDEST_S  # made at most so far in the future, it is taken for so long again
        return True


def _signed_nonce(headers: Mapping[str, str], *, target: str, secret: str, now_s: float) -> str | None:
    """The nonce of a genuine and fresh signature."""
    asked = _INPUT.fullmatch(headers.get("signature-input", ""))
    given = _SIGNATURE.fullmatch(headers.get("signature", ""))
    if asked is None or given is None or asked[1] != given[1]:
        return None
    names = re.findall(r'"([^"]*)"', asked[3])
    told = dict(re.findall(r';([a-z]+)=("[^"]*"|\d+)', asked[4]))
    created, expires = (int(told[name]) if told.get(name, "").isdigit() else -1 for name in ("created", "expires"))
    fresh = abs(now_s - created) <= OLDEST_S and (expires < 0 or now_s <= expires)
    nonce = told.get("nonce", "").strip('"')
    keyid = told.get("keyid", "").strip('"')
    if not set(SIGNED) <= set(names) or not fresh or len(nonce) < _NONCE_LENGTH or keyid != headers.get("x-api-key"):
        return None
    values = {"@request-target": target, "@authority": headers.get("host", "").lower()}
    lines = [f'"{name}": {values.get(name, headers.get(name, ""))}' for name in names]
    lines.append(f'"@signature-params": {asked[2]}')
    try:
        key, signature = base64.b64decode(secret, validate=True), base64.b64decode(given[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    expected = hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()
    return nonce if hmac.compare_digest(expected, signature) else None
