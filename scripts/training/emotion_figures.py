"""Figures of the emotion head on people it did not learn from, by corpus and variant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from scripts.training import measure
from scripts.training.emotion_head import AROUSED
from scripts.training.emotion_inputs import Examples
from stream.models.campplus.emotion import LABELS, REFERENCE_S, probabilities
from stream.settings import EmotionSettings
from stream.tools.evaluation.metrics import calibration_error

Floats = NDArray[np.float64]
COVERAGES = (0.5, 0.7, 0.9)
HALF = 0.5
DURATIONS_S = {"short": 1.0}
_NEUTRAL, _ANGRY, _SAD = (LABELS.index(label) for label in ("neutral", "angry", "sad"))


def figures(
    scored: Mapping[str, tuple[Examples, torch.Tensor]], temperature: tuple[float, float]
) -> dict[str, dict[str, Any]]:
    """Return figures by corpus and variant, of labelled speech and of read speech and other sounds."""
    found: dict[str, dict[str, Any]] = {}
    for kind, (examples, logits) in scored.items():
        for corpus in dict.fromkeys(examples.sets.tolist()):
            for variant in dict.fromkeys(examples.variants[examples.sets == corpus].tolist()):
                chosen = (examples.sets == corpus) & (examples.variants == variant)
                short_s = DURATIONS_S.get(variant, REFERENCE_S)
                divisor = temperature[0] * max(1.0, REFERENCE_S / short_s) ** temperature[1]
                values = probabilities(logits[torch.from_numpy(chosen)], divisor).double().numpy()
                labels = examples.labels[chosen]
                found[f"{corpus}, {variant}"] = (
                    _unlabelled(values) if kind in ("read", "outside") else _labelled(values, labels)
                )
    return found


def _labelled(values: Floats, truth: NDArray[np.int64]) -> dict[str, Any]:
    labels, arousal = values[:, : len(LABELS)], values[:, len(LABELS)]
    guess, confidence = labels.argmax(axis=1), labels.max(axis=1)
    right = guess == truth
    surest = np.argsort(-confidence, kind="stable")
    high = np.isin(truth, AROUSED)
    return {
        "recall": measure.recall(truth, guess, len(LABELS)),
        "by label": {LABELS[at]: float(right[truth == at].mean()) for at in np.unique(truth)},
        "arousal": _balanced(arousal > HALF, high),
        "arousal, order": _order(arousal, high),
        "anger": _balanced(guess == _ANGRY, truth == _ANGRY),
        "anger, order": _order(labels[:, _ANGRY], truth == _ANGRY),
        "sad": float(right[truth == _SAD].mean()),
        "ece": calibration_error(labels, truth),
        "right": {f"{share:.0%}": float(right[surest[: round(share * len(surest))]].mean()) for share in COVERAGES},
        "n": len(truth),
    }


def _unlabelled(values: Floats) -> dict[str, Any]:
    """Shares of neutral or uncertain, and of a firm label but neutral, by the limits of the live label."""
    labels, settings = values[:, : len(LABELS)], EmotionSettings()
    best = np.sort(labels, axis=1)
    firm = (best[:, -1] >= settings.enter) & (best[:, -1] - best[:, -2] >= settings.margin)
    guess = labels.argmax(axis=1)
    return {
        "neutral or uncertain": float(((guess == _NEUTRAL) | ~firm).mean()),
        "firm": float(firm.mean()),
        "by label": {label: float((firm & (guess == at)).mean()) for at, label in enumerate(LABELS)},
        "n": len(values),
    }


def _balanced(guess: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((guess[truth].mean() + (~guess[~truth]).mean()) / 2)


def _order(values: Floats, truth: NDArray[np.bool_]) -> float:
    """Return the probability that an example of the class has the higher value (area under the ROC curve)."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return float((ranks[truth].mean() - (truth.sum() - 1) / 2) / (~truth).sum())


def show(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Print both tables."""
    console = Console(width=150)
    names = ["recall", "arousal", "arousal, order", "anger", "anger, order", "sad", "ece"]
    table = Table("", *names, *(f"right at {share:.0%}" for share in COVERAGES), "n", title="people left out")
    for name, row in found.items():
        if "recall" in row:
            table.add_row(
                name,
                *(f"{row[key]:.3f}" for key in names),
                *(f"{value:.2f}" for value in row["right"].values()),
                str(row["n"]),
            )
    console.print(table)
    table = Table("", "neutral or uncertain", "firm", *LABELS, "n", title="firm labels of read speech and other sounds")
    for name, row in found.items():
        if "firm" in row:
            shares = (row["neutral or uncertain"], row["firm"], *row["by label"].values())
            table.add_row(name, *(f"{value:.3f}" for value in shares), str(row["n"]))
    console.print(table)
