"""A head that transformers has no class for: mean over time, a layer with tanh, an output layer.

Published emotion checkpoints with dimensions (audeering's wav2vec 2.0 on MSP-Podcast among them) and some classifiers
name the architecture `…ForSpeechClassification` and bring its code only in their model card. The layout is built here;
no code of a checkpoint runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

DENSE, OUTPUT = "classifier.dense", "classifier.out_proj"


class PooledHead(nn.Module):
    """Maps frames (B, T, C) to outputs (B, labels)."""

    def __init__(self, *, dense: nn.Linear, output: nn.Linear) -> None:
        super().__init__()
        self.dense, self.output = dense, output

    def convert(self, dtype: torch.dtype) -> None:
        """Do nothing: a narrower type would save no time here."""

    def forward(self, frames: Tensor) -> Tensor:
        """Return the outputs in float32."""
        outputs: Tensor = self.output(torch.tanh(self.dense(frames.mean(dim=1, dtype=torch.float32))))
        return outputs


class PooledNet(nn.Module):
    """A backbone of transformers with a `PooledHead`."""

    base_model_prefix = "backbone"

    def __init__(self, backbone: Any, head: PooledHead) -> None:
        super().__init__()
        self.backbone, self.head, self.config = backbone, head, backbone.config

    def forward(self, audio: Tensor) -> Any:
        """Map samples (B, n) to an output with `logits`, as the models of transformers do."""
        from transformers.modeling_outputs import SequenceClassifierOutput  # noqa: PLC0415

        return SequenceClassifierOutput(logits=self.head(self.backbone(audio).last_hidden_state))


def read_head(weights: Path) -> PooledHead | None:
    """Return the head of a file of weights, or None if it has none of this layout."""
    names = [f"{layer}.{part}" for layer in (DENSE, OUTPUT) for part in ("weight", "bias")]
    if weights.suffix == ".safetensors":
        with safe_open(weights, framework="pt") as file:
            if not set(names) <= set(file.keys()):
                return None
            tensors = {name: file.get_tensor(name) for name in names}
    else:
        tensors = torch.load(weights, map_location="cpu", weights_only=True)
        if not set(names) <= tensors.keys():
            return None
    layers = [_linear(tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]) for layer in (DENSE, OUTPUT)]
    return PooledHead(dense=layers[0], output=layers[1])


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
    return layer
