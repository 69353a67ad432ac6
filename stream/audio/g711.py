"""G.711 decoding: µ-law and A-law bytes to float32 by table lookup (ITU-T G.711; exact, 8 bits to 14 or 13)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.types import Samples


def _mu_law() -> NDArray[np.int16]:
    """Return the 16-bit PCM value of each of the 256 bytes."""
    code = ~np.arange(256, dtype=np.int64) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _a_law() -> NDArray[np.int16]:
    code = np.arange(256, dtype=np.int64) ^ 0x55
    segment, step = (code & 0x70) >> 4, (code & 0x0F) << 4
    magnitude = np.where(segment == 0, step + 8, (step + 0x108) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


MU_LAW = _mu_law()
A_LAW = _a_law()
_TABLES = {
    "mulaw": MU_LAW.astype(np.float32) * np.float32(1 / 32_768),
    "alaw": A_LAW.astype(np.float32) * np.float32(1 / 32_768),
}


def decode(data: bytes, law: str) -> Samples:
    """Decode bytes of one channel to samples of shape (n,); `law` is `mulaw` or `alaw`."""
    samples: Samples = _TABLES[law][np.frombuffer(data, np.uint8)]
    return samples
