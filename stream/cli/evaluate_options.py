"""Options that the commands of `tonewatch evaluate` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.options import options_layer, read_settings

if TYPE_CHECKING:
    from stream.settings import Settings

Model = Annotated[str | None, typer.Option(help="Model to evaluate: a zoo name, ORG/MODEL or a folder.")]
Compare = Annotated[
    tuple[str, str] | None, typer.Option(metavar="A B", help="Compare two models on the same recordings.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print figures as JSON.")]
Html = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a page with tables and charts.")]
Only = Annotated[
    list[str] | None, typer.Option(metavar="SET", help="Use only this corpus of the manifest. Repeatable.")
]
Audio = Annotated[list[Path], typer.Argument(help="Recordings or folders; file names as in the reference.")]
Rttm = Annotated[Path, typer.Option(help="Reference segments.")]
Uem = Annotated[Path | None, typer.Option(help="Scored part of each recording.")]
Known = Annotated[bool, typer.Option("--known", help="Enrol the people in each recording's folder (PERSON.flac).")]
Collar = Annotated[float, typer.Option(min=0, help="Seconds excluded on each side of a boundary.")]
Overlap = Annotated[bool, typer.Option(help="Score overlapping speech.")]


def evaluation_settings(preset: str, config: Path | None, settings: list[str] | None) -> Settings:
    """Read the settings of an evaluation from its common options."""
    return read_settings(options_layer(settings=settings), preset=preset, config=config)
