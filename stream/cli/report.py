"""The command `tonewatch report`. Drawing is imported only when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    file: Annotated[Path, typer.Argument(help="Events, one JSON object per line, as written by `--sink FILE.ndjson`.")],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Output page. Default: FILE.html.")] = None,
    png: Annotated[Path | None, typer.Option(help="Also write an image.")] = None,
    source: Annotated[str | None, typer.Option(help="Only this stream or call. Default: all.")] = None,
) -> None:
    """Write a report of finished calls and streams: one self-contained HTML file."""
    from stream.tools.report import write_report  # noqa: PLC0415

    for path in write_report(file, out=out or file.with_suffix(".html"), png=png, only=source):
        typer.echo(f"Wrote {path}")
