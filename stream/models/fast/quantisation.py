"""Layers in int8 where that is faster on this processor, found by a trial when a model is loaded.

The products of the encoder's layers, four fifths of a net's operations, may be quantised. The front end stays in
floating point: it is a fifth of the operations, and with its rounding errors those of the output were twice as large.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch import Tensor

from stream.models.fast.dense import Dense

ROWS = 149
"""Rows of the trial: the frames of a window of 3 s."""

TRIES = 5
MIN_GAIN = 1.1
"""Speed-up from which a layer is quantised: less is not worth its loss of accuracy."""


def quantise_faster(layers: Iterable[Dense], *, pack: bool) -> int:
    """Quantise the layers whose shape is faster in int8, and return their number; the others are packed if `pack`."""
    decided: dict[tuple[object, ...], bool] = {}
    count = 0
    for layer in layers:
        shape = (*layer.weight.shape, layer.activation)
        if shape not in decided:
            decided[shape] = speed_up(layer, pack=pack) >= MIN_GAIN
        if decided[shape]:
            layer.quantise()
            count += 1
        elif pack:
            layer.pack()
    return count


def speed_up(layer: Dense, *, pack: bool) -> float:
    """Return how many times as fast the layer is in int8: interleaved, in CPU time of one thread, which is limited."""
    quantised, plain = (Dense(weight=layer.weight, bias=layer.bias, activation=layer.activation) for _ in range(2))
    quantised.quantise()
    if pack:
        plain.pack()
    x = torch.randn(ROWS, layer.weight.shape[1], generator=torch.Generator().manual_seed(1)).to(layer.weight.dtype)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            times = [[_seconds(net, x) for net in (plain, quantised)] for _ in range(TRIES)]
    finally:
        torch.set_num_threads(threads)
    plain_s, quantised_s = (min(each) for each in zip(*times, strict=True))
    return float(plain_s / quantised_s)


def _seconds(layer: Dense, x: Tensor) -> float:
    began_s = time.thread_time()
    layer(x)
    return max(time.thread_time() - began_s, 1e-9)
