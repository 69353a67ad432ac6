"""Fits the linear emotion head on CAM++: logistic regressions with strong regularisation, all in one optimisation.

Inputs are standardised; pitch counts more than a single statistic of the trunk, as its regularisation is weaker. Labels
are smoothed. Corpora and labels weigh alike, whatever their number of recordings, and so do the variants of one.

Read speech has no labels. It is mostly neutral, but some of it is as flat as acted sadness, so its target leaves room
for that: with a target of plain neutral, sadness of strangers is lost (docs/decisions/emotion-head.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scripts.training.emotion_inputs import ACTED, OUTSIDE, READ, Examples
from stream.models.campplus.emotion import INPUTS, LABELS, OUTPUTS, QUANTILES

AROUSED = tuple(LABELS.index(label) for label in ("happy", "angry"))
READ_TARGET = (0.78, 0.02, 0.02, 0.18)
READ_AROUSAL = 0.18
READ_SHARE = 0.1
"""Weight of a corpus of read speech beside one label of an acted corpus."""
STRENGTH = 10.0
"""Weight of the mean loss beside the squared weights: the inverse of the regularisation."""
OUTSIDE_STRENGTH = 10.0
SMOOTHING = 0.1
PITCH_SCALE = 10.0
_ITERATIONS = 200


@dataclass(frozen=True, slots=True)
class Head:
    """A fitted head on plain inputs: logits = weight @ inputs + bias, as `OUTPUTS` of the model."""

    weight: Tensor  # (OUTPUTS, INPUTS)
    bias: Tensor  # (OUTPUTS,)

    def logits(self, examples: Examples) -> Tensor:
        """Return the logits of examples, (n, OUTPUTS)."""
        return torch.from_numpy(examples.x) @ self.weight.T + self.bias


def fit(examples: Examples) -> Head:
    """Fit a head on acted, read and outside examples."""
    acted, read = np.isin(examples.sets, list(ACTED)), np.isin(examples.sets, list(READ))
    outside = torch.from_numpy(np.isin(examples.sets, list(OUTSIDE)))
    speech = torch.from_numpy(_weights(examples, acted, read))
    labels, arousal = _targets(examples, read)
    x, mean, scale = _standardised(examples.x, speech)
    either = torch.where(outside, _shares(examples.sets, outside.numpy()), speech) / 2  # half each
    weight = torch.zeros(OUTPUTS, INPUTS, requires_grad=True)
    bias = torch.zeros(OUTPUTS, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")
    count = len(LABELS)

    def loss() -> Tensor:
        search.zero_grad()
        logits = x @ weight.T + bias
        by_label = -(labels * functional.log_softmax(logits[:, :count], dim=1)).sum(dim=1)
        by_kind = functional.binary_cross_entropy_with_logits(logits[:, count], outside.float(), reduction="none")
        by_arousal = functional.binary_cross_entropy_with_logits(logits[:, count + 1], arousal, reduction="none")
        total = STRENGTH * (speech * (by_label + by_arousal)).sum() + OUTSIDE_STRENGTH * (either * by_kind).sum()
        total = total + weight.square().sum() / 2
        total.backward()  # type: ignore[no-untyped-call]
        return total

    search.step(loss)  # type: ignore[no-untyped-call]
    folded = (weight * scale).detach()
    return Head(folded, (bias - folded @ mean).detach())


def _weights(examples: Examples, acted: NDArray[np.bool_], read: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the weight of each example of speech; they sum to 1, and are 0 for other sounds."""
    weights = np.zeros(len(examples), np.float32)
    for kind in ACTED:
        for label in range(len(LABELS)):
            chosen = acted & (examples.sets == kind) & (examples.labels == label)
            weights[chosen] = 1.0 / max(1, chosen.sum())
    for kind in READ:
        chosen = read & (examples.sets == kind)
        weights[chosen] = READ_SHARE / max(1, chosen.sum())
    total: NDArray[np.float32] = weights / weights.sum()
    return total


def _shares(sets: NDArray[np.str_], chosen: NDArray[np.bool_]) -> Tensor:
    """Return weights that are equal in sum for each corpus among the chosen examples; they sum to 1."""
    weights = np.zeros(len(sets), np.float32)
    kinds = np.unique(sets[chosen])
    for kind in kinds:
        own = chosen & (sets == kind)
        weights[own] = 1.0 / own.sum() / len(kinds)
    return torch.from_numpy(weights)


def _targets(examples: Examples, read: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Return target probabilities of labels (n, LABELS) and of high arousal (n,); for other sounds neither counts."""
    known = np.maximum(examples.labels, 0)
    labels = np.eye(len(LABELS), dtype=np.float32)[known] * (1 - SMOOTHING) + SMOOTHING / len(LABELS)
    arousal = np.isin(known, AROUSED).astype(np.float32) * (1 - SMOOTHING) + SMOOTHING / 2
    labels[read], arousal[read] = READ_TARGET, READ_AROUSAL
    return torch.from_numpy(labels), torch.from_numpy(arousal)


def _standardised(x: NDArray[np.float32], weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return standardised inputs, and the mean and the factor of each."""
    values = torch.from_numpy(x)
    mean = (weights[:, None] * values).sum(dim=0)
    deviation = (weights[:, None] * (values - mean).square()).sum(dim=0).sqrt() + 1e-4
    scale = 1.0 / deviation
    scale[-len(QUANTILES) :] *= PITCH_SCALE
    return (values - mean) * scale, mean, scale
