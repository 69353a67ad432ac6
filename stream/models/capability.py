"""Fastest data type and weight layout of this processor, measured once; `tonewatch doctor` shows them.

A processor may compute bfloat16 in hardware (AMX, AVX512-BF16) or emulate it, which is several times slower; and
torch's default matrix product is not the fastest on every processor (see `onednn`). CPU feature flags do not show the
speed, so one linear layer of the size these models have is timed in both types and both layouts. bfloat16 is chosen if
it is at least `MIN_BFLOAT16_GAIN` times as fast, packed weights if they are `MIN_PACKING_GAIN` times as fast. The
variants run interleaved on one thread and its CPU time is measured, which other programs hardly affect. The result is
cached in the user's cache folder under the processor's name and torch's version; if that folder is not writable, every
start measures again (a tenth of a second).
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from stream.errors import ModelError
from stream.models.onednn import linear, pack_weight

MIN_BFLOAT16_GAIN = 1.5
"""Speed-up that outweighs the lower precision and exceeds measurement noise."""

MIN_PACKING_GAIN = 1.02
"""Speed-up from which weights are packed; packing costs no precision, so any gain counts."""

ROWS, WIDTH, TRIES = 256, 1_024, 5


@dataclass(frozen=True, slots=True)
class Capability:
    """Measured speeds in GFLOP/s, 0 for a variant this machine lacks, and the choices that follow from them."""

    processor: str
    torch: str
    float32_gflops: float
    bfloat16_gflops: float
    float32_packed_gflops: float
    bfloat16_packed_gflops: float

    @property
    def choice(self) -> str:
        """Data type for `auto`: `bfloat16` or `float32`."""
        bfloat16 = max(self.bfloat16_gflops, self.bfloat16_packed_gflops)
        float32 = max(self.float32_gflops, self.float32_packed_gflops)
        return "bfloat16" if bfloat16 > MIN_BFLOAT16_GAIN * float32 else "float32"

    @property
    def packing(self) -> dict[str, bool]:
        """Whether packed weights are faster, by data type."""
        return {
            "float32": self.float32_packed_gflops > MIN_PACKING_GAIN * self.float32_gflops,
            "bfloat16": self.bfloat16_packed_gflops > MIN_PACKING_GAIN * self.bfloat16_gflops,
        }


def choose_dtype(name: str, device: torch.device) -> str:
    """Resolve `auto` on a processor to its fastest type, and int8 to the float32 around its products.

    Other names are returned unchanged. Raises `ModelError` for int8 on another device.
    """
    if name == "int8":
        if device.type != "cpu":
            raise ModelError(f"int8 is not supported on {device.type}; set dtype to auto, or device to cpu")
        return "float32"
    return capability().choice if name == "auto" and device.type == "cpu" else name


def should_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether packed weights are faster for models of that type on that device."""
    return device.type == "cpu" and capability().packing[str(dtype).removeprefix("torch.")]


def capability(*, remeasure: bool = False) -> Capability:
    """Return the processor's speeds: cached if possible, else measured and cached."""
    path = _cache_file()
    if not remeasure and (cached := _read_cache(path)) is not None:
        return cached
    measured = Capability(_processor(), torch.__version__, **measure())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(asdict(measured)), encoding="utf-8")
        temporary.replace(path)
    except OSError:  # no writable home: the next start measures again
        pass
    return measured


def _cache_file() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tonewatch" / "capability.json"


def _read_cache(path: Path) -> Capability | None:
    try:
        cached = Capability(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    valid = all(isinstance(value, float) for name, value in asdict(cached).items() if name.endswith("gflops"))
    return cached if valid and (cached.processor, cached.torch) == (_processor(), torch.__version__) else None


def _processor() -> str:
    """Return the processor's model name and vector extensions: the key of the cached measurement."""
    name = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            fields = dict(line.strip().split("\t: ", 1) for line in lines if "\t: " in line)
        name = fields.get("model name", name)
    except OSError:
        pass
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def measure() -> dict[str, float]:
    """Return the speeds of a `Capability` by field: a layer with bias and GELU on one thread, the best of `TRIES`."""
    variants = {
        "float32_gflops": (torch.float32, False),
        "bfloat16_gflops": (torch.bfloat16, False),
        "float32_packed_gflops": (torch.float32, True),
        "bfloat16_packed_gflops": (torch.bfloat16, True),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        durations = [[_layer_seconds(dtype, pack=pack) for dtype, pack in variants.values()] for _ in range(TRIES)]
    finally:
        torch.set_num_threads(threads)
    best_s = [min(times) for times in zip(*durations, strict=True)]
    return {name: round(2 * ROWS * WIDTH * WIDTH / t / 1e9, 1) for name, t in zip(variants, best_s, strict=True)}


def _layer_seconds(dtype: torch.dtype, *, pack: bool) -> float:
    """Return the CPU seconds of one layer; infinity for a variant this machine lacks."""
    x, weight, bias = (torch.ones(size, dtype=dtype) for size in ((ROWS, WIDTH), (WIDTH, WIDTH), (WIDTH,)))
    with torch.inference_mode():
        try:
            weight = pack_weight(weight) if pack else weight
            began_s = time.thread_time()
            linear(x, weight, bias, "gelu")
            return max(time.thread_time() - began_s, 1e-6)
        except (AttributeError, RuntimeError):  # this torch or this processor has no packed layout
            return float("inf")
