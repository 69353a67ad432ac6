"""The settings as rows of a table, for the documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from stream.settings.base import Branch
from stream.settings.tree import LISTED, Settings


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting: its key, its type in words, its default as JSON, its description."""

    key: str
    kind: str
    default: str
    description: str


def _kind(schema: Mapping[str, Any]) -> str:
    """Return the type of a JSON Schema in words."""
    if "enum" in schema:
        return "one of " + ", ".join(str(value) or '""' for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    low, high, above = (schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    bounds = f" above {above:g}" if above is not None else "" if low is None else f" from {low:g}"
    if low is not None and high is not None:
        bounds = f" {low:g} … {high:g}"
    words = {"string": "text", "array": "list", "object": "table", "boolean": "yes or no", "null": "unset"}
    kind = str(schema["type"])
    return words.get(kind, kind) + bounds


def rows(branch: type[Branch] = Settings, prefix: str = "", values: Branch | None = None) -> Iterator[SettingRow]:
    """Yield every setting, depth first, with its default; the value of a secret is masked."""
    for name, field in branch.model_fields.items():
        value = getattr(values, name) if values is not None else field.get_default(call_default_factory=True)
        if isinstance(value, Branch):
            yield from rows(type(value), f"{prefix}{name}.", value)
        elif item := LISTED.get((branch, name)):
            yield SettingRow(f"{prefix}{name}", "list of tables", "[]", field.description or "")
            yield from rows(item, f"{prefix}{name}[].")
        else:
            shown = "" if value is PydanticUndefined else str(value) if isinstance(value, SecretStr) else value
            kind = _kind(branch.model_json_schema()["properties"][name])
            yield SettingRow(f"{prefix}{name}", kind, json.dumps(shown), field.description or "")
