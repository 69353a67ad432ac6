"""The table of settings: it covers each of them once, in words, and the page in docs/ shows it."""

from __future__ import annotations

import pytest

from scripts import settings_page
from stream.settings import Settings, load
from stream.settings.base import Branch
from stream.settings.reference import rows
from stream.settings.tree import LISTED

pytestmark = pytest.mark.slow


def test_every_setting_is_documented() -> None:
    assert all(row.description for row in rows())
    assert settings_page.PAGE.read_text(encoding="utf-8") == settings_page.page(), "run scripts/settings_page.py"


def leaves(branch: type[Branch], prefix: str = "") -> set[str]:
    """Return the keys of all leaves of the tree, found in another way than `rows` does."""
    found: set[str] = set()
    for name, field in branch.model_fields.items():
        listed = LISTED.get((branch, name))
        kind = listed or field.annotation
        if isinstance(kind, type) and issubclass(kind, Branch):
            found |= leaves(kind, f"{prefix}{name}[]." if listed else f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def test_rows_cover_every_setting_once_and_in_words() -> None:
    keys = [row.key for row in rows()]
    assert len(keys) == len(set(keys))
    assert set(keys) == leaves(Settings) | {"sources", "alerts.rules"}
    kinds = {row.key: row.kind for row in rows()}
    assert kinds["gate.on"] == "number 0 … 1"
    assert kinds["models.emotion.device"] == "one of auto, cpu, cuda, mps"
    assert kinds["node"] == "text"
    assert kinds["emotion.smoothing_s"] == "number above 0"
    assert kinds["speakers.threshold"] == "number -1 … 1 or unset"


def test_rows_of_a_read_tree_mask_its_secrets() -> None:
    settings = load(environment={"TONEWATCH__MQTT__PASSWORD": "hunter2"})
    shown = {row.key: row.default for row in rows(values=settings)}
    assert shown["mqtt.password"] == '"**********"'
    assert shown["serve.token"] == '""'
