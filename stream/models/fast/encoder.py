"""The transformer encoder, and the weighted sums over its layers.

Heads of this family take a weighted sum of all layers instead of the last one. The sums are accumulated while the
layers run, one per head, so that no layer's output outlives the next layer.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from stream.models.fast.attention import Attention, PositionBias
from stream.models.fast.dense import Dense
from stream.models.fast.positions import Positions


class EncoderLayer(nn.Module):
    """Attention and a feed-forward net, each with a norm after it or (`norm_first`) before it."""

    def __init__(
        self,
        *,
        attention: Attention,
        norm: nn.LayerNorm,
        inner: nn.Linear,
        outer: nn.Linear,
        final_norm: nn.LayerNorm,
        norm_first: bool,
    ) -> None:
        super().__init__()
        self.attention, self.norm, self.final_norm, self.norm_first = attention, norm, final_norm, norm_first
        self.inner = Dense(weight=inner.weight, bias=inner.bias, activation="gelu")
        self.outer = Dense(weight=outer.weight, bias=outer.bias)

    def forward(self, x: Tensor, position_bias: Tensor | None) -> Tensor:
        """Map frames (B, T, C) to frames of the same shape."""
        if self.norm_first:
            x = x + self.attention(self.norm(x), position_bias)
            output: Tensor = self._feed_forward(self.final_norm(x)).add_(x)
            return output
        x = self.norm(self.attention(x, position_bias).add_(x))
        normed: Tensor = self.final_norm(self._feed_forward(x).add_(x))
        return normed

    def _feed_forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.outer(self.inner(x))
        return output


class Encoder(nn.Module):
    """Maps frames (B, T, C) to one weighted sum of layers per head, (B, T, C) in float32, or to the last layer.

    `last_normed`: whether the final norm of a `norm_first` encoder is applied before the last layer enters the sum
    (releases of transformers differ).
    """

    def __init__(
        self,
        *,
        positions: Positions,
        norm: nn.LayerNorm,
        layers: Sequence[EncoderLayer],
        position_bias: PositionBias | None,
        norm_first: bool,
        last_normed: bool,
    ) -> None:
        super().__init__()
        self.positions, self.norm = positions, norm
        self.layers = nn.ModuleList(layers)
        self.position_bias = position_bias
        self.norm_first, self.last_normed = norm_first, last_normed

    @property
    def traits(self) -> tuple[object, ...]:
        """Parameters other than weights that affect the output."""
        heads = {layer.attention.heads for layer in self.layers if isinstance(layer, EncoderLayer)}
        return (self.norm_first, self.last_normed, tuple(heads), self.norm.eps)

    def forward(self, x: Tensor, weights: Sequence[Sequence[float] | None]) -> list[Tensor]:
        """Encode; `weights` has per head one weight per layer, the encoder's input first, or None: last layer only."""
        bias = self.position_bias.for_frames(x) if self.position_bias is not None else None
        x = x + self.positions(x)
        if not self.norm_first:
            x = self.norm(x)
        sums = [None if w is None else x.float() * w[0] for w in weights]
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x, bias)
            last = number == len(self.layers)
            if last and self.norm_first and self.last_normed:
                x = self.norm(x)
            for total, w in zip(sums, weights, strict=True):
                if total is not None and w is not None:
                    total.add_(x, alpha=w[number])
        if self.norm_first and not self.last_normed:
            x = self.norm(x)
        return [x if total is None else total for total in sums]
