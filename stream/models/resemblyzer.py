"""Resemblyzer's voice encoder (Jemine 2019, Apache-2.0): a speaker model that others are compared with.

A d-vector after GE2E (Wan et al. 2018, arXiv:1710.10467): three LSTM layers over 40 mel bands, 1.42 M parameters,
trained on VoxCeleb and LibriSpeech. The weights are in its own package, which is not a dependency of tonewatch: install
it with `pip install --no-deps resemblyzer`. Only the weights are read, with `weights_only`; its code is not imported.

Partial utterances of 1.6 s are averaged, as in its `embed_utterance`. Its trimming of long silences by another voice
activity detector is omitted: windows have passed a speech gate here.
"""

from __future__ import annotations

import math
import pickle
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.errors import ModelFormatError, ModelNotFound
from stream.models.bundled import BundledModel, bundled_device, window_spec
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Task

if TYPE_CHECKING:
    from stream.settings import ModelSettings

NAME: Final = "speaker-resemblyzer"
THRESHOLD: Final = 0.75
"""Cosine from which the author's examples accept two voices as the same."""
_FFT_SAMPLES: Final = 400
_HOP_SAMPLES: Final = 160
_MELS: Final = 40
_PARTIAL_FRAMES: Final = 160
_STEP_FRAMES: Final = 77  # round(16,000 / 1.3 / 160): 1.3 partial utterances a second
_MIN_COVERAGE: Final = 0.75
_MIN_LEVEL_DBFS: Final = -30.0
_LINEAR_MELS: Final = 15.0  # the scale is linear up to 1 kHz


def mel_filters() -> Tensor:
    """Return triangular filters of unit area on Slaney's mel scale (1998), 0 to 8 kHz; shape (201, 40)."""
    top = _LINEAR_MELS + 27.0 * math.log(SAMPLE_RATE_HZ / 2 / 1_000.0) / math.log(6.4)
    mels = torch.linspace(0.0, top, _MELS + 2, dtype=torch.float64)
    edges = torch.where(
        mels < _LINEAR_MELS, mels * 200.0 / 3.0, 1_000.0 * torch.exp((mels - _LINEAR_MELS) * math.log(6.4) / 27.0)
    )
    bins = torch.linspace(0.0, SAMPLE_RATE_HZ / 2, _FFT_SAMPLES // 2 + 1, dtype=torch.float64)
    rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return (torch.minimum(rise, fall).clamp(min=0.0) * 2.0 / (edges[2:] - edges[:-2])).float()


class VoiceEncoder(nn.Module):
    """Maps samples (n,) to a d-vector (256,) of unit length without negative components."""

    filters: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_MELS, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)
        self.register_buffer("filters", mel_filters(), persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT_SAMPLES), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Raise audio below -30 dBFS to that level, split it into partial utterances and average their d-vectors."""
        level_db = 10.0 * torch.log10(samples.square().mean().clamp(min=1e-12))
        samples = samples * 10.0 ** ((_MIN_LEVEL_DBFS - level_db).clamp(min=0.0) / 20.0)
        starts = partial_starts(len(samples))
        end = (starts[-1] + _PARTIAL_FRAMES) * _HOP_SAMPLES
        samples = functional.pad(samples, (0, max(end - len(samples), 0)))
        frames = functional.pad(samples, (_FFT_SAMPLES // 2, _FFT_SAMPLES // 2))
        spectrum = torch.fft.rfft(frames.unfold(0, _FFT_SAMPLES, _HOP_SAMPLES) * self.window)  # (frames, 201)
        mels = (spectrum.real.square() + spectrum.imag.square()) @ self.filters  # (frames, 40)
        partials = torch.stack([mels[at : at + _PARTIAL_FRAMES] for at in starts])  # (partials, 160, 40)
        _, (hidden, _) = self.lstm(partials)
        vectors = functional.normalize(functional.relu(self.linear(hidden[-1])), dim=1)  # (partials, 256)
        return functional.normalize(vectors.mean(dim=0), dim=0)


def partial_starts(samples: int) -> list[int]:
    """Return the first frame of each partial utterance; a quarter of the last may be padding, more of a single one."""
    frames = math.ceil((samples + 1) / _HOP_SAMPLES)
    starts = list(range(0, max(1, frames - _PARTIAL_FRAMES + _STEP_FRAMES + 1), _STEP_FRAMES))
    coverage = (samples - starts[-1] * _HOP_SAMPLES) / (_PARTIAL_FRAMES * _HOP_SAMPLES)
    return starts[:-1] if coverage < _MIN_COVERAGE and len(starts) > 1 else starts


def load(settings: ModelSettings) -> BundledModel:
    """Load the encoder with the weights of the installed package. Raises `ModelNotFound` if it is not installed."""
    try:
        package = distribution("resemblyzer")
    except PackageNotFoundError as error:
        raise ModelNotFound(
            f"{NAME} needs the weights of another package; run: pip install --no-deps resemblyzer"
        ) from error
    path = Path(str(package.locate_file("resemblyzer/pretrained.pt")))
    encoder = VoiceEncoder()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
    except FileNotFoundError as error:
        raise ModelNotFound(f"{path} is missing; install resemblyzer again") from error
    except (EOFError, KeyError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        raise ModelFormatError(f"{path} does not match the encoder; install resemblyzer 0.1.4") from error
    device, _ = bundled_device(settings)
    encoder = encoder.eval().requires_grad_(requires_grad=False).to(device)
    info = ModelInfo(name=NAME, revision=package.version, task=Task.SPEAKER, threshold=THRESHOLD)
    return BundledModel(info=info, spec=window_spec(settings), score=encoder, device=device)
