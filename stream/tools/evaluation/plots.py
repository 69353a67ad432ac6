"""Charts of an evaluation as SVG elements for a page, drawn by matplotlib without a display."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import norm
from sklearn.metrics import det_curve

from stream.tools.evaluation.diarization import ScoredRecording
from stream.tools.evaluation.emotion import EmotionResult, confusion
from stream.tools.evaluation.metrics import reliability
from stream.tools.evaluation.verification import Pairs

_INK = "#334155"
_COLOURS = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#65a30d", "#b91c1c")
_TICKS = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


def confusion_matrix(result: EmotionResult, title: str) -> str:
    """Draw the shares of predictions (columns) of each true label (rows)."""
    counts = confusion(result)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = _figure(4.2, 3.6)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = result.labels
    axes.set_xticks(range(len(names)), names, rotation=20)
    axes.set_yticks(range(len(names)), names)
    for row in range(len(names)):
        for column in range(len(names)):
            dark = shares[row, column] > 0.5  # noqa: PLR2004
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color="white" if dark else _INK)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    return _svg(figure)


def reliability_diagram(result: EmotionResult, title: str) -> str:
    """Draw accuracy against confidence; a dot's area is its share of the predictions."""
    truth, probabilities = result.truth_and_probabilities()
    bins = reliability(probabilities, truth)
    figure, axes = _figure(3.8, 3.6)
    axes.plot([0, 1], [0, 1], color="#94a3b8", linewidth=1, linestyle="--")
    axes.plot([one.confidence for one in bins], [one.accuracy for one in bins], color=_COLOURS[0], linewidth=1)
    sizes = [20 + 500 * one.share for one in bins]
    axes.scatter(
        [one.confidence for one in bins], [one.accuracy for one in bins], s=sizes, color=_COLOURS[0], alpha=0.6
    )
    axes.set(title=title, xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    return _svg(figure)


def det(curves: Mapping[str, Pairs], title: str) -> str:
    """Draw the detection error trade-off (Martin et al. 1997): misses against false alarms on normal deviates."""
    figure, axes = _figure(4.6, 4.0)
    for (name, pairs), colour in zip(curves.items(), _COLOURS * 4, strict=False):
        scores = np.concatenate((pairs.same, pairs.different))
        truth = np.concatenate((np.ones(len(pairs.same)), np.zeros(len(pairs.different))))
        alarms, misses, _ = det_curve(truth, scores)
        inside = (alarms > 0) & (misses > 0) & (alarms < 1) & (misses < 1)
        axes.plot(norm.ppf(alarms[inside]), norm.ppf(misses[inside]), label=name, color=colour, linewidth=1.4)
    ticks = norm.ppf(_TICKS)
    axes.set_xticks(ticks, [f"{tick:.1%}".replace(".0%", "%") for tick in _TICKS])
    axes.set_yticks(ticks, [f"{tick:.1%}".replace(".0%", "%") for tick in _TICKS])
    axes.plot([-4, 4], [-4, 4], color="#94a3b8", linewidth=1, linestyle="--")
    axes.set(title=title, xlabel="false alarms", ylabel="misses", xlim=(-3.2, 0.2), ylim=(-3.2, 0.2))
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def timeline(recording: ScoredRecording) -> str:
    """Draw the reference, and below it the live and the final labels, with a colour per speaker."""
    case = recording.case
    people = sorted({segment.speaker for segment in case.reference})
    others = sorted({segment.speaker for segment in (*recording.live, *recording.final)} - set(people))
    colours = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(people)}
    figure, axes = _figure(9.5, 1.2 + 0.28 * (len(people) + 2))
    for row, name in enumerate(people):
        spans = [(one.start_s, one.end_s - one.start_s) for one in case.reference if one.speaker == name]
        axes.broken_barh(spans, (row - 0.4, 0.8), facecolors=colours[name])
    for height, segments in ((len(people) + 0.4, recording.live), (len(people) + 1.4, recording.final)):
        for one in segments:
            axes.broken_barh(
                [(one.start_s, one.end_s - one.start_s)], (height - 0.4, 0.8),
                facecolors=colours.get(one.speaker, "#cbd5e1"), edgecolor="white", linewidth=0.4,
            )  # fmt: skip
    axes.set_yticks([*range(len(people)), len(people) + 0.4, len(people) + 1.4], [*people, "live", "final"])
    axes.set(title=case.name, xlabel="seconds", xlim=(case.start_s, case.end_s))
    axes.invert_yaxis()
    if others:
        axes.text(1.0, -0.02, "grey: not in the reference", transform=axes.transAxes, ha="right", va="top", fontsize=7)
    return _svg(figure)


def distributions(same: Sequence[float], different: Sequence[float], threshold: float | None, title: str) -> str:
    """Draw the distributions of same-speaker and different-speaker scores."""
    figure, axes = _figure(5.2, 3.0)
    places = np.histogram_bin_edges(np.concatenate((same, different)), bins=40).tolist()
    axes.hist(different, bins=places, density=True, alpha=0.6, color=_COLOURS[1], label="different speakers")
    axes.hist(same, bins=places, density=True, alpha=0.6, color=_COLOURS[0], label="same speaker")
    if threshold is not None:
        axes.axvline(threshold, color=_INK, linewidth=1, linestyle="--", label=f"threshold {threshold:.3f}")
    axes.set(title=title, xlabel="score", yticks=[])
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def trade_off(
    thresholds: Sequence[float], accepts: Sequence[float], rejects: Sequence[float], threshold: float | None, title: str
) -> str:
    """Draw the shares of impostor scores accepted and genuine scores rejected, by threshold."""
    figure, axes = _figure(5.2, 3.0)
    axes.plot(thresholds, accepts, color=_COLOURS[1], drawstyle="steps-pre", label="false accepts")
    axes.plot(thresholds, rejects, color=_COLOURS[0], drawstyle="steps-pre", label="false rejects")
    if threshold is not None:
        axes.axvline(threshold, color=_INK, linewidth=1, linestyle="--", label=f"threshold {threshold:.3f}")
    axes.set(title=title, xlabel="threshold", ylabel="share", ylim=(0, 1))
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    mpl.rcParams["text.parse_math"] = False  # names may contain a dollar sign
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.title.set_fontsize(10)
    return figure, axes


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    with (
        warnings.catch_warnings(),
        mpl.rc_context({"svg.hashsalt": "tonewatch", "font.size": 9, "text.color": _INK, "axes.labelcolor": _INK}),
    ):
        warnings.filterwarnings("ignore", message="Glyph")  # letters the font lacks are drawn as boxes
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    chart = buffer.getvalue()
    return chart[chart.index("<svg") :]
