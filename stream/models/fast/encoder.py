"""The transformer behind the frontend, and the sums over its layers.

Heads of this family do not hear the last layer but a weighted sum of all. The sums are added up while the layers run,
one for each head that listens, so that no layer's output outlives the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from stream.models.fast.attention import Attention, PositionBias
from stream.models.fast.dense import Dense
from stream.models.fast.positions import Positions


class EncoderLayer(nn.Module):
    """Attention and a feed-forward net, each with a norm behind it or (`norm_first`) before it."""

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
        """(B, T, C) in and out."""
        if self.norm_first:
            x = x + self.attention(self.norm(x), position_bias)
            deeper: Tensor = self._feed(self.final_norm(x)).add_(x)
            return deeper
        x = self.norm(self.attention(x, position_bias).add_(x))
        normed: Tensor = self.final_norm(self._feed(x).add_(x))
        return normed

    def _feed(self, x: Tensor) -> Tensor:
        fed: Tensor = self.outer(self.inner(x))
        return fed


class Encoder(nn.Module):
    """Frames (B, T, C) to one weighted sum of layers for each head, (B, T, C) in float32 each, or the last layer.

    `last_normed` says whether the norm behind the last layer of a `norm_first` encoder counts for the sum (releases of
    transformers differ in it).
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
        """What decides over the answers beside the weights."""
        heads = {layer.attention.heads for layer in self.layers if isinstance(layer, EncoderLayer)}
        return (self.norm_first, self.last_normed, tuple(heads), self.norm.eps)

    def forward(self, x: Tensor, weights: Sequence[Sequence[float] | None]) -> list[Tensor]:
        """`weights`: for each head a weight a layer, the encoder's input first, or None for the last layer alone."""
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
