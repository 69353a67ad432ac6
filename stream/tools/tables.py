"""Tables on the terminal: the models of the zoo, and any rows of equal keys."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.events.text import printable
from stream.models.zoo import ZOO, local_folder


def models_table() -> list[dict[str, str]]:
    """Return a row for each model of the zoo."""
    return [
        {
            "name": entry.name,
            "gives": entry.output,
            "size": f"{entry.size_mb:.0f} MB",
            "licence": entry.licence,
            "on disk": "yes" if local_folder(entry) else "no",
            "checkpoint": entry.checkpoint,
        }
        for entry in ZOO.values()
    ]


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows under the keys of the first row; columns keep their full width if output is no terminal."""
    console = Console() if sys.stdout.isatty() else Console(width=200)
    table = Table(box=None, pad_edge=False)
    for key in rows[0]:
        table.add_column(key, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(value))) for value in row.values()))
    console.print(table)
