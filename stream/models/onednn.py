"""Linear layers by oneDNN itself: weights in its own layout, and what follows a product done in passing.

Torch hands products in float32 to MKL, which keeps AVX-512 from processors that are not Intel's, and lays plain
weights in bfloat16 out anew at every call. oneDNN's own entry (the one that torch's compiler uses) does neither. It is
no public part of torch: `capability.capability` finds out whether it is there and whether it pays.
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
"""Rows, weight (outputs, inputs) and bias to rows."""


def packed(weight: Tensor) -> Tensor:
    """A weight (outputs, inputs) in oneDNN's layout: an opaque tensor, for `linear` alone.

    Raises `AttributeError` or `RuntimeError` where this release of torch, or this processor, has no such layout.
    """
    laid_out: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())  # noqa: SLF001
    return laid_out


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation = "none") -> Tensor:
    """(…, inputs) in, (…, outputs) out; the GELU is the exact one. `weight` may be packed.

    What is no number stays none: oneDNN's ReLU would make it 0, so that one is not done in passing.
    """
    if not weight.is_mkldnn:
        return activate_(functional.linear(x, weight, bias), activation)
    if activation == "gelu":
        done: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")  # noqa: SLF001
        return done
    return activate_(_product(x, weight, bias), activation)


def activate_(x: Tensor, activation: Activation) -> Tensor:
    """In place: these arrays are too big to be made twice."""
    if activation == "gelu":
        done: Tensor = torch.ops.aten.gelu_(x)
        return done
    return functional.relu_(x) if activation == "relu" else x


@functools.cache
def traceable() -> Linear:
    """The product of oneDNN for plain weights, in a form that can be part of a traced net, as packed ones cannot.

    Torch's own where this release of it, or this Python, cannot have such a form.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its age
            product: Linear = torch.jit.script(_product)
        product(torch.zeros(1, 1), torch.zeros(1, 1), None)
    except (AttributeError, RuntimeError):
        return functional.linear
    return product


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    done: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # noqa: SLF001
    return done
