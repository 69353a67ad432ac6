"""The house rules, as contracts."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import stream
from stream.models.zoo import ZOO

HOME = Path(__file__).parent.parent
MODULES = sorted((HOME / "stream").rglob("*.py"))
LONGEST = 400


def test_imports_go_down_only() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program], cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_public_face() -> None:
    assert stream.__all__ == [
        "SCHEMA_VERSION",
        "Event",
        "Settings",
        "TonewatchError",
        "__version__",
        "assemble",
        "from_json",
        "load_settings",
        "to_json",
    ]
    for name in stream.__all__:
        assert getattr(stream, name) is not None
    with pytest.raises(AttributeError):
        _ = stream.nothing


@pytest.mark.parametrize(
    "code",
    [
        "import stream; stream.Settings, stream.from_json",
        "import stream.cli.main, stream.app.run",
        "import stream.models.zoo",
        "from stream.cli.main import app; app(['--help'], standalone_mode=False)",
    ],
)
def test_torch_is_not_imported_before_a_model_is_needed(code: str) -> None:
    check = (
        f"{code}; import sys; sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'sounddevice')))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_the_compact_pair_needs_no_transformers() -> None:
    code = (
        "from stream.app import registry; from stream.settings import Settings; s = Settings(); "
        "registry.model(s.models.emotion); registry.model(s.models.speaker); "
        "import sys; sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(HOME)))
def test_modules_are_short_and_say_what_they_own(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "a module opens with what it owns"
    assert len(text.splitlines()) <= LONGEST


def test_every_model_of_the_zoo_has_an_entry_point() -> None:
    assert {entry.name for entry in entry_points(group="stream.models")} == set(ZOO)


@pytest.mark.parametrize("group", ["stream.sources", "stream.models", "stream.sinks"])
def test_entry_points_lead_somewhere(group: str) -> None:
    for entry in entry_points(group=group):
        assert callable(entry.load())


def test_scripts_can_be_run() -> None:
    for name in (
        "setup",
        "demo",
        "test",
        "lint",
        "train",
        "conversation",
        "mosquitto",
        "audit",
        "check_homeassistant",
    ):
        assert os.access(HOME / "scripts" / name, os.X_OK), name


def test_constraints_lie_within_the_ranges_of_the_package() -> None:
    wanted = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {requirement.split(">")[0] for requirement in wanted}
    pinned = {
        line.split("==")[0] for line in (HOME / "config" / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert names - {"huggingface-hub", "safetensors"} <= pinned
