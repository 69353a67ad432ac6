"""A network stream (RTSP, HTTP, HTTPS, Icecast, HLS, UDP, RTP), decoded by FFmpeg in a process of its own.

What can hang, crash or be attacked is in that process (`network_recorder`), which is killed and started again. The
source is live: windows that wait too long give way to newer ones, a lost connection is `stalled` and then `resumed`,
and the gap has the length of the loss. A recording on a web server is played in real time and ends.

Credentials in the address stay out of messages and events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar
from urllib.parse import urlsplit

from stream.clock import steady_s
from stream.errors import SourceNotFound
from stream.settings import SourceSettings
from stream.settings.base import masked_address
from stream.sources.capture import CaptureSource, Opener, WatchdogLimits
from stream.sources.capture_process import CaptureProcess
from stream.sources.network_request import PROTOCOLS, NetworkRequest
from stream.types import AudioFormat

MAX_RETRY_PAUSE_S = 30.0


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
            shown=masked_address(settings.target),
        )


def is_address(text: str) -> bool:
    """Return whether a source on the command line is an address rather than a file."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.isalnum()
