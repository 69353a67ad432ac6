"""The documentation agrees with the code: commands and options, links, settings, events, models, presets."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer.main

from stream.app import registry
from stream.cli.main import app
from stream.cli.options import options_layer
from stream.events import EVENT_TYPES
from stream.settings import load, presets
from stream.settings.reference import rows

HOME = Path(__file__).parent.parent
PAGES = [HOME / "README.md", *sorted((HOME / "docs").rglob("*.md")), *sorted((HOME / "stream").rglob("*.md"))]
COMMAND: Any = typer.main.get_command(app)
ROWS = tuple(rows())
KEYS = {row.key for row in ROWS}


def commands(page: Path) -> list[str]:
    """Return the `tonewatch` commands on a page, placeholders filled in."""
    text = page.read_text(encoding="utf-8")
    found = chain(re.findall(r"`(tonewatch [^`\n]*)`", text), re.findall(r"\| (tonewatch [^`|\n]*)", text))
    filled = [re.sub(r"\b(FILE|NAME|ORG/MODEL)\b", "x", one.replace("\\", "")).strip() for one in found]
    return [one for one in filled if "|" not in one]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOME)))
def test_settings_on_the_command_line_are_valid(page: Path) -> None:
    for quoted, bare in re.findall(r"--set (?:'([^'\n]+)'|([\w.]+=[^ `|,;)\n]+))", page.read_text(encoding="utf-8")):
        load(flags=options_layer(settings=[quoted or bare]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOME)))
def test_link_targets_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize(("page", "line"), [(page, line) for page in PAGES for line in commands(page)])
def test_commands_are_accepted(page: Path, line: str) -> None:
    words, command = shlex.split(line)[1:], COMMAND
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    is_group = bool(getattr(command, "commands", {}))
    stands_alone = is_group and command.invoke_without_command and words and words[0].startswith("-")
    assert not is_group or not words or stands_alone, f"{page.name}: unknown command {words}"
    command.make_context("tonewatch", words)  # raises a usage error


def test_the_readme_names_scripts_library_and_law() -> None:
    readme = (HOME / "README.md").read_text(encoding="utf-8")
    for wanted in ("scripts/demo", "scripts/test", "aiomqtt", "asyncio-mqtt", "Article 5(1)(f)"):
        assert wanted in readme


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOME)))
def test_named_settings_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    variables = re.findall(r"TONEWATCH__([A-Z_]+)", text)
    assert {name.lower().replace("__", ".") for name in variables} <= KEYS
    flags = re.findall(r"--set\s+([a-z_.]+)=", text)
    tables = "|".join(sorted({key.partition(".")[0] for key in KEYS if "." in key and "[" not in key}))
    quoted = re.findall(rf"`((?:{tables})\.[a-z_.]+)`", text)
    files = {one for one in quoted if one.endswith((".md", ".py", ".toml"))}
    assert {*flags, *quoted} - files <= KEYS


def test_pages_name_every_setting_event_model_and_preset() -> None:
    pages = {str(page.relative_to(HOME)): page.read_text(encoding="utf-8") for page in PAGES}
    for row in ROWS:
        assert f"| `{row.key}` | {row.kind} |" in pages["docs/settings.md"], "run scripts/settings_page.py"
    for kind in EVENT_TYPES:
        name = kind.model_fields["type"].default
        assert f"## `{name}`" in pages["docs/events.md"], "run scripts/events_page.py"
        assert f"`{name}`" in pages["README.md"]
    for model in distribution("tonewatch").entry_points.select(group=registry.MODELS):
        assert f"| `{model.name}` |" in pages["docs/models.md"]
    for preset in presets():
        assert f"`{preset}`" in pages["README.md"]
