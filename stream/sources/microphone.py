"""A microphone, by PortAudio, recorded by a process of its own (`recorder`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from stream.clock import steady_s
from stream.settings import SourceSettings
from stream.sources.capture import CaptureSource, Opener, WatchdogLimits
from stream.sources.capture_process import CaptureProcess
from stream.sources.recorder import CaptureRequest
from stream.types import AudioFormat


class MicrophoneSource(CaptureSource):
    """One input device; `settings.target` is its index, a part of its name, or empty for the default device.

    It is opened at 16 kHz if it supports that, else at its own rate.
    """

    what: ClassVar[str] = "device"

    def __init__(
        self,
        *,
        settings: SourceSettings,
        open_process: Opener = CaptureProcess.open,
        clock: Callable[[], float] = steady_s,
        limits: WatchdogLimits | None = None,
    ) -> None:
        super().__init__(
            source_id=settings.id or "microphone",
            channels=settings.channels,
            open_process=open_process,
            clock=clock,
            limits=limits or WatchdogLimits(),
        )
        self._target = settings.target

    def _request(self, audio_format: AudioFormat | None) -> CaptureRequest:
        return CaptureRequest(self._target, self.channels, audio_format)
