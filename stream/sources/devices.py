"""Input devices as PortAudio lists them: finding one, opening it, closing it.

sounddevice is imported here and only when a microphone is wanted: on Linux its wheel brings no PortAudio, and importing
it fails where the library is missing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stream.errors import DeviceLost, PortAudioMissing, SourceNotFound
from stream.types import SAMPLE_RATE_HZ, AudioFormat

if TYPE_CHECKING:
    from stream.sources.recorder import CaptureStream

LATENCY_S = 0.1
"""Asked of PortAudio: it buffers this much, and calls back every 32 ms rather than hundreds of times a second."""


@dataclass(frozen=True, slots=True)
class InputDevice:
    """One microphone."""

    index: int
    name: str
    channels: int
    rate_hz: int
    default: bool


def portaudio() -> Any:
    """The sounddevice module. Raises `PortAudioMissing`."""
    try:
        import sounddevice  # noqa: PLC0415
    except OSError:
        raise PortAudioMissing(
            "the PortAudio library is missing; install it (Debian, Ubuntu: `apt install libportaudio2`)"
        ) from None
    return sounddevice


def inputs(backend: Any) -> tuple[InputDevice, ...]:
    """All devices that can record."""
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


def find(backend: Any, target: str) -> InputDevice:
    """The device of that index or name, or the default one. Raises `SourceNotFound` listing what there is."""
    there = inputs(backend)
    if not there:
        raise SourceNotFound("there is no microphone; plug one in, or check that the sound server runs")
    if not target:
        return next((device for device in there if device.default), there[0])
    exact = [device for device in there if target in (str(device.index), device.name)]
    alike = exact or [device for device in there if target.lower() in device.name.lower()]
    if len(alike) == 1:
        return alike[0]
    listed = "; ".join(f"{device.index} {device.name}" for device in alike or there)
    if alike:
        raise SourceNotFound(f"{target!r} fits several microphones ({listed}); name one by its number")
    raise SourceNotFound(f"there is no microphone {target!r}; there are: {listed}")


def rate_of(backend: Any, device: InputDevice) -> int:
    """16 kHz if the device takes it, else its own rate: raw devices often refuse to convert."""
    try:
        backend.check_input_settings(device=device.index, channels=1, dtype="float32", samplerate=SAMPLE_RATE_HZ)
    except (backend.PortAudioError, ValueError):
        return device.rate_hz
    return SAMPLE_RATE_HZ


def open_stream(
    backend: Any, device: InputDevice, format_: AudioFormat, recording: CaptureStream, *, frames: int
) -> Any:
    """Open and start recording into `recording`. Raises `SourceNotFound` or `DeviceLost`."""
    if format_.channels > device.channels:
        raise SourceNotFound(f"{device.name} has {device.channels} channel(s), not {format_.channels}")
    try:
        stream = backend.RawInputStream(
            device=device.index,
            channels=format_.channels,
            samplerate=format_.rate_hz,
            dtype="float32",
            blocksize=frames,
            latency=LATENCY_S,
            callback=recording.hear,
            finished_callback=recording.finish,
        )
        stream.start()
    except backend.PortAudioError as error:
        raise DeviceLost(f"{device.name} cannot be opened ({error}); check that no other program holds it") from None
    return stream


def close_stream(stream: Any) -> None:
    """Close what `open_stream` opened, in whatever state it is by now."""
    for end in (stream.abort, stream.close):
        with suppress(Exception):  # PortAudio refuses to close what is broken already, in many ways
            end(ignore_errors=True)
