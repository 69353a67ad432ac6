"""What this machine has and what tonewatch makes of it: where to look first when something is slow or absent."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING

from stream import __version__
from stream.errors import TonewatchError
from stream.settings import Settings

if TYPE_CHECKING:
    from stream.models.capability import Capability

PACKAGES = ("torch", "transformers", "numpy", "soundfile", "soxr", "sounddevice", "aiomqtt", "pydantic")


def examine(settings: Settings) -> dict[str, str]:
    """Findings in words, by what was looked at. Never raises: what is broken is told."""
    return {
        "tonewatch": f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        **_computing(settings),
        "microphones": _microphones(),
    }


def _computing(settings: Settings) -> dict[str, str]:
    # torch takes a second, and other commands do without
    from stream.models.capability import capability, choose_dtype  # noqa: PLC0415
    from stream.models.devices import graphics, keep_memory, resolve_device, resolve_dtype  # noqa: PLC0415

    machine = capability()
    devices = [name for name in ("cuda", "mps", "cpu") if _has(name)]
    best = resolve_device("auto")
    dtype = str(resolve_dtype(choose_dtype("auto", best), best)).removeprefix("torch.")
    wanted = (
        settings.models.emotion,
        settings.models.speaker,
        settings.models.identity,
        settings.models.overlap,
    )
    models = max(1, sum(bool(model.name) for model in wanted))
    cores = os.cpu_count() or 1
    each = settings.pool.threads or max(1, cores // (models * settings.pool.workers))
    return {
        "devices": ", ".join(devices) + graphics() + f"; auto takes {best.type}",
        "processor": f"{machine.processor}; a layer on one thread, GFLOP/s: "
        f"float32 {machine.float32_gflops:g}, packed {machine.float32_packed_gflops:g}; "
        f"bfloat16 {machine.bfloat16_gflops:g}, packed {machine.bfloat16_packed_gflops:g}",
        "type": f"pretrained models in {dtype} on {best.type}; the compact pair in float32 on the processor; "
        f"weights packed for oneDNN in {_packed(machine)}",
        "threads": f"{cores} cores; {models} models x {settings.pool.workers} worker(s) x {each} thread(s)",
        "memory": "kept between batches" if keep_memory() else "given back to the system between batches",
    }


def _packed(machine: Capability) -> str:
    """The types in which this machine's processor gains by packed weights."""
    types = [name for name, pays in machine.packing.items() if pays]
    return " and ".join(types) or "neither type"


def _has(name: str) -> bool:
    from stream.models.devices import resolve_device  # noqa: PLC0415

    try:
        resolve_device(name)
    except TonewatchError:
        return False
    return True


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _microphones() -> str:
    from stream.sources.devices import inputs, portaudio  # noqa: PLC0415

    try:
        found = inputs(portaudio())
    except TonewatchError as error:
        return str(error)
    except OSError as error:  # a sound system that answers with an error of its own
        return f"PortAudio fails ({error})"
    if not found:
        return "PortAudio is there, no microphone is"
    return ", ".join(f"{'*' if device.default else ''}{device.name}" for device in found)
