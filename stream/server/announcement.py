"""Announcing the Wyoming port on the local network (mDNS), where Home Assistant finds it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from stream.errors import SettingsError
from stream.server.access import is_loopback

SERVICE_TYPE = "_wyoming._tcp.local."

MULTICAST_ADDRESS = ("224.0.0.251", 1)
"""The route to it shows the address under which the local network reaches this machine; no packet is sent."""


@asynccontextmanager
async def announced(*, host: str, port: int, name: str, interfaces: Sequence[str] = ()) -> AsyncIterator[None]:
    """Announce a port of this machine while entered. Raises `SettingsError`.

    `interfaces` are the addresses to announce on; none: all.
    """
    try:
        from zeroconf import InterfaceChoice, IPVersion  # noqa: PLC0415 - an extra
        from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            "serve.wyoming_announce needs zeroconf, which is not installed; run pip install 'tonewatch[wyoming]'"
        ) from None
    if is_loopback(host) and not interfaces:
        raise SettingsError("serve.wyoming_announce needs a serve.host that others can reach; set it to 0.0.0.0")
    address = host if host not in ("0.0.0.0", "::", "") else _own_address()  # noqa: S104 - only compared
    service = AsyncServiceInfo(
        SERVICE_TYPE, f"{name}.{SERVICE_TYPE}", port=port, parsed_addresses=[address], server=f"{name}-{port}.local."
    )
    try:
        multicast = AsyncZeroconf(interfaces=list(interfaces) or InterfaceChoice.All, ip_version=IPVersion.V4Only)
    except OSError as failure:
        raise SettingsError(
            f"cannot announce on the local network ({failure.strerror or failure}); set serve.wyoming_announce to false"
        ) from None
    try:
        await multicast.async_register_service(service, allow_name_change=True)
        yield
    finally:
        await multicast.async_unregister_all_services()
        await multicast.async_close()


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(MULTICAST_ADDRESS)
        except OSError as failure:
            raise SettingsError(
                f"cannot find this machine's address on the local network ({failure.strerror or failure}); "
                "set serve.host to it"
            ) from None
        return str(probe.getsockname()[0])
