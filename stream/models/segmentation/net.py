"""PyanNet with powerset output (Plaquet and Bredin, Interspeech 2023, arXiv:2310.13025), for inference.

Shapes: samples (windows, n) → learned band-pass filters at every tenth sample (Ravanelli and Bengio 2018, SincNet) →
two convolutions, each of the three with max pooling over 3 → four bidirectional LSTM layers → log-probabilities of the
powerset's classes (windows, frames, 7). A frame covers 991 samples and one begins every 270.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.types import SAMPLE_RATE_HZ

FRAME_SAMPLES: Final = 991
FRAME_HOP_SAMPLES: Final = 270
LOCAL_SPEAKERS: Final = 3
POWERSET: Final = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
"""The local speakers active in each class."""

_FILTER_STRIDE: Final = 10
_MIN_HZ: Final = 50.0
_HIDDEN: Final = 128
_LSTM_LAYERS: Final = 4

State = Mapping[str, Tensor]


def sinc_filters(state: State, name: str) -> Tensor:
    """Compute the band-pass filters from their edges: 40 even ones, then 40 odd ones; shape (80, 1, 251)."""
    low = _MIN_HZ + state[f"{name}.low_hz_"].double().abs()  # (40, 1)
    high = (low + _MIN_HZ + state[f"{name}.band_hz_"].double().abs()).clamp(_MIN_HZ, SAMPLE_RATE_HZ / 2)
    times = state[f"{name}.n_"].double()  # (1, 125): radians a hertz, before the centre
    window = state[f"{name}.window_"].double()
    band = high - low  # (40, 1)
    even = (torch.sin(high @ times) - torch.sin(low @ times)) / (times / 2) * window
    odd = (torch.cos(low @ times) - torch.cos(high @ times)) / (times / 2) * window
    filters = torch.cat([
        torch.cat([even, 2 * band, even.flip(1)], dim=1) / (2 * band),
        torch.cat([odd, torch.zeros_like(band), -odd.flip(1)], dim=1) / (2 * band),
    ])  # fmt: skip
    return filters.float()[:, None]


class Segmentation(nn.Module):
    """Samples in [-1, 1], shape (windows, n), to log-probabilities of the powerset, shape (windows, frames, 7)."""

    filters: Tensor

    def __init__(self, state: State) -> None:
        super().__init__()
        self.register_buffer("filters", sinc_filters(state, "sincnet.conv1d.0.filterbank"))
        self.convs = nn.ModuleList((nn.Conv1d(80, 60, 5), nn.Conv1d(60, 60, 5)))
        self.level = nn.InstanceNorm1d(1, affine=True)
        self.norms = nn.ModuleList(nn.InstanceNorm1d(channels, affine=True) for channels in (80, 60, 60))
        self.lstm = nn.LSTM(60, _HIDDEN, num_layers=_LSTM_LAYERS, bidirectional=True, batch_first=True)
        self.linear = nn.ModuleList((nn.Linear(2 * _HIDDEN, 128), nn.Linear(128, 128)))
        self.classifier = nn.Linear(128, len(POWERSET))
        names = {"sincnet.wav_norm1d": "level", "sincnet.conv1d.1": "convs.0", "sincnet.conv1d.2": "convs.1"}
        names |= {f"sincnet.norm1d.{number}": f"norms.{number}" for number in range(3)}
        own = {"filters": self.filters}
        for key, value in state.items():
            if "filterbank" not in key:
                stem, _, leaf = key.rpartition(".")
                own[f"{names.get(stem, stem)}.{leaf}"] = value
        self.load_state_dict(own)

    def forward(self, samples: Tensor) -> Tensor:
        """Score at least one second of samples."""
        x = functional.conv1d(self.level(samples[:, None]), self.filters, stride=_FILTER_STRIDE).abs()
        x = functional.leaky_relu(self.norms[0](functional.max_pool1d(x, 3)))
        for conv, norm in zip(self.convs, self.norms[1:], strict=True):
            x = functional.leaky_relu(norm(functional.max_pool1d(conv(x), 3)))  # (windows, 60, frames)
        rows, _ = self.lstm(x.transpose(1, 2))  # (windows, frames, 256)
        for layer in self.linear:
            rows = functional.leaky_relu(layer(rows))
        return functional.log_softmax(self.classifier(rows), dim=-1)
