"""Requests with a missing or wrong credential: counted by address, and answered ever more slowly (pure).

The first `FREE_ATTEMPTS` of an address within a minute are answered at once: people mistype. A right credential is
never delayed, since behind a proxy all clients may have one address.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

FREE_ATTEMPTS = 10
FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 4.0
"""Below the time that a client has to prove who it is."""

FORGET_S = 60.0
MAX_ADDRESSES = 4_096

IPV6_PREFIX_LENGTH = 64
"""What one IPv6 customer has at least."""


@dataclass(slots=True)
class _Attempts:
    count: int
    newest_s: float


class FailedAttempts:
    """The failed attempts of recent addresses; of `MAX_ADDRESSES`, the ones longest ago are forgotten first."""

    def __init__(self) -> None:
        self._by_network: OrderedDict[str, _Attempts] = OrderedDict()

    def add(self, address: str, now_s: float) -> float:
        """Count a failed attempt at the monotonic time `now_s`; return how long its answer is to be delayed."""
        network = _network(address)
        found = self._by_network.pop(network, None)
        if found is None or now_s - found.newest_s > FORGET_S:
            found = _Attempts(0, now_s)
        found.count, found.newest_s = found.count + 1, now_s
        self._by_network[network] = found
        if len(self._by_network) > MAX_ADDRESSES:
            self._by_network.popitem(last=False)
        beyond = found.count - FREE_ATTEMPTS
        return 0.0 if beyond <= 0 else min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(beyond - 1, 8))


def _network(address: str) -> str:
    """Return the network that one client may have: its address, or of IPv6 the prefix."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(parsed) >> IPV6_PREFIX_LENGTH << IPV6_PREFIX_LENGTH, IPV6_PREFIX_LENGTH)))
    return str(parsed)
