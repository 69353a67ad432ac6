"""Every promise has a command, and every command is one of the promises."""

from __future__ import annotations

from pathlib import Path

from scripts.faults import all as promises

ROOT = Path(__file__).parents[1]


def test_every_script_is_a_promise_and_every_promise_a_script_or_a_test() -> None:
    scripts = {
        path.stem
        for path in (ROOT / "scripts" / "faults").glob("*.py")
        if "print_result(" in path.read_text(encoding="utf-8") and path.stem != "report"
    }
    found = promises.promises()
    assert {one.script for one in found} - {None} == scripts, "a row of the table in docs/reliability.md"
    assert set(promises.QUICK) <= scripts
    for one in found:
        words, _ = one.words(quick=True)
        modules = [f"{word.replace('.', '/')}.py" for word in words if word.startswith("scripts.")]
        paths = [*modules, *(word for word in words if word.startswith("tests/"))]
        assert paths, one.command
        assert all((ROOT / path).exists() for path in paths), one.command


def test_a_broken_promise_is_counted() -> None:
    kept = promises.Promise("nothing", "python -c 'print(1)'")
    broken = promises.Promise("everything", "FAULT=7 python -c 'import os; exit(int(os.environ[\"FAULT\"]))'")
    assert promises.run([kept, broken], quick=False) == 1
