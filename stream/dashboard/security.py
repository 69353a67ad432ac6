"""Who may see the page (pure decisions on headers).

* On loopback everybody on the machine may; the `Host` header must be a name of loopback, so that a strange site whose
  name was made to point here (DNS rebinding) gets nothing.
* Elsewhere a token is needed: once in the address or the form, from then on in a cookie that scripts cannot read and
  other sites cannot send. The cookie holds a digest of the token and outlives a restart.
* A browser's WebSocket names the site it comes from (`Origin`): it must be ours, or one that was allowed.
* Nothing but our own files is loaded, run, framed or sent to (`Content-Security-Policy`).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Collection, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from stream.errors import SettingsError

COOKIE = "tonewatch"
SHORTEST_TOKEN = 16
HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cache-control": "no-cache",
}
"""Sent with every answer."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address we listen on."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Doorman:
    """Lets in or not. `origins` are further sites (`https://wall.example`) whose pages may connect."""

    def __init__(self, *, host: str, token: str = "", origins: Collection[str] = ()) -> None:
        self._local = is_loopback(host)
        if not self._local and not token:
            raise SettingsError(
                f"dashboard.token must be set before others can see the page at {host}; put {SHORTEST_TOKEN} "
                "characters or more into the environment variable TONEWATCH__DASHBOARD__TOKEN, or listen on 127.0.0.1"
            )
        if token and len(token) < SHORTEST_TOKEN:
            raise SettingsError(f"dashboard.token is too short to be safe; it needs {SHORTEST_TOKEN} characters")
        self._digest = hmac.new(token.encode(), b"tonewatch dashboard", hashlib.sha256).hexdigest() if token else ""
        self._token = token
        self._origins = {origin.rstrip("/").lower() for origin in origins}

    def knows_host(self, headers: Mapping[str, str]) -> bool:
        """Whether the page was asked for under a name of ours."""
        name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        return bool(self._token) or not self._local or is_loopback(name)

    def is_token(self, text: str) -> bool:
        """Whether somebody knows the token."""
        return bool(self._token) and hmac.compare_digest(text.encode(), self._token.encode())

    @property
    def pass_value(self) -> str:
        """What the cookie holds for those who have shown the token."""
        return self._digest

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether a request shows the cookie or the token, where one is needed."""
        if not self._token:
            return True
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(bearer.strip()):
            return True
        try:
            shown = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return shown is not None and hmac.compare_digest(shown.value.encode(), self._digest.encode())

    def is_ours(self, headers: Mapping[str, str]) -> bool:
        """Whether a WebSocket comes from our own page, from an allowed site, or from no browser at all."""
        origin = headers.get("origin")
        if origin is None:
            return True
        parts = urlsplit(origin)
        ours = bool(parts.netloc) and parts.netloc.lower() == headers.get("host", "").lower()
        return ours or origin.rstrip("/").lower() in self._origins
