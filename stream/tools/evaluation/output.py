"""Output of an evaluation: progress bars, tables for a terminal, JSON, and the page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from stream.errors import TonewatchError, missing_extra

if TYPE_CHECKING:
    from stream.tools.evaluation.report import Section

AROUSAL_HEADING = "High against low arousal and anger against the rest, and the accuracy of the surest utterances:"
CHANGES_HEADING = "Recordings of one person, joined:"
UNLABELLED_HEADING = "Recordings without a label: share of each live label:"
RELIABILITY_HEADING = "Share of the same person (number of trials) by probability of a match:"


@dataclass(slots=True)
class Results:
    """Figures of an evaluation by model, the sections of its page, and sentences that follow its tables."""

    figures: dict[str, Any] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@contextmanager
def progress_bar(text: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on standard error if that is a terminal; yields the function that advances it."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(text, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def require_libraries() -> Iterator[None]:
    """Turn a failed import into an error that names the extra to install."""
    try:
        yield
    except ImportError as error:
        raise TonewatchError(missing_extra("evaluation", library=str(error.name), extra="evaluate")) from error


def flatten(row: Mapping[str, Any], without: Sequence[str] = ()) -> dict[str, Any]:
    """Merge nested figures into one row, keys joined by a colon; drops the keys in `without`."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key in without:
            continue
        if isinstance(value, Mapping):
            flat |= {f"{key}: {inner}": one for inner, one in value.items() if not isinstance(one, Mapping)}
        else:
            flat[key] = value
    return flat


def emotion_rows(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a table row per model and corpus with labels, with the main figures of emotion."""
    return _emotion_table(figures, "left_out", _emotion_columns)


def emotion_tables(figures: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return further tables by heading: arousal and anger, coverage, joined recordings, recordings without labels."""
    return {
        AROUSAL_HEADING: _emotion_table(figures, "unweighted_average_recall", _arousal_columns),
        CHANGES_HEADING: _emotion_table(figures, "changes", lambda row: row["changes"]),
        UNLABELLED_HEADING: _emotion_table(figures, "live", flatten),
    }


def _emotion_table(
    figures: Mapping[str, Any], key: str, columns: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> list[dict[str, Any]]:
    return [
        {"model": model, "corpus": corpus, "utterances": row["utterances"], **columns(row)}
        for model, corpora in figures.items()
        for corpus, row in corpora.items()
        if key in row
    ]


def _emotion_columns(row: Mapping[str, Any]) -> dict[str, Any]:
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
        "correct live": row["rolling"]["right_share_of_speech"],
        "changes per minute": row["rolling"]["flaps_per_minute"],
    }


def _arousal_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    arousal, anger = row["arousal"] or {}, row["anger"] or {}
    return {
        "arousal": arousal.get("unweighted_average_recall"),
        "arousal, order": arousal.get("order"),
        "anger": anger.get("unweighted_average_recall"),
        "anger, order": anger.get("order"),
        **{f"correct, surest {share}": value for share, value in row["coverage"].items()},
    }


def verification_rows(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a table row per model, corpus and duration, with the main figures of verification."""
    return [
        {"model": model, "corpus": corpus, "speech, s": duration, **_verification_columns(row)}
        for model, found in figures.items()
        for corpus, durations in found["corpora"].items()
        for duration, row in durations.items()
    ]


def _verification_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    normalised = row.get("as_norm") or {}
    return {
        "EER": row["eer"],
        "EER, AS-norm": normalised.get("eer"),
        "minDCF": row["min_dcf"],
        "threshold": row["threshold_at_eer"],
        "at 1 % false accepts": row["thresholds_at_false_accept_rate"]["0.01"],
        "same-speaker pairs": row["pairs_same"],
        "different-speaker pairs": row["pairs_different"],
    }


def reliability_rows(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a table row per model, corpus and duration: calibration error, and the share of the same person by bin."""
    return [
        {"model": model, "corpus": corpus, "speech, s": duration, **reliability_columns(row)}
        for model, found in figures.items()
        for corpus, durations in (found["reliability"] or {}).items()
        for duration, row in durations.items()
    ]


def reliability_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the calibration error, and by bin of probability the share of the same person and the number of trials."""
    shares = {
        f"{one['from']:g}–{one['to']:g}": f"{one['same_share']:.2f} ({one['trials']})" if one["trials"] else None
        for one in row["bins"]
    }
    return {"ECE": row["expected_calibration_error"], **shares}


def diarization_rows(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a table row per figure, with a column per model."""
    names = next(iter(figures.values()))["all"]
    return [{"figure": name, **{model: found["all"][name] for model, found in figures.items()}} for name in names]


def print_results(
    results: Results,
    rows: list[dict[str, Any]],
    *,
    as_json: bool,
    html: Path | None,
    title: str,
    note: str,
    further: Mapping[str, list[dict[str, Any]]] | None = None,
) -> None:
    """Print figures as JSON, or tables and notes, then write the page. Raises `TonewatchError` if that fails.

    `rows` are the main table, `further` other tables by heading; those without rows are left out.
    """
    from stream.tools.evaluation import report  # noqa: PLC0415
    from stream.tools.tables import print_table  # noqa: PLC0415

    if as_json:
        typer.echo(json.dumps(results.figures, indent=2))
    else:
        for heading, table in {"": rows, **(further or {})}.items():
            if heading and table:
                typer.echo(f"\n{heading}")
            keys = dict.fromkeys(key for row in table for key in row)
            if table:
                print_table([{key: report.format_figure(row.get(key)) for key in keys} for row in table])
        for sentence in results.notes:
            typer.echo(sentence)
    if html is not None:  # last, so that a failure to write loses no figures
        report.write(html, title=title, note=note, sections=results.sections)
