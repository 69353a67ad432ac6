"""The command `tonewatch`, run inside the test process."""

from __future__ import annotations

from typing import NamedTuple

from typer.testing import CliRunner

from stream.cli.main import app


class CommandResult(NamedTuple):
    """Exit code, standard output, and standard error without surrounding space."""

    code: int
    output: str
    errors: str


def run_command(*words: object, stdin: str | None = None) -> CommandResult:
    """Run `tonewatch WORDS`. Fails on a traceback."""
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return CommandResult(result.exit_code, result.stdout, result.stderr.strip())


def rejection(*words: object, code: int = 2) -> str:
    """Run a command that must fail with this exit code; returns its one-line message."""
    result = run_command(*words)
    assert result.code == code, result
    assert result.errors.startswith("tonewatch: ")
    assert "\n" not in result.errors
    return result.errors.removeprefix("tonewatch: ")
