"""What the process that plays a network stream is asked for, and which protocols it may use.

It is apart from `network` so that the process imports neither settings nor events: these are half of its start, and
18 MB of each stream.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import ClassVar

from stream.sources.recorder import CaptureRequest

PROTOCOLS = {
    "http": "http,https,tcp,tls,crypto",
    "https": "https,tls,tcp,crypto",
    "rtsp": "rtsp,rtp,srtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,srtp,tls,udp,tcp",
    "udp": "udp",
    "rtp": "rtp,srtp,udp",
}
"""Schemes that may be opened, and FFmpeg's protocols that each may use: no local file, whatever a server answers."""


@dataclass(frozen=True, slots=True)
class NetworkRequest(CaptureRequest):
    """Which address to play, how to name it in messages, and how long to wait for it."""

    program: ClassVar[str] = "stream.sources.network_recorder"
    open_timeout_message: ClassVar[str] = "no answer from the network stream; check the address and the server"

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 10.0
    shown: str = "the network stream"  # in messages: the address without its password

    @property
    def open_timeout_s(self) -> float:
        """How long the process may take to open the stream: FFmpeg may hang in spite of its own time-outs."""
        return 2 * self.connect_timeout_s + self.read_timeout_s

    def to_json(self) -> str:
        """Encode for the process."""
        return json.dumps(asdict(self))
