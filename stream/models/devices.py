"""Device, data type and thread count of a model.

Rules: `auto` takes CUDA, then Apple's MPS, then the processor; and float32 except on a CUDA device that supports
bfloat16. A device or type requested by name is used or rejected, never replaced silently.
"""

from __future__ import annotations

import ctypes
import functools
import sys

import torch

from stream.errors import ModelError


def resolve_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `mps`. Raises `ModelError` if it is not available."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_available in available.items() if is_available)
    if not available.get(name, False):
        raise ModelError(f"device {name!r} is not available on this machine; set device to auto or cpu")
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the type for `auto`, `float32` or `bfloat16`. Raises `ModelError` if the device does not support it."""
    has_bfloat16 = device.type == "cpu" or (
        device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    if name == "int8":
        raise ModelError("int8 needs a pretrained model; set dtype to auto, float32 or bfloat16")
    if name == "auto":
        # several times slower on a processor without bfloat16 units: there it has to be requested
        return torch.bfloat16 if has_bfloat16 and device.type == "cuda" else torch.float32
    if name == "bfloat16" and not has_bfloat16:
        raise ModelError(f"this {device.type} device does not support bfloat16; set dtype to auto or float32")
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def gpu_name() -> str:
    """Return the CUDA device's name in brackets with a leading space, or an empty string."""
    return f" ({torch.cuda.get_device_name()})" if torch.cuda.is_available() else ""


def limit_threads(n: int) -> None:
    """Limit the threads inside one operation to `n`, for the calling thread and threads that first compute after it.

    By default torch gives every thread all cores. Workers that oversubscribe the processor slow each other down by
    more than their number, because the threads of an operation wait until the last one is scheduled; so the cores are
    divided among the workers, and each worker calls this before its first batch.
    """
    retain_freed_memory()
    torch.set_num_threads(n)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_RETAINED_BYTES = 32 * 2**20  # the maximum of M_MMAP_THRESHOLD


@functools.cache
def retain_freed_memory() -> bool:
    """Tell the C library to keep freed memory for reuse between batches; return whether it accepts.

    A model allocates and frees the same megabytes at every batch. glibc returns such blocks to the system each time,
    and faulting them in again costs a fifth of a small model's time. What loading has left free goes back to the
    system before, once (20 MB with the preset `compact`). Does nothing on other systems than Linux.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL(None)
        mallopt, malloc_trim = library.mallopt, library.malloc_trim
    except (OSError, AttributeError):  # musl has neither
        return False
    malloc_trim(0)
    return bool(mallopt(_M_MMAP_THRESHOLD, _RETAINED_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, 8 * _RETAINED_BYTES))
