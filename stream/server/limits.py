"""Limits of connections, and what a refusal may say."""

from __future__ import annotations

from stream.server.interfaces import ConnectionContext
from stream.server.protocols.base import RejectReason

MAX_CLOSE_REASON_BYTES = 123
"""A WebSocket close frame holds so much text (RFC 6455)."""


class LimitExceeded(Exception):
    """A connection exceeds a limit; it is closed."""

    def __init__(self, reason: RejectReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def check_streams(gateway: ConnectionContext, *, peer: str, count: int, joins: bool) -> None:
    """Raises `LimitExceeded` if `count` more tracks of an address exceed a limit; `joins`: of a call that is active."""
    if gateway.is_draining and not joins:
        raise LimitExceeded(RejectReason.STOPPING, "node is draining; call another one")
    settings = gateway.settings
    if gateway.total_streams() + count > settings.max_streams:
        raise LimitExceeded(RejectReason.BUSY, f"stream limit reached (serve.max_streams = {settings.max_streams})")
    if gateway.streams_of(peer) + count > settings.streams_per_peer:
        raise LimitExceeded(
            RejectReason.TOO_MANY,
            f"stream limit per address reached (serve.streams_per_peer = {settings.streams_per_peer})",
        )


def close_reason(text: str) -> str:
    """Return what of a text fits into a close frame."""
    return text.encode(errors="replace")[:MAX_CLOSE_REASON_BYTES].decode(errors="ignore")
