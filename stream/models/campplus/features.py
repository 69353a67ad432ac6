"""Log-mel filterbank features of CAM++: 80 bands, 25 ms frames every 10 ms, the mean over time removed.

The computation is that of Kaldi (Povey et al. 2011) with its defaults: each frame loses its mean, is pre-emphasised
and weighted with the Povey window, and triangles that are linear on the mel scale average its power spectrum. Nothing
is read from disk. The result does not depend on gain but for the floor of the logarithm.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from stream.types import SAMPLE_RATE_HZ

MELS: Final = 80
FRAME_SAMPLES: Final = 400
HOP_SAMPLES: Final = 160
FFT_SAMPLES: Final = 512
LOW_HZ: Final = 20.0
HIGH_HZ: Final = 8_000.0
_PRE_EMPHASIS: Final = 0.97
_FULL_SCALE: Final = 32_768.0  # Kaldi counts samples as 16-bit integers
_FLOOR: Final = torch.finfo(torch.float32).eps


def mel_of_hz(hz: float) -> float:
    """Convert hertz to mel, as Kaldi does."""
    return 1127.0 * math.log(1.0 + hz / 700.0)


def mel_filters() -> Tensor:
    """Return triangles on the mel scale; shape (FFT_SAMPLES // 2 + 1, MELS)."""
    edges = torch.linspace(mel_of_hz(LOW_HZ), mel_of_hz(HIGH_HZ), MELS + 2, dtype=torch.float64)
    hz = torch.arange(FFT_SAMPLES // 2 + 1, dtype=torch.float64) * SAMPLE_RATE_HZ / FFT_SAMPLES
    mel = 1127.0 * torch.log1p(hz / 700.0)  # (257,)
    rise = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])  # (257, 80)
    fall = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rise, fall).clamp(min=0.0)
    filters[-1] = 0.0  # Kaldi leaves the Nyquist bin out
    return filters.float()


class LogMel(nn.Module):
    """Samples in [-1, 1], shape (…, n), to features of shape (…, frames, MELS)."""

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(FRAME_SAMPLES, periodic=False, dtype=torch.float64).pow(0.85)
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("filters", mel_filters(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Compute the features; at least FRAME_SAMPLES samples are needed."""
        frames = (samples * _FULL_SCALE).unfold(-1, FRAME_SAMPLES, HOP_SAMPLES)  # (…, frames, 400)
        frames = frames - frames.mean(dim=-1, keepdim=True)
        before = torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)  # the first sample stands for the one before it
        frames = (frames - _PRE_EMPHASIS * before) * self.window
        spectrum = torch.fft.rfft(frames, n=FFT_SAMPLES)  # (…, frames, 257)
        power = spectrum.real.square() + spectrum.imag.square()
        logs = torch.matmul(power, self.filters).clamp(min=_FLOOR).log()  # (…, frames, 80)
        return logs - logs.mean(dim=-2, keepdim=True)
