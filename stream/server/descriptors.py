"""The process's limit of open files."""

from __future__ import annotations

import resource

from stream.server.sockets import RESERVED_DESCRIPTORS

MAX_DESCRIPTORS = 65_536
"""More are never asked for."""

MIN_SOCKETS = 16


MAX_BACKLOG = 512
"""Connections that may wait to be accepted, and that asyncio accepts at once before any of them is counted."""


def accept_backlog(max_sockets: int) -> int:
    """Return how many connections may wait, so that accepting them at once does not use up the reserved descriptors."""
    return min(MAX_BACKLOG, max(8, max_sockets // 8))


def socket_limit() -> int:
    """Raise the soft limit of open files as far as allowed, and return how many sockets may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    limit = MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else min(soft, MAX_DESCRIPTORS)
    return max(MIN_SOCKETS, limit - RESERVED_DESCRIPTORS)
