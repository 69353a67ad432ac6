"""The command `tonewatch report`. What draws is imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    file: Annotated[Path, typer.Argument(help="Events, one JSON object a line, as `--sink FILE.ndjson` writes them.")],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The page to write; FILE.html if not given.")] = None,
    png: Annotated[Path | None, typer.Option(help="Also draw it into a picture.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this stream or call; all of the file if not given.")] = None,
) -> None:
    """Draw a finished call or stream: one HTML file that needs nothing else."""
    from stream.tools.report.html import write_report  # noqa: PLC0415

    for path in write_report(file, out=out or file.with_suffix(".html"), png=png, only=source):
        typer.echo(f"wrote {path}")
