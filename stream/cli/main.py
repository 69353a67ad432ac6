"""The command line: `tonewatch demo`, `run`, `serve`, `dashboard`, `report` and those that look after the rest.

Owns what a person types and sees: options become the top layer of the settings, errors of our tree become one sentence
on standard error and an exit code, standard output carries events (or the live panel on a terminal) and nothing else.
Nothing heavy is imported before a command needs it, so that `--help` is quick.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stream import __version__
from stream.cli.bench import bench, doctor
from stream.cli.calibrate import calibrate
from stream.cli.evaluate import app as evaluate_app
from stream.cli.options import (
    Channels,
    Config,
    Emotion,
    Enroll,
    Preset,
    Profiles,
    Quiet,
    Set,
    Sinks,
    Speaker,
    Verbose,
    as_layer,
    settings_of,
    source_of,
)
from stream.cli.profiles import app as profiles_app
from stream.cli.profiles import enroll as enroll_command
from stream.cli.replay import replay
from stream.cli.report import report
from stream.errors import SettingsError, TonewatchError
from stream.inference.worker import leave_if_stuck
from stream.monitoring.logs import log_to_stderr


class _Group(TyperGroup):
    """Turns our errors into a sentence and an exit code, whichever command raises them."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TonewatchError as error:
            typer.echo(f"tonewatch: {error}", err=True)
            raise typer.Exit(error.exit_code) from None


app = typer.Typer(
    name="tonewatch",
    cls=_Group,
    help="Who is speaking and how they sound, live.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The models there are: name, size, licence, what each gives, whether it is on disk.")
