"""The commands that print or validate: `config`, `models list`, `schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import rejection, run_command


def test_invalid_toml_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("[pool\nworkers = 2")
    assert "broken.toml is not valid TOML" in rejection("config", "check", broken)


def test_a_valid_file_is_reported_so(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("[pool]\nworkers = 2")
    assert run_command("config", "check", file)[:2] == (0, f"{file} is valid\n")


def test_models_are_listed() -> None:
    result = run_command("models", "list", "--json")
    rows = json.loads(result.output)
    assert {"compact-emotion", "compact-speaker", "emotion-wav2vec2-large", "speaker-wavlm"} <= {
        row["name"] for row in rows
    }


@pytest.mark.slow
def test_schemas_are_printed() -> None:
    assert json.loads(run_command("schema").output)["title"] == "tonewatch event"
    assert "pool" in json.loads(run_command("config", "schema").output)["properties"]


def test_shown_settings_mask_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONEWATCH__MQTT__PASSWORD", "hunter2")
    shown = run_command("config", "show").output
    assert json.loads(shown)["mqtt"]["password"] == "**********"
    assert "hunter2" not in shown
