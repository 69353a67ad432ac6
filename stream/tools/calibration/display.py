"""Output of `tonewatch calibrate`: both distributions and the trade-off, on a terminal and as an HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.tools.calibration.threshold import ThresholdResult, TradeOff
from stream.tracking.calibration import Calibration

HISTOGRAM_BINS = 16
BAR_CELLS = 24
FALSE_ACCEPT_RATES = (0.01, 0.001)
"""Rates whose thresholds are shown beside the fitted one."""


def print_result(result: ThresholdResult, own: Calibration, console: Console) -> None:
    """Print both distributions, one row a range of scores, and the errors of several thresholds."""
    if result.trade_off is None:
        return
    console.print(_histogram(result))
    console.print()
    errors = Table(box=None, pad_edge=False)
    for name in ("threshold", "score", "false accepts", "false rejects"):
        errors.add_column(name, justify="left" if name == "threshold" else "right")
    for row in trade_off_rows(result, own):
        errors.add_row(
            row["threshold"], f"{row['score']:.2f}", f"{row['false accepts']:.1%}", f"{row['false rejects']:.1%}"
        )
    console.print(errors)


def _histogram(result: ThresholdResult) -> Table:
    table = Table(box=None, pad_edge=False)
    for name, justify in (("score", "right"), ("genuine", "left"), ("impostor", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    edges = np.histogram_bin_edges(np.concatenate((result.genuine, result.impostor)), bins=HISTOGRAM_BINS)
    shares = [np.histogram(values, edges)[0] / len(values) for values in (result.genuine, result.impostor)]
    for place in range(HISTOGRAM_BINS - 1, -1, -1):
        bars = [
            Text(_bar(share[place] / share.max()), style)
            for share, style in zip(shares, ("cyan", "yellow"), strict=True)
        ]
        table.add_row(f"{edges[place]:.2f}", *bars)
    return table


def trade_off_rows(result: ThresholdResult, own: Calibration) -> list[dict[str, Any]]:
    """Return candidate thresholds with their false accepts and false rejects."""
    curve = result.trade_off
    assert curve is not None  # noqa: S101 - called only with scores
    candidates = [("fitted", result.threshold), ("model's own", result.even_odds(own)), ("equal errors", curve.equal)]
    candidates += [(f"{rate:.1%} false accepts", _threshold_for(curve, rate)) for rate in FALSE_ACCEPT_RATES]
    return [
        {
            "threshold": name,
            "score": score,
            **dict(zip(("false accepts", "false rejects"), curve.at(score), strict=True)),
        }
        for name, score in candidates
        if score is not None
    ]


def write_page(path: Path, result: ThresholdResult, own: Calibration, *, title: str, note: str) -> None:
    """Write a page with charts. Raises `TonewatchError` if it cannot be written or drawing libraries are missing."""
    from stream.tools.evaluation.output import require_libraries  # noqa: PLC0415

    with require_libraries():
        from stream.tools.evaluation import plots, report  # noqa: PLC0415 - an extra
    sections = []
    curve = result.trade_off
    if curve is not None:
        charts = (
            plots.distributions(result.genuine.tolist(), result.impostor.tolist(), result.threshold, "Scores"),
            plots.trade_off(
                curve.thresholds.tolist(),
                curve.false_accepts.tolist(),
                curve.false_rejects.tolist(),
                result.threshold,
                "Errors by threshold",
            ),
        )
        sections.append(report.Section("Scores", (trade_off_rows(result, own),), charts))
    remarks = "; ".join([*([result.refusal] if result.refusal else []), *result.remarks])
    if remarks:
        sections.append(report.Section("Remarks", note=remarks))
    report.write(path, title=title, note=note, sections=sections)


def _threshold_for(curve: TradeOff, rate: float) -> float:
    """Return the lowest threshold that accepts at most this share of impostor scores."""
    return float(curve.thresholds[int(np.argmax(curve.false_accepts <= rate))])


def _bar(share: float) -> str:
    return "█" * max(round(share * BAR_CELLS), 1 if share else 0)
