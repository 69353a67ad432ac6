"""The command line: `tonewatch demo`, `run`, `devices`, `models`, `config`, `schema`, `bench`, `doctor`.

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
from stream.errors import SettingsError, TonewatchError


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

Preset = Annotated[str, typer.Option(help="compact, pretrained or wav2vec2: which models, with which windows.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file on top of the preset.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting, e.g. pool.workers=2.")]
Sinks = Annotated[
    list[str] | None,
    typer.Option("--sink", help="Where events go: stdout, FILE.ndjson, mqtt://HOST/PREFIX. May be given again."),
]
Emotion = Annotated[str | None, typer.Option(help="Emotion model: a zoo name, ORG/MODEL, a folder, or '' for none.")]
Speaker = Annotated[str | None, typer.Option(help="Speaker model, likewise.")]
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
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Listen to microphones, files or raw PCM, one or several at once."""
    flags = _flags(emotion=emotion, speaker=speaker, sinks=sink, settings=settings)
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
    _run(flags, preset=preset, config=config, quiet=quiet, verbose=verbose)


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


@app.command()
def bench(
    *,
    runs: Annotated[int, typer.Option(min=1, help="Runs; medians are printed.")] = 3,
    realtime: Annotated[bool, typer.Option("--realtime", help="Paced runs: true latencies, but slow.")] = False,
    channels: Annotated[bool, typer.Option("--channels", help="How many live sources this machine sustains.")] = False,
    bound_ms: Annotated[float, typer.Option(min=1, help="--channels: the bound of the 95th percentile.")] = 300,
    seconds: Annotated[float, typer.Option(min=1, help="--channels: how long each number is tried.")] = 10,
    most: Annotated[int, typer.Option(min=1, help="--channels: the largest number tried.")] = 512,
    model: Annotated[
        list[str] | None, typer.Option(help="A pretrained model to time, ours against transformers. Again for more.")
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="Pretrained models at full size without a download; all, or --model."),
    ] = False,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="--model: windows a batch. Again for more.")] = None,
    window: Annotated[float, typer.Option(min=0.5, max=30, help="--model: seconds a window.")] = 3.0,
    dtype: Annotated[str, typer.Option(help="--model: auto, float32, bfloat16 or int8.")] = "auto",
    device: Annotated[str, typer.Option(help="--model: auto, cpu, cuda or mps.")] = "auto",
    bfloat16: Annotated[
        bool | None, typer.Option("--bfloat16/--no-bfloat16", help="--model: time transformers in bfloat16, too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Measure this machine: the demo, or how many live sources it sustains, or the pretrained models."""
    from stream.bench import report  # noqa: PLC0415

    if dtype not in (known := ("auto", "float32", "bfloat16", "int8")):
        raise SettingsError(f"--dtype takes {', '.join(known)}, not {dtype!r}")
    if model or random_weights:
        report.models(
            model or [],
            random_weights=random_weights,
            batches=batch or [1, 4],
            window_s=window,
            runs=runs,
            dtype=dtype,
            device=device,
            bfloat16=bfloat16,
            as_json=as_json,
        )
        return
    tree = _load(_flags(settings=settings), preset=preset, config=config)
    if channels:
        report.channels(tree, bound_ms=bound_ms, seconds_s=seconds, most=most, as_json=as_json)
    else:
        report.corridor(tree, runs=runs, realtime=realtime, as_json=as_json)


@app.command()
def doctor(
    *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False, preset: Preset = "compact"
) -> None:
    """Say what this machine has and what tonewatch makes of it: devices, types, threads, packages, microphones."""
    from stream.bench.doctor import examine  # noqa: PLC0415
    from stream.tables import print_table  # noqa: PLC0415

    found = examine(_load({}, preset=preset, config=None))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        print_table([{"what": key, "found": value} for key, value in found.items()])


def _run(flags: Mapping[str, Any], *, preset: str, config: Path | None, quiet: bool, verbose: bool) -> None:
    from stream.session import run_until_stopped  # noqa: PLC0415

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="tonewatch: %(message)s", stream=sys.stderr
    )
    code = run_until_stopped(_load(flags, preset=preset, config=config), quiet=quiet)
    raise typer.Exit(code)


def _load(flags: Mapping[str, Any], *, preset: str, config: Path | None) -> Any:
    import os  # noqa: PLC0415

    from stream.settings import load  # noqa: PLC0415

    return load(preset=preset, config=config, environment=os.environ, flags=flags)


def _flags(
    *,
    settings: list[str] | None,
    emotion: str | None = None,
    speaker: str | None = None,
    sinks: list[str] | None = None,
) -> dict[str, Any]:
    """The command line as a layer of settings."""
    flags: dict[str, Any] = {}
    for text in settings or []:
        key, value = _pair(text, "--set", "KEY=VALUE")
        _plant(flags, key, value)
    for key, given in (("models.emotion.name", emotion), ("models.speaker.name", speaker)):
        if given is not None:
            _plant(flags, key, given)
    if sinks:
        flags["sinks"] = sinks
    return flags


def _plant(tree: dict[str, Any], key: str, value: Any) -> None:
    from stream.settings import typed  # noqa: PLC0415

    *branches, leaf = path = key.split(".")
    for branch in branches:
        if not isinstance(tree.get(branch), dict):
            tree[branch] = {}  # what comes later wins
        tree = tree[branch]
    tree[leaf] = typed(path, value)


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
    kind, _, target = text.partition(":")
    if kind in names(SOURCES) and not Path(text).exists():
        return {"kind": kind, "target": target}
    return {"kind": "file", "target": text}


def main() -> None:
    """The `tonewatch` command."""
    app()
