"""What `tonewatch calibrate` shows: both distributions and the trade-off, on a terminal and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.tools.calibration.threshold import ThresholdResult, TradeOff
from stream.tracking.calibration import Calibration

BINS = 16
CELLS = 24
FALSE_ACCEPTS = (0.01, 0.001)
"""Rates whose thresholds are shown beside the one that is named."""


def show(verdict: ThresholdResult, own: Calibration, console: Console) -> None:
    """Both distributions, a row a range of scores; then what each threshold would cost."""
    if verdict.trade_off is None:
        return
    table = Table(box=None, pad_edge=False)
    for name, justify in (("score", "right"), ("one person", "left"), ("two people", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    edges = np.histogram_bin_edges(np.concatenate((verdict.genuine, verdict.impostor)), bins=BINS)
    shares = [np.histogram(values, edges)[0] / len(values) for values in (verdict.genuine, verdict.impostor)]
    for at in range(BINS - 1, -1, -1):
        bars = [
            Text(_bar(share[at] / share.max()), style) for share, style in zip(shares, ("cyan", "yellow"), strict=True)
        ]
        table.add_row(f"{edges[at]:.2f}", *bars)
    console.print(table)
    console.print()
    costs = Table(box=None, pad_edge=False)
    for name in ("threshold", "score", "false accepts", "false rejects"):
        costs.add_column(name, justify="left" if name == "threshold" else "right")
    for row in trade_off_rows(verdict, own):
        costs.add_row(
            row["threshold"], f"{row['score']:.2f}", f"{row['false accepts']:.1%}", f"{row['false rejects']:.1%}"
        )
    console.print(costs)


def trade_off_rows(verdict: ThresholdResult, own: Calibration) -> list[dict[str, Any]]:
    """Thresholds somebody might choose, and what they cost."""
    curve = verdict.trade_off
    assert curve is not None  # noqa: S101 - asked only with scores
    chosen = [("found here", verdict.threshold), ("the model's own", verdict.even_odds(own))]
    chosen += [("equal errors", curve.equal)] + [
        (f"{rate:.1%} false accepts", _for(curve, rate)) for rate in FALSE_ACCEPTS
    ]
    return [
        {
            "threshold": name,
            "score": score,
            **dict(zip(("false accepts", "false rejects"), curve.at(score), strict=True)),
        }
        for name, score in chosen
        if score is not None
    ]


def write(path: Path, verdict: ThresholdResult, own: Calibration, *, title: str, note: str) -> None:
    """A page with pictures. Raises `TonewatchError` where it cannot be written, or drawing libraries are missing."""
    from stream.tools.evaluation.output import science  # noqa: PLC0415

    with science():
        from stream.tools.evaluation import plots, report  # noqa: PLC0415 - an extra
    sections = []
    curve = verdict.trade_off
    if curve is not None:
        pictures = (
            plots.distributions(verdict.genuine.tolist(), verdict.impostor.tolist(), verdict.threshold, "Scores"),
            plots.trade_off(
                curve.thresholds.tolist(),
                curve.false_accepts.tolist(),
                curve.false_rejects.tolist(),
                verdict.threshold,
                "What a threshold costs",
            ),
        )
        sections.append(report.Section("Scores", (trade_off_rows(verdict, own),), pictures))
    said = "; ".join([*([verdict.refusal] if verdict.refusal else []), *verdict.remarks])
    if said:
        sections.append(report.Section("To bear in mind", note=said))
    report.write(path, title=title, note=note, sections=sections)


def _for(curve: TradeOff, rate: float) -> float:
    """The lowest threshold that accepts no larger a share of impostors."""
    return float(curve.thresholds[int(np.argmax(curve.false_accepts <= rate))])


def _bar(share: float) -> str:
    return "█" * max(round(share * CELLS), 1 if share else 0)
