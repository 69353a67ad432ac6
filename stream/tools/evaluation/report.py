"""The page of an evaluation: tables and charts in one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from stream import __version__
from stream.errors import TonewatchError
from stream.tools.private_files import write_private

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1e293b; background: #f8fafc; margin: 0 auto; max-width: 68rem;
       padding: 2rem 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.note { color: #64748b; } table { border-collapse: collapse; background: white; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } th, td { padding: .3rem .7rem; border-bottom: 1px solid #e2e8f0; text-align: right; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; color: #475569; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; } .charts svg { background: white; border-radius: 8px;
max-width: 100%;
       height: auto; }
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, tables (rows with equal keys) and charts (SVG)."""

    title: str
    tables: tuple[Sequence[Mapping[str, Any]], ...] = ()
    charts: tuple[str, ...] = ()
    note: str = ""


def write(path: Path, *, title: str, note: str, sections: Sequence[Section]) -> None:
    """Write the page. Raises `TonewatchError` if it cannot be written."""
    body = "\n".join(_section(section) for section in sections)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>"
        f'<p class="note">{escape(note)} · tonewatch {__version__}</p>\n{body}\n</body></html>\n'
    )
    try:
        write_private(path, page.encode())
    except OSError as error:
        raise TonewatchError(f"{path} cannot be written ({error.strerror}); choose another file") from error


def _section(section: Section) -> str:
    parts = [f"<section><h2>{escape(section.title)}</h2>"]
    if section.note:
        parts.append(f'<p class="note">{escape(section.note)}</p>')
    parts += [_table(rows) for rows in section.tables if rows]
    if section.charts:
        parts.append(f'<div class="charts">{"".join(section.charts)}</div>')
    return "\n".join([*parts, "</section>"])


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = "".join(f"<th>{escape(str(key))}</th>" for key in rows[0])
    lines = ("".join(f"<td>{escape(format_figure(value))}</td>" for value in row.values()) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def format_figure(value: Any) -> str:
    """Format a number with three decimals at most; a dash for None."""
    if value is None:
        return "–"
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
