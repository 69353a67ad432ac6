"""Linear layers computed by oneDNN: weights in its own layout, activations fused into the matrix product.

Torch passes float32 products to MKL, which does not use AVX-512 on processors of other makers than Intel, and reorders
plain bfloat16 weights at every call. oneDNN's own operator (which torch's compiler uses) does neither. It is not part
of torch's public interface: `capability.capability` finds out whether it exists and whether it is faster.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Activation = Literal["none", "relu", "gelu"]
Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Maps rows (…, inputs), weight (outputs, inputs) and bias (outputs,) to rows (…, outputs)."""


def pack_weight(weight: Tensor) -> Tensor:
    """Reorder a weight (outputs, inputs) into oneDNN's layout: an opaque tensor that only `linear` accepts.

    Raises `AttributeError` or `RuntimeError` if this release of torch or this processor has no such layout.
    """
    reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())  # noqa: SLF001
    return reordered


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation = "none") -> Tensor:
    """Apply a linear layer and an activation: (…, inputs) to (…, outputs). `weight` may be packed; GELU is exact.

    NaN stays NaN: oneDNN's fused ReLU turns it into 0, so ReLU is applied separately.
    """
    if not weight.is_mkldnn:
        return activate_(functional.linear(x, weight, bias), activation)
    if activation == "gelu":
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")  # noqa: SLF001
        return fused
    return activate_(_product(x, weight, bias), activation)


def activate_(x: Tensor, activation: Activation) -> Tensor:
    """Apply the activation in place: a copy of these arrays would double their memory."""
    if activation == "gelu":
        activated: Tensor = torch.ops.aten.gelu_(x)
        return activated
    return functional.relu_(x) if activation == "relu" else x


@functools.cache
def traceable_linear() -> Linear:
    """Return oneDNN's linear layer for plain weights in a form that a traced net can contain (packed weights cannot).

    Falls back to torch's own linear layer if this release of torch, or this Python, cannot script it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated
            product: Linear = torch.jit.script(_product)
        product(torch.zeros(1, 1), torch.zeros(1, 1), None)
    except (AttributeError, RuntimeError):
        return functional.linear
    return product


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    output: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # noqa: SLF001
    return output
