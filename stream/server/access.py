"""Who may come in over the web (pure decisions on headers, whose names are lower-case throughout).

* On loopback everybody on the machine may. Elsewhere a token is needed, of `SHORTEST_TOKEN` characters: programs show
  it with every request, a browser once. From then on it has a cookie that scripts cannot read and other sites cannot
  send; it holds a digest of the token and outlives a restart.
* A browser says which site a WebSocket is opened by (`Origin`): it must be ours, or one that was allowed. A strange
  site whose name was made to point to our loopback address (DNS rebinding) is not ours, whatever it is called.

All comparisons of secrets take the same time whatever they compare.
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


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address we listen on."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_same(given: str, wanted: str) -> bool:
    """Whether two secrets are equal; an empty one is no secret."""
    return bool(wanted) and hmac.compare_digest(given.encode(), wanted.encode())


class AccessPolicy:
    """Lets in or not.

    `branch` is where host and token are set (`serve`, `dashboard`), for complaints; `origins` are further sites
    (`https://wall.example`) whose pages may connect. Raises `SettingsError` where it would not be safe.
    """

    def __init__(self, *, host: str, token: str = "", origins: Collection[str] = (), branch: str = "dashboard") -> None:
        self._local = is_loopback(host)
        if not self._local and not token:
            raise SettingsError(
                f"{branch}.token must be set before others can reach {host}; put {SHORTEST_TOKEN} characters or more "
                f"into the environment variable TONEWATCH__{branch.upper()}__TOKEN, or listen on 127.0.0.1"
            )
        if not self._local and len(token) < SHORTEST_TOKEN:
            raise SettingsError(f"{branch}.token is too short to be safe; it needs {SHORTEST_TOKEN} characters")
        self._token = token
        self.pass_value = hmac.new(token.encode(), b"tonewatch", hashlib.sha256).hexdigest() if token else ""
        self._origins = {origin.rstrip("/").lower() for origin in origins}

    def knows_host(self, headers: Mapping[str, str]) -> bool:
        """Whether we were asked for under a name of ours."""
        name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        return bool(self._token) or not self._local or is_loopback(name)

    def is_token(self, text: str) -> bool:
        """Whether somebody knows the token."""
        return is_same(text, self._token)

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether a request shows the token or the cookie, where one is needed."""
        if not self._token:
            return True
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(bearer.strip()):
            return True
        try:
            shown = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return shown is not None and is_same(shown.value, self.pass_value)

    def is_ours(self, headers: Mapping[str, str]) -> bool:
        """Whether a WebSocket comes from our own page, from an allowed site, or from no browser at all."""
        origin = headers.get("origin")
        if origin is None or origin.rstrip("/").lower() in self._origins:
            return True
        netloc = urlsplit(origin).netloc.lower()
        return bool(netloc) and netloc == headers.get("host", "").lower() and self.knows_host(headers)
