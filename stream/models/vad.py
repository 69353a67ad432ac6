"""Voice activity detection: Silero VAD as a plain module whose state is kept by the caller.

Owns the bundled weights (`silero_vad.safetensors`, MIT, beside their licence), and the net's input and output.

Rules:

* One probability per 512 samples (32 ms). The net needs the last 64 samples and an LSTM's h and c; both are in
  `VadState`, which the caller keeps per stream and passes in again. The detector is stateless: one instance serves any
  number of streams, and a stream may be split into requests at any frame boundary.
* All frames of all requests pass the convolutions at once; only the LSTM runs along time. Requests of equal length
  share a forward pass: one second of one stream takes about 1 ms of one core, one frame each of 128 streams about 2 ms.
* Rounding depends on how frames are batched: two ways of splitting agree to about 1e-6, not bit by bit.

Raises `ValueError` for requests that are not whole frames: a bug of the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from stream.errors import InferenceError
from stream.types import FRAME_SAMPLES, Samples, SpeechRequest, SpeechResult

CONTEXT_SAMPLES = 64
HIDDEN = 128
_BINS = 129  # of a 256-point transform
_LOOK_AHEAD = 64  # samples mirrored at the frame's end, as the original does
_WEIGHTS = Path(__file__).parent / "silero_vad.safetensors"


@dataclass(frozen=True, slots=True)
class VadState:
    """State between the frames of a stream: its last samples (64,) and the LSTM's h and c (128,)."""

    context: Samples = field(repr=False)
    h: NDArray[np.float32] = field(repr=False)
    c: NDArray[np.float32] = field(repr=False)


class SileroNet(nn.Module):
    """STFT magnitudes, four convolutions down to one vector per frame, an LSTM, and one output."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("basis", torch.empty(2 * _BINS, 1, 256))  # windowed cosines, then sines
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, outputs, 3, stride=stride, padding=1)
            for inputs, outputs, stride in ((_BINS, 128, 1), (128, 64, 2), (64, 64, 2), (64, HIDDEN, 1))
        )
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.speech = nn.Linear(HIDDEN, 1)

    def forward(self, audio: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map audio (B, 64 + T * 512) and the state h, c (B, 128) to probabilities (B, T) and the new state."""
        batch = len(audio)
        frames = audio.unfold(1, CONTEXT_SAMPLES + FRAME_SAMPLES, FRAME_SAMPLES)  # (B, T, 576), each with its context
        x = frames.reshape(-1, CONTEXT_SAMPLES + FRAME_SAMPLES)  # (B * T, 576)
        x = functional.pad(x, (0, _LOOK_AHEAD), mode="reflect")
        x = (x.unfold(1, 256, 128).reshape(-1, 256) @ self.get_buffer("basis")[:, 0].T).view(len(x), 4, -1)
        x = (x[..., :_BINS].square() + x[..., _BINS:].square()).sqrt()
        for convolution in self.convolutions:
            x = functional.relu_(_convolve(x, convolution))
        x = x.reshape(batch, -1, HIDDEN)  # the strides leave one step per frame
        x, (h, c) = self.lstm(x, (h[None], c[None]))
        return torch.sigmoid(self.speech(functional.relu(x))).squeeze(2), h[0], c[0]


def _convolve(x: Tensor, convolution: nn.Module) -> Tensor:
    """Apply a convolution with kernel size 3 to (N, steps, C) as one matrix product: faster than torch's own."""
    weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
    stride = 2 if convolution.stride == (2,) else 1
    wide, length = functional.pad(x, (0, 0, 1, 1)), x.shape[1]
    patches = torch.cat([wide[:, tap : tap + length : stride] for tap in range(3)], dim=2)  # (N, steps, 3 * C)
    product = torch.addmm(bias, patches.flatten(0, 1), weight.transpose(1, 2).flatten(1).T)
    return product.view(len(x), patches.shape[1], -1)


class SileroVad:
    """The detector. Loads its 1.2 MB of weights on construction; safe to share between threads."""

    def __init__(self) -> None:
        with torch.device("meta"):
            net = SileroNet()  # skips the initialisation of weights
        net.load_state_dict(load_file(_WEIGHTS), assign=True)
        self._net = net.eval().requires_grad_(requires_grad=False)

    def infer(self, batch: Sequence[SpeechRequest]) -> list[SpeechResult]:
        """Return one result per request, in the same order. Raises `InferenceError` if the net fails."""
        by_length: dict[int, list[int]] = {}
        for position, request in enumerate(batch):
            if request.samples.ndim != 1 or len(request.samples) % FRAME_SAMPLES:
                raise ValueError(
                    f"speech detection takes whole frames of {FRAME_SAMPLES} samples, not shape {request.samples.shape}"
                )
            by_length.setdefault(len(request.samples), []).append(position)
        results: dict[int, SpeechResult] = {}
        for positions in by_length.values():
            results.update(zip(positions, self._infer([batch[p] for p in positions]), strict=True))
        return [results[position] for position in range(len(batch))]

    def _infer(self, requests: Sequence[SpeechRequest]) -> list[SpeechResult]:
        """Process requests of equal length in one forward pass."""
        states = [_state_or_initial(request.state) for request in requests]
        if not len(requests[0].samples):
            return [SpeechResult(np.zeros(0, np.float32), state) for state in states]
        audio = np.stack(
            [np.concatenate((state.context, r.samples)) for state, r in zip(states, requests, strict=True)],
            dtype=np.float32,
        )
        h, c = np.stack([state.h for state in states]), np.stack([state.c for state in states])
        try:
            with torch.inference_mode():
                outputs = self._net(torch.from_numpy(audio), torch.from_numpy(h), torch.from_numpy(c))
        except RuntimeError as error:
            raise InferenceError(f"speech detection failed on {len(requests)} streams: {error}") from error
        probabilities, h, c = (output.numpy() for output in outputs)
        # copies, so that a stored state does not keep its whole batch in memory
        return [
            SpeechResult(
                probabilities[i].copy(), VadState(audio[i, -CONTEXT_SAMPLES:].copy(), h[i].copy(), c[i].copy())
            )
            for i in range(len(requests))
        ]


def _state_or_initial(state: object | None) -> VadState:
    """Return the given state, or the zero state of a new stream."""
    if isinstance(state, VadState):
        return state
    return VadState(*(np.zeros(n, np.float32) for n in (CONTEXT_SAMPLES, HIDDEN, HIDDEN)))
