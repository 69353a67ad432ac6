"""Which type this machine computes in best: measured once, remembered, shown by `tonewatch doctor`.

A processor may have units for bfloat16 (AMX, AVX512-BF16) or only pretend to, and then be several times slower. Names
of features do not tell how fast they are, so one product of the size these models make is timed in both types, and
bfloat16 is taken if it gains at least `GAIN`. The answer is kept in the user's cache folder under the processor's name
and torch's version; where that cannot be written it is measured at every start (a tenth of a second).
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

GAIN = 1.5
"""A difference this size pays for the lower precision, and is not noise."""

ROWS, WIDTH = 256, 1_024


@dataclass(frozen=True, slots=True)
class Capability:
    """Billions of multiplications and additions a second, and what follows from them."""

    processor: str
    torch: str
    float32_gflops: float
    bfloat16_gflops: float

    @property
    def choice(self) -> str:
        """`bfloat16` or `float32`."""
        return "bfloat16" if self.bfloat16_gflops > GAIN * self.float32_gflops else "float32"


def choose_dtype(wanted: str, device: torch.device) -> str:
    """`auto` on a processor becomes what it is best in, int8 the float32 around its products; the rest stays as it is.

    Raises `ModelError` for int8 on another device.
    """
    if wanted == "int8":
        if device.type != "cpu":
            raise ModelError(f"int8 is for the processor only, not for {device.type}; set dtype to auto")
        return "float32"
    return capability().choice if wanted == "auto" and device.type == "cpu" else wanted


def capability(*, fresh: bool = False) -> Capability:
    """What the processor can do: remembered if it can be, else measured."""
    path = _file()
    if not fresh and (known := _remembered(path)) is not None:
        return known
    found = Capability(_processor(), torch.__version__, _gflops(torch.float32), _gflops(torch.bfloat16))
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
    numbers = all(isinstance(value, float) for value in (known.float32_gflops, known.bfloat16_gflops))
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


def _gflops(dtype: torch.dtype) -> float:
    """The best of a few tries, since other programs can only make it slower."""
    x, weight = torch.ones(ROWS, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
    best_s = float("inf")
    with torch.inference_mode():
        for _ in range(4):
            began_s = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            best_s = min(best_s, time.perf_counter() - began_s)
    return round(2 * ROWS * WIDTH * WIDTH / best_s / 1e9, 1)
