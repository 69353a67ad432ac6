"""The rules of the code base: import layers, public names, sizes of modules and functions, distinct names."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoints, distribution
from pathlib import Path

import pytest

import stream
from stream.models.zoo import ZOO

HOME = Path(__file__).parent.parent
MODULES = sorted((HOME / "stream").rglob("*.py"))
MAX_MODULE_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_PUBLIC_NAMES = 25
PUBLIC_PACKAGES = {"stream", "stream.events", "stream.settings"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix(".__init__")


NAMES = {module_name(path) for path in MODULES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def entry_points(group: str) -> EntryPoints:
    """Return the entry points of this distribution only; plug-ins beside it have their own."""
    return distribution("tonewatch").entry_points.select(group=group)


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """Yield each module of the package that a file imports or imports from, and the name it is imported `as`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.asname) for alias in node.names if alias.name in NAMES)
        elif isinstance(node, ast.ImportFrom) and node.module in NAMES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner, alias.asname) if inner in NAMES else (node.module, None)


def test_imports_go_down_only() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program], cwd=HOME, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_public_names() -> None:
    assert stream.__all__ == [
        "SCHEMA_VERSION",
        "AlertEvent",
        "AudioFeed",
        "CallEvent",
        "Embedding",
        "EmotionEvent",
        "Event",
        "HealthEvent",
        "Session",
        "Settings",
        "SpeakerEvent",
        "SpeakerResolvedEvent",
        "StreamEvent",
        "TonewatchError",
        "TurnEvent",
        "__version__",
        "assemble",
        "from_json",
        "listen",
        "load_settings",
        "to_frame",
        "to_json",
    ]
    assert len(stream.__all__) <= MAX_PUBLIC_NAMES
    for name in stream.__all__:
        assert getattr(stream, name) is not None
    with pytest.raises(AttributeError):
        _ = stream.nothing


@pytest.mark.slow
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


@pytest.mark.long
def test_the_bundled_models_need_no_transformers() -> None:
    code = (
        "from stream.app import registry; from stream.settings import load; s, t = load(), load(preset='tiny'); "
        "registry.model(s.models.emotion); registry.model(s.models.speaker); registry.model(s.models.overlap); "
        "registry.model(t.models.speaker); "
        "import sys; sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_and_functions_are_short_and_modules_documented(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "a module begins with a docstring"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE_LINES
    lengths = {
        f"{node.name}:{node.lineno}": (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=module_name)
def test_packages_contain_a_docstring_only(path: Path) -> None:
    if module_name(path) in PUBLIC_PACKAGES:
        assert any(isinstance(node, ast.Assign) for node in tree(path).body), "a public package declares __all__"
    else:
        assert len(tree(path).body) == 1


def test_public_classes_have_distinct_names() -> None:
    counts = Counter(
        node.name
        for path in MODULES
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imported_modules_have_distinct_names(path: Path) -> None:
    found = list(imports(path))
    assert [(module, name) for module, name in found if name is not None] == [], "no import under another name"
    by_name: defaultdict[str, set[str]] = defaultdict(set)
    for module, _ in found:
        by_name[module.rpartition(".")[2]].add(module)
    assert {name: modules for name, modules in by_name.items() if len(modules) > 1} == {}


def test_every_model_of_the_zoo_has_an_entry_point() -> None:
    assert {entry.name for entry in entry_points("stream.models")} == set(ZOO)


@pytest.mark.parametrize("group", ["stream.sources", "stream.models", "stream.sinks"])
def test_entry_points_can_be_loaded(group: str) -> None:
    assert entry_points(group)
    for entry in entry_points(group):
        assert callable(entry.load())


def test_scripts_are_executable() -> None:
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


def test_constraints_pin_every_dependency() -> None:
    wanted = tomllib.loads((HOME / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {requirement.split(">")[0] for requirement in wanted}
    pinned = {
        line.split("==")[0] for line in (HOME / "config" / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert names - {"huggingface-hub", "safetensors"} <= pinned