config_app = typer.Typer(help="The settings.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(config_app, name="config")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(profiles_app, name="profiles")


@app.callback(invoke_without_command=True)
def _version(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False
) -> None:
    if version:
        typer.echo(f"tonewatch {__version__}")
        raise typer.Exit


@app.command()
def demo(
    *,
    realtime: Annotated[bool, typer.Option("--realtime", help="Pace it as if it were heard now.")] = False,
    sink: Sinks = None,
    emotion: Emotion = None,
    speaker: Speaker = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Listen to a bundled conversation: no microphone, network or broker needed."""
    from stream.demo.conversation import AUDIO  # noqa: PLC0415

    flags = as_layer(emotion=emotion, speaker=speaker, sinks=sink, settings=settings)
    flags["sources"] = [{"kind": "file", "target": str(AUDIO), "id": "demo", "realtime": realtime}]
    _run(flags, preset=preset, config=config, quiet=quiet, verbose=verbose)


@app.command()
def run(
    *,
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Files, `microphone`, `microphone:NAME` or `-` (raw PCM); or the settings' own sources."),
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Pace files as if they were heard now.")] = False,
    channels: Channels = None,
    rate: Annotated[int | None, typer.Option(help="Raw PCM: frames a second.")] = None,
    pcm_channels: Annotated[int | None, typer.Option(help="Raw PCM: channels.")] = None,
    pcm_format: Annotated[str | None, typer.Option(help="Raw PCM: s16le or f32le.")] = None,
    enroll: Enroll = None,
    sink: Sinks = None,
    emotion: Emotion = None,
    speaker: Speaker = None,
    profiles: Profiles = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Show it on a page, too (dashboard.port).")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Listen to microphones, files or raw PCM, one or several at once."""
    flags = as_layer(emotion=emotion, speaker=speaker, profiles=profiles, sinks=sink, settings=settings, enroll=enroll)
    shared = {"channels": channels, "rate_hz": rate, "pcm_channels": pcm_channels, "pcm_format": pcm_format}
    given = {key: value for key, value in shared.items() if value is not None}
    if realtime:
        given["realtime"] = True
    if sources:
        flags["sources"] = [{**source_of(text), **given} for text in sources]
    elif given:
        raise SettingsError(f"{', '.join(given)} on the command line needs a source there, too")
    _run(flags, preset=preset, config=config, quiet=quiet, verbose=verbose, page=dashboard)


@app.command("dashboard")
def show(
    *,
    sources: Annotated[
        list[str] | None, typer.Argument(help="What to listen to, as for `run`; `demo` is the bundled conversation.")
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(metavar="mqtt://HOST/PREFIX", help="Show what nodes publish to a broker instead of listening."),
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Pace files as if they were heard now.")] = False,
    channels: Channels = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; beyond loopback a token is needed.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0: any free one.")] = None,
    sink: Sinks = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show streams and calls on a page, until Ctrl-C."""
    from stream.settings import plant  # noqa: PLC0415

    flags = as_layer(settings=settings, sinks=sink)
    for key, given in (("dashboard.host", host), ("dashboard.port", port)):
        if given is not None:
            plant(flags, key, str(given))
    shared: dict[str, Any] = {"realtime": realtime} | ({"channels": channels} if channels else {})
    if mqtt is not None:
        from stream.app.run import show_remote  # noqa: PLC0415

        if sources or sink:
            raise SettingsError("with --mqtt the page only watches; leave sources and sinks to the nodes that publish")
        read = settings_of(flags, preset=preset, config=config)
        log_to_stderr(read, verbose=verbose)
        raise typer.Exit(show_remote(read, mqtt))
    if sources:
        flags["sources"] = [{**source_of(text), **shared} for text in sources]
    elif not settings_of(flags, preset=preset, config=config).sources:
        from stream.app.run import at_the_page, serve_until_stopped  # noqa: PLC0415

        read = settings_of(flags, preset=preset, config=config)
        log_to_stderr(read, verbose=verbose)
        raise typer.Exit(serve_until_stopped(at_the_page(read), quiet=quiet, page=True, tell=False))
    _run(flags, preset=preset, config=config, quiet=quiet, verbose=verbose, page=True, stay=True)


@app.command()
def serve(
    *,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; any but a loopback one needs a token.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port for WebSockets.")] = None,
    audiosocket_port: Annotated[int | None, typer.Option(help="TCP port for Asterisk's AudioSocket.")] = None,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Serve a page there, too.")] = False,
    sink: Sinks = None,
    emotion: Emotion = None,
    speaker: Speaker = None,
    profiles: Profiles = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Listen on the network: browsers, Twilio, Asterisk, Genesys, and any client of the small protocol in the docs."""
    from stream.app.run import serve_until_stopped  # noqa: PLC0415
    from stream.settings import plant  # noqa: PLC0415

    flags = as_layer(emotion=emotion, speaker=speaker, profiles=profiles, sinks=sink, settings=settings)
    for key, given in (("host", host), ("port", port), ("audiosocket_port", audiosocket_port)):
        if given is not None:
            plant(flags, f"serve.{key}", str(given))
    read = settings_of(flags, preset=preset, config=config)
    log_to_stderr(read, verbose=verbose)
    raise typer.Exit(serve_until_stopped(read, quiet=quiet, page=dashboard))


app.command("enroll")(enroll_command)
app.command("calibrate")(calibrate)
app.command("replay")(replay)
app.command("report")(report)


@app.command()
def devices() -> None:
    """List microphones; * marks the default one."""
    from stream.sources.devices import inputs, portaudio  # noqa: PLC0415

    found = inputs(portaudio())
    if not found:
        typer.echo("no microphone was found; plug one in, or check that the sound server runs", err=True)
        raise typer.Exit(1)
    for device in found:
        mark = "*" if device.default else " "
        typer.echo(f"{mark} {device.index:3}  {device.name}  ({device.channels} ch, {device.rate_hz} Hz)")


@models_app.callback(invoke_without_command=True)
def models(ctx: typer.Context) -> None:
    """The models there are: name, size, licence, what each gives, whether it is on disk."""
    if ctx.invoked_subcommand is None:
        models_list(as_json=False)


@models_app.command("list")
def models_list(*, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Name, size, licence, what it gives, and whether it is on disk."""
    from stream.tools.tables import models_table, print_table  # noqa: PLC0415

    rows = models_table()
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        print_table(rows)


@models_app.command("fetch")
def models_fetch(name: Annotated[str, typer.Argument(help="A name of the zoo or ORG/MODEL.")]) -> None:
    """Download a model from the hub into its cache."""
    from stream.models.zoo import fetch  # noqa: PLC0415

    typer.echo(f"{name} lies in {fetch(name, progress=sys.stderr.isatty())}")


@config_app.command("show")
def config_show(*, preset: Preset = "compact", config: Config = None, settings: Set = None) -> None:
    """Print all settings as they stand, as JSON; secrets are masked."""
    typer.echo(settings_of(as_layer(settings=settings), preset=preset, config=config).model_dump_json(indent=2))


@config_app.command("check")
def config_check(file: Annotated[Path, typer.Argument(help="A TOML file.")], *, preset: Preset = "compact") -> None:
    """Say whether a file is good."""
    settings_of({}, preset=preset, config=file)
    typer.echo(f"{file} is good")


@config_app.command("schema")
def config_schema() -> None:
    """Print the settings' JSON Schema."""
    from stream.settings import Settings  # noqa: PLC0415

    typer.echo(json.dumps(Settings.model_json_schema(), indent=2))


@app.command()
def schema() -> None:
    """Print the JSON Schema of the events."""
    from stream.events import json_schema  # noqa: PLC0415

    typer.echo(json.dumps(json_schema(), indent=2))


app.command()(bench)
app.command()(doctor)


def _run(
    flags: Mapping[str, Any],
    *,
    preset: str,
    config: Path | None,
    quiet: bool,
    verbose: bool,
    page: bool = False,
    stay: bool = False,
) -> None:
    from stream.app.run import run_until_stopped  # noqa: PLC0415

    settings = settings_of(flags, preset=preset, config=config)
    log_to_stderr(settings, verbose=verbose)
    raise typer.Exit(run_until_stopped(settings, quiet=quiet, page=page, stay=stay))


def main() -> None:
    """The `tonewatch` command."""
    try:
        app()
    except SystemExit as end:
        leave_if_stuck(end.code if isinstance(end.code, int) else 1)
        raise
