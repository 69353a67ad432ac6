"""Where audio can be sent to a listener, in words for people."""

from __future__ import annotations

from dataclasses import dataclass

from stream.server.telephone_systems import TELEPHONE_SYSTEMS


@dataclass(frozen=True, slots=True)
class Door:
    """A WebSocket's path at the listener's address, or a TCP port."""

    name: str
    path: str = ""
    port: int = 0


WEBSOCKET_DOORS = (
    Door("Browsers, your own client", path="/v1/stream"),
    Door("Twilio, Telnyx", path="/v1/twilio"),
    Door("Genesys AudioHook", path="/v1/audiohook"),
    *(Door(system.title, path=f"/v1/{name}") for name, system in TELEPHONE_SYSTEMS.items()),
)
"""The listener's WebSocket endpoints."""
