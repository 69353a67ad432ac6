"""Authentication of telephone systems (pure): address ranges, Twilio's and Genesys' request signatures.

Signatures are compared in constant time. Header names are lower-case throughout.
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

REQUIRED_COMPONENTS = (
    "@request-target",
    "@authority",
    "audiohook-organization-id",
    "audiohook-session-id",
    "audiohook-correlation-id",
    "x-api-key",
)
"""Components that the signature of an AudioHook request must cover."""

MAX_SIGNATURE_AGE_S = 30
"""Maximum difference between a signature's creation time and the clock, in either direction."""

MAX_REMEMBERED_NONCES = 100_000

_INPUT = re.compile(r'\s*([a-z][\w-]*)=(\(((?:"[^"]*"\s*)*)\)((?:;[a-z]+=(?:"[^"]*"|[0-9]{1,15}))*))\s*')
_SIGNATURE = re.compile(r"\s*([a-z][\w-]*)=:([A-Za-z0-9+/=]*):\s*")
_MIN_NONCE_CHARACTERS = 22


def is_within(host: str, networks: Iterable[str]) -> bool:
    """Whether an address is in one of the networks. Raises `ValueError` for an invalid network."""
    allowed = [ipaddress.ip_network(network) for network in networks]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in allowed)


def is_signed_by_twilio(signature: str, *, url: str, key: str) -> bool:
    """Whether `X-Twilio-Signature` is the HMAC-SHA1 of the URL, in any scheme, with or without a trailing slash."""
    plain = re.sub(r"^(wss?|https?)://", "", url).rstrip("/")
    given, is_valid = signature.encode(errors="surrogatepass"), False
    for scheme in ("wss", "https", "ws", "http"):
        for tail in ("", "/"):
            digest = hmac.new(key.encode(), f"{scheme}://{plain}{tail}".encode(), hashlib.sha1).digest()
            is_valid |= hmac.compare_digest(base64.b64encode(digest), given)
    return is_valid


class GenesysSignatures:
    """Verifies HTTP message signatures (HMAC-SHA256) of AudioHook requests, each of which is accepted once.

    The nonce of an accepted signature is remembered until the signature expires. While `MAX_REMEMBERED_NONCES` are
    remembered, every request is rejected: only a holder of the secret can reach that number, and no real system makes
    as many calls in `2 * MAX_SIGNATURE_AGE_S`.
    """

    def __init__(self, *, secret: str) -> None:
        self._secret = secret
        self._expiry_s: OrderedDict[str, float] = OrderedDict()  # by nonce, the oldest first

    def accept(self, headers: Mapping[str, str], *, target: str, now_s: float) -> bool:
        """Verify a request and remember its nonce; `target` is the path with the query.

        Returns False for an invalid, expired or repeated signature.
        """
        nonce = _signed_nonce(headers, target=target, secret=self._secret, now_s=now_s)
        while self._expiry_s and next(iter(self._expiry_s.values())) < now_s:
            self._expiry_s.popitem(last=False)
        if nonce is None or nonce in self._expiry_s or len(self._expiry_s) >= MAX_REMEMBERED_NONCES:
            return False
        # a signature created by a clock that is ahead stays valid for up to twice the maximum age
        self._expiry_s[nonce] = now_s + 2 * MAX_SIGNATURE_AGE_S
        return True


def _signed_nonce(headers: Mapping[str, str], *, target: str, secret: str, now_s: float) -> str | None:
    """Return the nonce of a valid and current signature, else None."""
    declared = _INPUT.fullmatch(headers.get("signature-input", ""))
    signed = _SIGNATURE.fullmatch(headers.get("signature", ""))
    if declared is None or signed is None or declared[1] != signed[1]:
        return None
    names = re.findall(r'"([^"]*)"', declared[3])
    parameters = dict(re.findall(r';([a-z]+)=("[^"]*"|[0-9]+)', declared[4]))
    created, expires = (
        int(parameters[name]) if parameters.get(name, "").isdigit() else -1 for name in ("created", "expires")
    )
    is_current = abs(now_s - created) <= MAX_SIGNATURE_AGE_S and (expires < 0 or now_s <= expires)
    nonce = parameters.get("nonce", "").strip('"')
    keyid = parameters.get("keyid", "").strip('"')
    is_complete = set(REQUIRED_COMPONENTS) <= set(names) and len(nonce) >= _MIN_NONCE_CHARACTERS
    if not is_complete or not is_current or keyid != headers.get("x-api-key"):
        return None
    values = {"@request-target": target, "@authority": headers.get("host", "").lower()}
    lines = [f'"{name}": {values.get(name, headers.get(name, ""))}' for name in names]
    lines.append(f'"@signature-params": {declared[2]}')
    try:
        key, signature = base64.b64decode(secret, validate=True), base64.b64decode(signed[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    expected = hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).digest()
    return nonce if hmac.compare_digest(expected, signature) else None
