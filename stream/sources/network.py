"""A network stream (RTSP, HTTP, HTTPS, Icecast, HLS, UDP, RTP), decoded by FFmpeg in a process of its own.

What can hang, crash or be attacked is in that process (`network_recorder`), which is killed and started again. The
source is live: windows that wait too long give way to newer ones, a lost connection is `stalled` and then `resumed`,
and the gap has the length of the loss. A recording on a web server is played in real time and ends.

Credentials in the address stay out of messages and events.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from stream.clock import steady_s
from stream.errors import SourceNotFound
from stream.settings import SourceSettings
from stream.settings.base import masked_address
from stream.sources.capture import CaptureSource, Opener, WatchdogLimits
from stream.sources.capture_process import CaptureProcess
from stream.sources.recorder import CaptureRequest
from stream.types import AudioFormat

PROTOCOLS = {
    "http": "http,https,tcp,tls,crypto",
    "https": "https,tls,tcp,crypto",
    "rtsp": "rtsp,rtp,srtp,udp,tcp",
    "rtsps": "rtsps,rtsp,rtp,srtp,tls,udp,tcp",
    "udp": "udp",
    "rtp": "rtp,srtp,udp",
}
"""Schemes that may be opened, and FFmpeg's protocols that each may use: no local file, whatever a server answers."""

MAX_RETRY_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class NetworkRequest(CaptureRequest):
    """Which address to play, and how long to wait for it."""

    program: ClassVar[str] = "stream.sources.network_recorder"
    open_timeout_message: ClassVar[str] = "no answer from the network stream; check the address and the server"

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 10.0

    @property
    def open_timeout_s(self) -> float:
        """How long the process may take to open the stream: FFmpeg may hang in spite of its own time-outs."""
        return 2 * self.connect_timeout_s + self.read_timeout_s

    def to_json(self) -> str:
        """Encode for the process."""
        return json.dumps(asdict(self))


class NetworkSource(CaptureSource):
    """One address; `settings.target` is its URL. Raises `SourceNotFound` for a scheme that is not in `PROTOCOLS`."""

    what: ClassVar[str] = "network stream"

    def __init__(
        self,
        *,
        settings: SourceSettings,
        open_process: Opener = CaptureProcess.open,
        clock: Callable[[], float] = steady_s,
        limits: WatchdogLimits | None = None,
    ) -> None:
        parts = urlsplit(settings.target)
        if parts.scheme.lower() not in PROTOCOLS or not (parts.hostname or parts.scheme in ("udp", "rtp")):
            schemes = ", ".join(f"{name}://" for name in PROTOCOLS)
            raise SourceNotFound(
                f"cannot play {masked_address(settings.target)!r}; use {schemes}, or pipe it: "
                "`ffmpeg -i ADDRESS -f s16le -ar 16000 -ac 1 - | tonewatch run - --live`"
            )
        super().__init__(
            source_id=settings.id or parts.hostname or "network",
            channels=settings.channels,
            open_process=open_process,
            clock=clock,
            limits=limits
            or WatchdogLimits(
                no_data_timeout_s=settings.read_timeout_s,
                first_data_timeout_s=settings.connect_timeout_s + settings.read_timeout_s,
                zeros_timeout_s=float("inf"),  # a muted sender
                max_retry_pause_s=MAX_RETRY_PAUSE_S,
            ),
        )
        self._settings = settings

    def _request(self, audio_format: AudioFormat | None) -> NetworkRequest:
        settings = self._settings
        return NetworkRequest(
            settings.target,
            self.channels,
            audio_format,
            connect_timeout_s=settings.connect_timeout_s,
            read_timeout_s=settings.read_timeout_s,
        )


def is_address(text: str) -> bool:
    """Return whether a source on the command line is an address rather than a file."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.isalnum()
