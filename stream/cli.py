"""The command line: `tonewatch demo`, `run`, `serve`, `dashboard`, `report` and those that look after the rest.

Owns what a person types and sees: options become the top layer of the settings, errors of our tree become one sentence
on standard error and an exit code, standard output carries events (or the live panel on a terminal) and nothing else.
Nothing heavy is imported before a command needs it, so that `--help` is quick.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stream import __version__
from stream.bench.commands import bench, doctor
from stream.dashboard.commands import report
from stream.errors import SettingsError, TonewatchError
from stream.evaluation.commands import app as evaluate_app
from stream.people.commands import app as profiles_app
from stream.people.commands import enroll as enroll_command
from stream.worker import leave_if_stuck


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
app.command("report")(report)
app.add_typer(evaluate_app, name="evaluate")
app.command("enroll")(enroll_command)
app.add_typer(profiles_app, name="profiles")

Preset = Annotated[str, typer.Option(help="compact, pretrained or wav2vec2: which models, with which windows.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file on top of the preset.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting, e.g. pool.workers=2.")]
Sinks = Annotated[
    list[str] | None,
    typer.Option("--sink", help="Where events go: stdout, FILE.ndjson, mqtt://HOST/PREFIX. May be given again."),
]
Emotion = Annotated[str | None, typer.Option(help="Emotion model: a zoo name, ORG/MODEL, a folder, or '' for none.")]
Speaker = Annotated[str | None, typer.Option(help="Speaker model, likewise.")]
Profiles = Annotated[
    str | None, typer.Option(metavar="FILE", help="The file of enrolled people, if not the usual one; '' for none.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No panel and no summary.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell more on standard error.")]


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
    from stream.demo import AUDIO  # noqa: PLC0415

    flags = _flags(emotion=emotion, speaker=speaker, sinks=sink, settings=settings)
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
    channels: Annotated[str | None, typer.Option(help="mix, split, or the number of one channel.")] = None,
    rate: Annotated[int | None, typer.Option(help="Raw PCM: frames a second.")] = None,
    pcm_channels: Annotated[int | None, typer.Option(help="Raw PCM: channels.")] = None,
    pcm_format: Annotated[str | None, typer.Option(help="Raw PCM: s16le or f32le.")] = None,
    enroll: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="Someone to know by name. May be given again.")
    ] = None,
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
    flags = _flags(emotion=emotion, speaker=speaker, profiles=profiles, sinks=sink, settings=settings)
    shared = {"channels": channels, "rate_hz": rate, "pcm_channels": pcm_channels, "pcm_format": pcm_format}
    given = {key: value for key, value in shared.items() if value is not None}
    if realtime:
        given["realtime"] = True
    if sources:
        flags["sources"] = [{**_source(text), **given} for text in sources]
    elif given:
        raise SettingsError(f"{', '.join(given)} on the command line needs a source there, too")
    if enroll:
        pairs = [_pair(text, "--enroll", "NAME=FILE") for text in enroll]
        flags.setdefault("speakers", {})["enrolled"] = dict(pairs)
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
    channels: Annotated[str | None, typer.Option(help="mix, split, or the number of one channel.")] = None,
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

    flags = _flags(settings=settings, sinks=sink)
    for key, given in (("dashboard.host", host), ("dashboard.port", port)):
        if given is not None:
            plant(flags, key, str(given))
    shared: dict[str, Any] = {"realtime": realtime} | ({"channels": channels} if channels else {})
    if mqtt is not None:
        from stream.session import show_remote  # noqa: PLC0415

        if sources or sink:
            raise SettingsError("with --mqtt the page only watches; leave sources and sinks to the nodes that publish")
        read = _load(flags, preset=preset, config=config)
        _log(read, verbose=verbose)
        raise typer.Exit(show_remote(read, mqtt))
    if sources:
        flags["sources"] = [{**_source(text), **shared} for text in sources]
    elif not _load(flags, preset=preset, config=config).sources:
        from stream.session import at_the_page, serve_until_stopped  # noqa: PLC0415

        read = _load(flags, preset=preset, config=config)
        _log(read, verbose=verbose)
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
    from stream.session import serve_until_stopped  # noqa: PLC0415
    from stream.settings import plant  # noqa: PLC0415

    flags = _flags(emotion=emotion, speaker=speaker, profiles=profiles, sinks=sink, settings=settings)
    for key, given in (("host", host), ("port", port), ("audiosocket_port", audiosocket_port)):
        if given is not None:
            plant(flags, f"serve.{key}", str(given))
    read = _load(flags, preset=preset, config=config)
    _log(read, verbose=verbose)
    raise typer.Exit(serve_until_stopped(read, quiet=quiet, page=dashboard))


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
    from stream.tables import models_table, print_table  # noqa: PLC0415

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
    typer.echo(_load(_flags(settings=settings), preset=preset, config=config).model_dump_json(indent=2))


@config_app.command("check")
def config_check(file: Annotated[Path, typer.Argument(help="A TOML file.")], *, preset: Preset = "compact") -> None:
    """Say whether a file is good."""
    _load({}, preset=preset, config=file)
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
    from stream.session import run_until_stopped  # noqa: PLC0415

    settings = _load(flags, preset=preset, config=config)
    _log(settings, verbose=verbose)
    raise typer.Exit(run_until_stopped(settings, quiet=quiet, page=page, stay=stay))


def _log(settings: Any, *, verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("tonewatch: %(message)s"))
    if settings.service.logs == "json":
        from stream.service.logs import JsonFormatter  # noqa: PLC0415

        handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


def _load(flags: Mapping[str, Any], *, preset: str, config: Path | None) -> Any:
    import os  # noqa: PLC0415

    from stream.settings import load  # noqa: PLC0415

    return load(preset=preset, config=config, environment=os.environ, flags=flags)


def _flags(
    *,
    settings: list[str] | None,
    emotion: str | None = None,
    speaker: str | None = None,
    profiles: str | None = None,
    sinks: list[str] | None = None,
) -> dict[str, Any]:
    """The command line as a layer of settings."""
    from stream.settings import layered, plant  # noqa: PLC0415

    flags = layered(settings or [])
    named = (
        ("models.emotion.name", emotion),
        ("models.speaker.name", speaker),
        ("speakers.profiles", profiles),
    )
    for key, given in named:
        if given is not None:
            plant(flags, key, given)
    if sinks:
        flags["sinks"] = sinks
    return flags


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not (separator and key):
        raise SettingsError(f"{option} takes {form}, not {text!r}")
    return key, value


def _source(text: str) -> dict[str, Any]:
    """`-`, `microphone`, `microphone:NAME`, `KIND:TARGET` of a plug-in, or a file."""
    from stream.registry import SOURCES, names  # noqa: PLC0415

    if text == "-":
        return {"kind": "pipe"}
    if text == "demo" and not Path(text).exists():
        from stream.demo import AUDIO  # noqa: PLC0415

        return {"kind": "file", "target": str(AUDIO), "id": "demo"}
    kind, _, target = text.partition(":")
    if kind in names(SOURCES) and not Path(text).exists():
        return {"kind": kind, "target": target}
    return {"kind": "file", "target": text}


def main() -> None:
    """The `tonewatch` command."""
    try:
        app()
    except SystemExit as end:
        leave_if_stuck(end.code if isinstance(end.code, int) else 1)
        raise
