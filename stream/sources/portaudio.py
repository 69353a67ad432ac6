"""Input devices as listed by PortAudio: finding, opening and closing one.

sounddevice is imported here and only when a microphone is requested: on Linux its wheel contains no PortAudio, and the
import fails where the library is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from stream.errors import DeviceLost, PortAudioMissing, SourceNotFound
from stream.types import SAMPLE_RATE_HZ, AudioFormat

LATENCY_S = 0.1
"""Latency requested of PortAudio: callbacks come every 32 ms rather than hundreds of times a second."""

AudioCallback = Callable[[Any, int, Any, Any], None]
"""PortAudio's stream callback: data, frames, times, status."""


@dataclass(frozen=True, slots=True)
class InputDevice:
    """One microphone."""

    index: int
    name: str
    channels: int
    rate_hz: int
    default: bool


def load_portaudio() -> Any:
    """Import and return the sounddevice module. Raises `PortAudioMissing`."""
    try:
        import sounddevice  # noqa: PLC0415
    except OSError:
        raise PortAudioMissing(
            "the PortAudio library is missing; install it (Debian, Ubuntu: `apt install libportaudio2`)"
        ) from None
    return sounddevice


def list_inputs(backend: Any) -> tuple[InputDevice, ...]:
    """Return all devices that can record; `backend` is the sounddevice module."""
    try:
        default = backend.query_devices(kind="input")["index"]
    except (backend.PortAudioError, ValueError):
        default = -1
    return tuple(
        InputDevice(
            index=device["index"],
            name=device["name"],
            channels=device["max_input_channels"],
            rate_hz=round(device["default_samplerate"]),
            default=device["index"] == default,
        )
        for device in backend.query_devices()
        if device["max_input_channels"] > 0
    )


def find_input(backend: Any, target: str) -> InputDevice:
    """Return the device with the index or (part of) the name `target`, or the default device if it is empty.

    Raises `SourceNotFound`, which lists the available devices.
    """
    devices = list_inputs(backend)
    if not devices:
        raise SourceNotFound("no microphone found; connect one or check the sound server")
    if not target:
        return next((device for device in devices if device.default), devices[0])
    exact = [device for device in devices if target in (str(device.index), device.name)]
    matches = exact or [device for device in devices if target.lower() in device.name.lower()]
    if len(matches) == 1:
        return matches[0]
    names = "; ".join(f"{device.index} {device.name}" for device in matches or devices)
    if matches:
        raise SourceNotFound(f"{target!r} matches several microphones ({names}); select one by its number")
    raise SourceNotFound(f"unknown microphone {target!r}; available: {names}")


def supported_rate_hz(backend: Any, device: InputDevice) -> int:
    """Return 16 kHz if the device supports it, else its own rate: raw devices often do not resample."""
    try:
        backend.check_input_settings(device=device.index, channels=1, dtype="float32", samplerate=SAMPLE_RATE_HZ)
    except (backend.PortAudioError, ValueError):
        return device.rate_hz
    return SAMPLE_RATE_HZ


def open_stream(
    backend: Any,
    device: InputDevice,
    format_: AudioFormat,
    *,
    on_audio: AudioCallback,
    on_finished: Callable[[], None],
    frames: int,
) -> Any:
    """Open the device and start recording.

    PortAudio's thread calls `on_audio` for every `frames` frames and `on_finished` at the end of the stream. Raises
    `SourceNotFound` or `DeviceLost`.
    """
    if format_.channels > device.channels:
        raise SourceNotFound(f"{device.name!r} has {device.channels} channel(s), not {format_.channels}")
    try:
        stream = backend.RawInputStream(
            device=device.index,
            channels=format_.channels,
            samplerate=format_.rate_hz,
            dtype="float32",
            blocksize=frames,
            latency=LATENCY_S,
            callback=on_audio,
            finished_callback=on_finished,
        )
        stream.start()
    except backend.PortAudioError as error:
        raise DeviceLost(
            f"cannot open {device.name!r} ({error}); check that no other program uses it exclusively"
        ) from None
    return stream


def close_stream(stream: Any) -> None:
    """Close a stream of `open_stream`, whatever its state."""
    for end in (stream.abort, stream.close):
        with suppress(Exception):  # closing a broken stream fails in many ways
            end(ignore_errors=True)
