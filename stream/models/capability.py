"""Which type this machine computes in best, and by whose products: measured once, and shown by `tonewatch doctor`.

A processor may have units for bfloat16 (AMX, AVX512-BF16) or only pretend to, and then be several times slower; and
torch's own choice of products is not the best on every processor (see `products`). Names of features do not tell how
fast they are, so one linear layer of the size these models have is timed in both types and both ways. bfloat16 is taken
if it gains at least `GAIN`, packed weights if they gain `PACKED_GAIN`. The ways are tried by turns on one thread, whose
processor time is taken: other programs hardly change that. The answer is kept in the user's cache folder under the
processor's name and torch's version; where that cannot be written every start measures anew (a tenth of a second).
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
from stream.models.onednn import linear, packed

GAIN = 1.5
"""A difference this size pays for the lower precision, and is not noise."""

PACKED_GAIN = 1.02
"""Packed weights cost nothing, so that any gain pays."""

ROWS, WIDTH, TRIES = 256, 1_024, 5


@dataclass(frozen=True, slots=True)
class Capability:
    """Billions of multiplications and additions a second, and what follows from them; 0 where there is no such way."""

    processor: str
    torch: str
    float32_gflops: float
    bfloat16_gflops: float
    float32_packed_gflops: float
    bfloat16_packed_gflops: float

    @property
    def choice(self) -> str:
        """`bfloat16` or `float32`."""
        narrow = max(self.bfloat16_gflops, self.bfloat16_packed_gflops)
        wide = max(self.float32_gflops, self.float32_packed_gflops)
        return "bfloat16" if narrow > GAIN * wide else "float32"

    @property
    def packing(self) -> dict[str, bool]:
        """Whether packed weights pay, by type."""
        return {
            "float32": self.float32_packed_gflops > PACKED_GAIN * self.float32_gflops,
            "bfloat16": self.bfloat16_packed_gflops > PACKED_GAIN * self.bfloat16_gflops,
        }


def choose_dtype(wanted: str, device: torch.device) -> str:
    """`auto` on a processor becomes what it is best in, int8 the float32 around its products; the rest stays as it is.

    Raises `ModelError` for int8 on another device.
    """
    if wanted == "int8":
        if device.type != "cpu":
            raise ModelError(f"int8 is for the processor only, not for {device.type}; set dtype to auto")
        return "float32"
    return capability().choice if wanted == "auto" and device.type == "cpu" else wanted


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a model there, in that type, should pack its weights."""
    return device.type == "cpu" and capability().packing[str(dtype).removeprefix("torch.")]


def capability(*, fresh: bool = False) -> Capability:
    """What the processor can do: remembered if it can be, else measured."""
    path = _file()
    if not fresh and (known := _remembered(path)) is not None:
        return known
    found = Capability(_processor(), torch.__version__, **measure())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_text(json.dumps(asdict(found)), encoding="utf-8")
        part.replace(path)
    except OSError:  # a machine without a home to write to measures again
        pass
    return found


def _file() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tonewatch" / "capability.json"


def _remembered(path: Path) -> Capability | None:
    try:
        known = Capability(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    numbers = all(isinstance(value, float) for name, value in asdict(known).items() if name.endswith("gflops"))
    return known if numbers and (known.processor, known.torch) == (_processor(), torch.__version__) else None


def _processor() -> str:
    """The processor's name and its features; another machine measures anew."""
    name = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            fields = dict(line.strip().split("\t: ", 1) for line in lines if "\t: " in line)
        name = fields.get("model name", name)
    except OSError:
        pass
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def measure() -> dict[str, float]:
    """The speeds of a `Capability` by field: a layer with its bias and GELU, on one thread, the best of some tries."""
    ways = {
        "float32_gflops": (torch.float32, False),
        "bfloat16_gflops": (torch.bfloat16, False),
        "float32_packed_gflops": (torch.float32, True),
        "bfloat16_packed_gflops": (torch.bfloat16, True),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        taken = [[_seconds(dtype, pack=pack) for dtype, pack in ways.values()] for _ in range(TRIES)]
    finally:
        torch.set_num_threads(threads)
    best_s = [min(times) for times in zip(*taken, strict=True)]
    return {name: round(2 * ROWS * WIDTH * WIDTH / t / 1e9, 1) for name, t in zip(ways, best_s, strict=True)}


def _seconds(dtype: torch.dtype, *, pack: bool) -> float:
    """Processor time of one layer; infinite where there is no such way."""
    x, weight, bias = (torch.ones(size, dtype=dtype) for size in ((ROWS, WIDTH), (WIDTH, WIDTH), (WIDTH,)))
    with torch.inference_mode():
        try:
            weight = packed(weight) if pack else weight
            began_s = time.thread_time()
            linear(x, weight, bias, "gelu")
            return max(time.thread_time() - began_s, 1e-6)
        except (AttributeError, RuntimeError):  # this torch or this processor packs nothing
            return float("inf")
