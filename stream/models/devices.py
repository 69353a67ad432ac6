"""Where a model computes, in what, and on how many threads.

Rules: `auto` takes CUDA, then Apple's MPS, then the processor, and float32 everywhere but on a CUDA device that
computes in bfloat16. What is asked for by name is given or refused, never quietly replaced.
"""

from __future__ import annotations

import ctypes
import functools
import sys

import torch

from stream.errors import ModelError


def resolve_device(wanted: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `mps` as a device that is there. Raises `ModelError` where it is not."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        wanted = next(name for name, available in there.items() if available)
    if not there.get(wanted, False):
        raise ModelError(f"this machine has no {wanted} device that torch can use; set device to auto or cpu")
    return torch.device(wanted)


def resolve_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """`auto`, `float32` or `bfloat16` as a type the device computes in. Raises `ModelError` where it does not."""
    able = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False))
    if wanted == "int8":
        raise ModelError("only pretrained models compute in int8; set dtype to auto, float32 or bfloat16")
    if wanted == "auto":
        # a processor without bfloat16 units would be several times slower: there it is a choice, not a default
        return torch.bfloat16 if able and device.type == "cuda" else torch.float32
    if wanted == "bfloat16" and not able:
        raise ModelError(f"this {device.type} device does not compute in bfloat16; set dtype to auto or float32")
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def graphics() -> str:
    """The CUDA device's name in brackets, or nothing."""
    return f" ({torch.cuda.get_device_name()})" if torch.cuda.is_available() else ""


def limit_threads(n: int) -> None:
    """Let the calling thread, and threads that first compute after it, use n threads inside one operation.

    Torch gives every thread all cores. Several workers that each believe they own the machine slow each other down by
    far more than their number, because threads of one operation wait for the last of them to be scheduled; so cores are
    shared out among workers, and each worker calls this before its first batch.
    """
    keep_memory()
    torch.set_num_threads(n)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 * 2**20  # the most that the C library takes for the second


@functools.cache
def keep_memory() -> bool:
    """Ask the C library to keep what models give back between batches; True if it will.

    A model takes and gives back the same megabytes at every batch. glibc returns such pieces to the system each time,
    and getting them again, page by page, costs a fifth of a small model's time. Elsewhere nothing is asked for.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has no such call
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, 8 * _KEPT_BYTES))
