"""The command `tonewatch`: its subcommands, its error messages and exit codes, its entry point.

An error of the package becomes one line on standard error and an exit code. Nothing heavy is imported before a
command needs it, so that `--help` is quick.
"""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stream import __version__
from stream.cli import config, models, run
from stream.cli.bench import bench, doctor
from stream.cli.calibrate import app as calibrate_app
from stream.cli.drain import drain
from stream.cli.enroll import enroll
from stream.cli.evaluate import app as evaluate_app
from stream.cli.outbox import outbox
from stream.cli.plan import plan
from stream.cli.profiles import app as profiles_app
from stream.cli.replay import replay
from stream.cli.report import report
from stream.cli.send import send
from stream.errors import TonewatchError
from stream.inference.worker import exit_if_stuck

NEWLINE = "\n"


class _ErrorGroup(TyperGroup):
    """Prints a `TonewatchError` of any command as one line and exits with its code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TonewatchError as error:
            from stream.events.text import printable  # noqa: PLC0415 - with all events: `--help` needs none

            typer.echo(f"tonewatch: {printable(str(error), keep=NEWLINE)}", err=True)
            raise typer.Exit(error.exit_code) from None


app = typer.Typer(
    name="tonewatch",
    cls=_ErrorGroup,
    help="Who is speaking and how they sound, live.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _version(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False
) -> None:
    if version:
        typer.echo(f"tonewatch {__version__}")
        raise typer.Exit


def devices() -> None:
    """List microphones; * marks the default one."""
    from stream.events.text import printable  # noqa: PLC0415
    from stream.sources.portaudio import list_inputs, load_portaudio  # noqa: PLC0415

    found = list_inputs(load_portaudio())
    if not found:
        typer.echo("tonewatch: no microphone found; connect one or check the sound server", err=True)
        raise typer.Exit(1)
    for device in found:
        mark = "*" if device.default else " "
        typer.echo(f"{mark} {device.index:3}  {printable(device.name)}  ({device.channels} ch, {device.rate_hz} Hz)")


def schema() -> None:
    """Print the JSON Schema of the events."""
    from stream.events import json_schema  # noqa: PLC0415

    typer.echo(json.dumps(json_schema(), indent=2))


for _name, _command in (
    ("demo", run.demo),
    ("run", run.run),
    ("dashboard", run.dashboard),
    ("serve", run.serve),
    ("drain", drain),
    ("outbox", outbox),
    ("enroll", enroll),
    ("replay", replay),
    ("report", report),
    ("send", send),
    ("devices", devices),
    ("schema", schema),
    ("bench", bench),
    ("plan", plan),
    ("doctor", doctor),
):
    app.command(_name)(_command)
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(profiles_app, name="profiles")
app.add_typer(calibrate_app, name="calibrate")


def main() -> None:
    """Run the command line; the process ends at once if an inference thread cannot be stopped."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's matrices are small: further threads only spin
    try:
        app()
    except SystemExit as end:
        exit_if_stuck(end.code if isinstance(end.code, int) else 1)
        raise
