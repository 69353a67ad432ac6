"""What an evaluation prints: progress, figures that fit on a line of a terminal, JSON, and the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from stream.errors import TonewatchError

if TYPE_CHECKING:
    from stream.tools.evaluation.report import Section


@contextmanager
def bar(text: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error, where that is a terminal."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def science() -> Iterator[None]:
    """Name the extra where its libraries are missing."""
    try:
        yield
    except ImportError as error:
        raise TonewatchError(f"evaluation needs {error.name}: pip install 'tonewatch[evaluate]'") from error


def flat(row: Mapping[str, Any], without: Sequence[str]) -> dict[str, Any]:
    """Nested figures side by side."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key in without:
            continue
        if isinstance(value, Mapping):
            flat |= {f"{key}: {inner}": one for inner, one in value.items() if not isinstance(one, Mapping)}
        else:
            flat[key] = value
    return flat


def felt(row: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of emotion that fit on a line of a terminal."""
    if not row["scored"]:
        return {"scored": 0}
    return {
        "scored": row["scored"],
        "UAR": row["unweighted_average_recall"],
        "accuracy": row["accuracy"],
        "macro F1": row["macro_f1"],
        "ECE": row["expected_calibration_error"],
        "answered": row["with_uncertain"]["answered"],
        "UAR, answered": row["with_uncertain"]["unweighted_average_recall"],
        "right live": row["rolling"]["right_share_of_speech"],
        "flaps a minute": row["rolling"]["flaps_per_minute"],
    }


def brief(row: Mapping[str, Any]) -> dict[str, Any]:
    """What fits on a line of a terminal."""
    normal = row.get("as_norm") or {}
    return {
        "EER": row["eer"],
        "EER, AS-norm": normal.get("eer"),
        "minDCF": row["min_dcf"],
        "threshold": row["threshold_at_eer"],
        "at 1 % false accepts": row["thresholds_at_false_accept_rate"]["0.01"],
        "pairs of one": row["pairs_same"],
        "pairs of two": row["pairs_different"],
    }


def give(
    found: Mapping[str, Any],
    rows: list[dict[str, Any]],
    sections: Sequence[Section],
    *,
    as_json: bool,
    html: Path | None,
    title: str,
    note: str,
) -> None:
    """Print, and write the page. Raises `TonewatchError` where it cannot be written."""
    from stream.tools.evaluation import report  # noqa: PLC0415
    from stream.tools.tables import print_table  # noqa: PLC0415

    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        keys = dict.fromkeys(key for row in rows for key in row)
        print_table([{key: report.shown(row.get(key)) for key in keys} for row in rows])
    if html is not None:  # last: where it cannot be written, the figures have been told
        report.write(html, title=title, note=note, sections=sections)
