"""Write docs/events.md from the event models, so that the page and the contract cannot differ."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel

from stream import events
from stream.events import Envelope

PAGE = Path(__file__).parent.parent / "docs" / "events.md"

INTRODUCTION = f"""# Events

One JSON object an event; on standard output and in files one a line. Schema version {events.SCHEMA_VERSION}; the JSON
Schema is printed by `tonewatch schema`. Written by `scripts/events_page.py` from `stream/events.py`.

Rolling state (`emotion`, `speaker`, a live `call`, `health`) is worth nothing once a newer one of the same source is
there; `turn`, `speaker_resolved`, `stream` and `alert` events and the `final` `call` are kept in order, every one of
them. Times that end in `_s` are seconds of media from the stream's start.

A call is a source of its own. Its tracks are sources beside it, named after it: for the call `desk-7` the events of
the customer's track come from `desk-7-customer`, the agent's from `desk-7-agent`; all three carry `"call": "desk-7"`,
and all three count time from the same moment. On a track the speaker is the party: nobody has to be recognised.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, "## Every event\n\n" + _table(set(Envelope.model_fields), Envelope)]
    for kind in events.EVENT_TYPES:
        name = kind.model_fields["type"].default
        own = set(kind.model_fields) - set(Envelope.model_fields) - {"type"}
        parts.append(f"## `{name}`\n\n{kind.__doc__}\n\n{_table(own, kind)}")
    parts.append(
        f"## Inside `speaker`\n\n### An identity\n\n{events.Identity.__doc__}\n\n"
        + _table(set(events.Identity.model_fields), events.Identity)
    )
    parts.append("### A candidate\n\n" + _table(set(events.Candidate.model_fields), events.Candidate))
    parts.append("## Inside `call`\n\n### A party\n\n" + _table(set(events.CallParty.model_fields), events.CallParty))
    parts.append("### A party's emotion\n\n" + _table(set(events.CallEmotion.model_fields), events.CallEmotion))
    parts.append("### An alert that is on\n\n" + _table(set(events.CallAlert.model_fields), events.CallAlert))
    parts.append(
        "## Inside `health`\n\n### A lane\n\n" + _table(set(events.LaneHealth.model_fields), events.LaneHealth)
    )
    parts.append("### A sink\n\n" + _table(set(events.SinkHealth.model_fields), events.SinkHealth))
    return "\n".join(parts)


def _table(names: set[str], kind: type[BaseModel]) -> str:
    properties = kind.model_json_schema(by_alias=True)["properties"]
    rows = ["| field | type | meaning |", "|---|---|---|"]
    for name, field in kind.model_fields.items():
        if name in names:
            shown = field.alias or name
            rows.append(f"| `{shown}` | {_type(properties[shown])} | {field.description or ''} |")
    return "\n".join(rows) + "\n"


def _type(schema: dict[str, object]) -> str:
    if "enum" in schema:
        return " / ".join(f"`{value}`" for value in list(schema["enum"]))  # type: ignore[call-overload]
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in list(schema["anyOf"]))  # type: ignore[call-overload]
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = str(schema.get("type", "value"))
    if kind == "array":
        return "list"
    return {"number": "number", "integer": "integer", "string": "text", "null": "null"}.get(kind, kind)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
