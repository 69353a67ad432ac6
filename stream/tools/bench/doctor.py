"""Diagnosis of this machine: versions, devices, data types, threads and microphones."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING

from stream import __version__
from stream.errors import TonewatchError
from stream.settings import ModelSettings, Settings

if TYPE_CHECKING:
    from stream.models.capability import Capability

PACKAGES = ("torch", "transformers", "numpy", "soundfile", "soxr", "sounddevice", "aiomqtt", "pydantic")


def examine(settings: Settings) -> dict[str, str]:
    """Return a finding per item. Never raises: faults are part of the findings."""
    return {
        "tonewatch": f"{__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        **_computing(settings),
        "microphones": _microphones(),
        "live sources": _live_sources(settings),
    }


def _live_sources(settings: Settings) -> str:
    """Return how many live sources this machine carries with the models of the settings; downloads nothing."""
    from stream.app.assembly import capacity, load  # noqa: PLC0415 - torch
    from stream.models.zoo import find_entry, local_folder  # noqa: PLC0415

    for model in _configured(settings):
        entry = find_entry(model.name)
        if entry is not None and local_folder(entry) is None:
            return (
                f"not measured: {model.name} is not downloaded; `tonewatch models fetch {model.name}`, or "
                f"`tonewatch bench --random-weights --model {model.name}` for its speed"
            )
    try:
        found = capacity(load(settings), settings)
    except TonewatchError as error:
        return f"not measured: {error}"
    return (
        "not measured: models do not run on the processor; use `tonewatch bench --channels`"
        if found is None
        else found.sentence()
    )


def _configured(settings: Settings) -> list[ModelSettings]:
    chosen = (settings.models.emotion, settings.models.speaker, settings.models.identity, settings.models.overlap)
    return [model for model in chosen if model.name]


def _computing(settings: Settings) -> dict[str, str]:
    # importing torch takes a second
    from stream.models.capability import capability, choose_dtype  # noqa: PLC0415
    from stream.models.devices import gpu_name, resolve_device, resolve_dtype, retain_freed_memory  # noqa: PLC0415

    machine = capability()
    devices = [name for name in ("cuda", "mps", "cpu") if _is_available(name)]
    best = resolve_device("auto")
    dtype = str(resolve_dtype(choose_dtype("auto", best), best)).removeprefix("torch.")
    models = max(1, len(_configured(settings)))
    cores = os.cpu_count() or 1
    threads = settings.pool.threads or max(1, cores // (models * settings.pool.workers))
    return {
        "devices": ", ".join(devices) + gpu_name() + f"; auto is {best.type}",
        "processor": f"{machine.processor}; a layer on one thread, GFLOP/s: "
        f"float32 {machine.float32_gflops:g}, packed {machine.float32_packed_gflops:g}; "
        f"bfloat16 {machine.bfloat16_gflops:g}, packed {machine.bfloat16_packed_gflops:g}",
        "type": f"pretrained models in {dtype} on {best.type}; the bundled models in float32 on the processor; "
        f"weights packed for oneDNN in {_packed(machine)}",
        "threads": f"{cores} cores; {models} models x {settings.pool.workers} worker(s) x {threads} thread(s)",
        "memory": "freed memory is kept for the next batch"
        if retain_freed_memory()
        else "freed memory is returned to the system",
    }


def _packed(machine: Capability) -> str:
    """Return the data types in which packed weights are faster on this processor."""
    types = [name for name, is_faster in machine.packing.items() if is_faster]
    return " and ".join(types) or "neither type"


def _is_available(name: str) -> bool:
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
        return "not installed"


def _microphones() -> str:
    from stream.sources.portaudio import list_inputs, load_portaudio  # noqa: PLC0415

    try:
        found = list_inputs(load_portaudio())
    except TonewatchError as error:
        return str(error)
    except OSError as error:  # an error of the audio system itself
        return f"PortAudio failed ({error}); check the sound server"
    if not found:
        return "no microphone found (PortAudio is installed)"
    return ", ".join(f"{'*' if device.default else ''}{device.name}" for device in found)
