"""Access control of the web server (pure decisions on request headers, whose names are lower-case throughout).

* On a loopback address without a token every local user has access, and no remote one: a request that names another
  host, or that a proxy has forwarded, is refused. On any other address clients need a token of at least
  `MIN_TOKEN_CHARACTERS`: programs send it with every request, a browser once. The browser then gets a cookie that
  scripts cannot read and other sites cannot send; it contains a digest of the token and stays valid after a restart.
* A dashboard can have tokens of less powerful roles beside it; each has its own cookie (`stream.server.roles`).
* A browser names the site that opens a WebSocket (`Origin`): it must be the server's own, or an allowed one. A foreign
  site whose name resolves to the loopback address (DNS rebinding) is rejected whatever its name.

Secrets are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from stream.errors import SettingsError
from stream.server.roles import Role
from stream.settings.base import MIN_TOKEN_CHARACTERS

COOKIE = "tonewatch"
"""Name of the session cookie."""

FORWARDING_HEADERS = frozenset(
    ("forwarded", "via", "x-real-ip", *(f"x-forwarded-{what}" for what in ("for", "host", "port", "proto", "server")))
)
"""Headers that proxies add to the requests that they pass on."""

MAX_COOKIE_CHARACTERS = 4_096
"""A longer `Cookie` header is not read beyond this."""


def is_loopback(host: str) -> bool:
    """Whether a listening address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_local(headers: Mapping[str, str]) -> bool:
    """Whether a request to a loopback address comes from this machine, as far as its headers show."""
    names_this_machine = "host" not in headers or is_loopback(hostname(headers["host"]))
    return names_this_machine and not any(name in headers for name in FORWARDING_HEADERS)


def is_same_secret(given: str, expected: str) -> bool:
    """Whether two secrets are equal, whatever text is given; an empty `expected` matches nothing."""
    return bool(expected) and hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode())


def session_cookie(header: str) -> str:
    """Return the session cookie's value in a `Cookie` header, empty if it has none.

    `http.cookies` takes time that grows with the square of the header's length (CVE-2024-7592), before anybody has
    proved who they are.
    """
    for pair in header[:MAX_COOKIE_CHARACTERS].split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def hostname(netloc: str) -> str:
    """Return the host name in `HOST:PORT`, empty if it is malformed (`[::1`)."""
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


class AccessPolicy:
    """Decides which requests a server on `host` accepts.

    `branch` is the settings branch of host and token (`serve`, `dashboard`), for error messages; `origins` are further
    sites (`https://wall.example`) whose pages may connect; `role_tokens` are those of the roles below admin, which is
    the role of `token`. Raises `SettingsError` for a non-loopback host without a sufficient token, and for role tokens
    that decide nothing.
    """

    def __init__(
        self,
        *,
        host: str,
        token: str = "",
        role_tokens: Mapping[Role, str] | None = None,
        origins: Collection[str] = (),
        branch: str = "dashboard",
    ) -> None:
        if not is_loopback(host) and not token:
            raise SettingsError(
                f"{branch}.token must be set before others can reach {host}; put at least {MIN_TOKEN_CHARACTERS} "
                f"characters into the environment variable {_token_variable(branch)}, or listen on 127.0.0.1"
            )
        if not is_loopback(host) and len(token) < MIN_TOKEN_CHARACTERS:
            raise SettingsError(f"{branch}.token is too short; use at least {MIN_TOKEN_CHARACTERS} characters")
        self._token, self.branch = token, branch
        self._tokens: dict[Role, str] = {role: text for role, text in (role_tokens or {}).items() if text}
        for role in self._tokens:
            if not token:
                raise SettingsError(
                    f"{branch}.{role}_token needs {branch}.token: without it everybody on this machine is an admin"
                )
        if token:
            self._tokens["admin"] = token
        if len(set(self._tokens.values())) < len(self._tokens):
            raise SettingsError(f"two roles have the same token; give each its own in {branch}.*_token")
        self._origins = {origin.rstrip("/").lower() for origin in origins}

    @property
    def has_token(self) -> bool:
        """Whether a token is set."""
        return bool(self._token)

    def is_allowed_host(self, headers: Mapping[str, str]) -> bool:
        """Whether a request is answered at all: without a token only a local one is."""
        return bool(self._token) or is_local(headers)

    @property
    def why_not_local(self) -> str:
        """What to tell a client that is not local, where no token is set."""
        return (
            f"host name not allowed, or forwarded by a proxy; use 127.0.0.1 or localhost, or set {self.token_variable}"
        )

    @property
    def token_variable(self) -> str:
        """The environment variable that sets the token."""
        return _token_variable(self.branch)

    def is_token(self, text: str) -> bool:
        """Whether `text` is the token."""
        return is_same_secret(text, self._token)

    def role_of_token(self, text: str) -> Role | None:
        """Return the role whose token `text` is."""
        matching = [role for role, token in self._tokens.items() if is_same_secret(text, token)]
        return matching[0] if matching else None

    def cookie_value(self, role: Role) -> str:
        """Return the session cookie of a role: a digest of its token, empty without one."""
        token = self._tokens.get(role, "")
        return hmac.new(token.encode(), b"tonewatch", hashlib.sha256).hexdigest() if token else ""

    def role_of(self, headers: Mapping[str, str]) -> Role | None:
        """Return the role of a request by its token or cookie; a local one is an admin's where none is required."""
        if not self._token:
            return "admin" if is_local(headers) else None
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and (role := self.role_of_token(bearer.strip())) is not None:
            return role
        cookie = session_cookie(headers.get("cookie", ""))
        matching = [role for role in self._tokens if is_same_secret(cookie, self.cookie_value(role))]
        return matching[0] if matching else None

    def is_authorized(self, headers: Mapping[str, str]) -> bool:
        """Whether a request has the token or a cookie, or is local and none is required."""
        return self.role_of(headers) is not None

    def is_allowed_origin(self, headers: Mapping[str, str]) -> bool:
        """Whether a WebSocket is opened by the server's own page, by an allowed site, or not by a browser."""
        origin = headers.get("origin")
        if origin is None or origin.rstrip("/").lower() in self._origins:
            return True
        _, _, netloc = origin.lower().partition("://")
        return bool(netloc) and netloc == headers.get("host", "").lower() and self.is_allowed_host(headers)


def _token_variable(branch: str) -> str:
    return f"TONEWATCH__{branch.upper()}__TOKEN"
