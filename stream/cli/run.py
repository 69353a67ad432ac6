"""The commands that process live audio: `demo`, `run`, `serve` and `dashboard`.

Options become the top layer of the settings. Standard output carries events (or the live panel on a terminal) and
nothing else; messages go to standard error. Heavy modules are imported inside the commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

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
    demo_people,
    options_layer,
    read_settings,
)
from stream.errors import SettingsError
from stream.monitoring.logs import log_to_stderr

if TYPE_CHECKING:
    from stream.settings import Settings

Realtime = Annotated[bool, typer.Option("--realtime", help="Play in real time instead of as fast as possible.")]
Watch = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Process every recording put into a folder, once, until Ctrl-C."),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Process recordings on a Ray cluster, one a task: `local`, `auto`, HOST:PORT or ray://HOST:PORT.",
    ),
]
Results = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="With --watch or --cluster: folder of the results. Default: the same."),
]
WithReport = Annotated[bool, typer.Option("--report", help="With --watch or --cluster: also a report of each.")]


def demo(
    *,
    realtime: Realtime = False,
    sink: Sinks = None,
    emotion: Emotion = None,
    speaker: Speaker = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Also serve the dashboard (dashboard.port), until Ctrl-C.")
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Process the bundled conversation; needs no microphone, network or broker."""
    from stream.app.registry import demo_source  # noqa: PLC0415

    layer = options_layer(emotion=emotion, speaker=speaker, sinks=sink, settings=settings)
    layer["sources"] = [{**demo_source(), "realtime": realtime}]
    with demo_people(_read_settings(layer, preset=preset, config=config, verbose=verbose)) as read:
        _run(read, quiet=quiet, dashboard=dashboard, keep_dashboard=dashboard)


def run(
    *,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, `microphone`, `microphone:NAME`, an address (`rtsp://…`) or `-` (a pipe: raw PCM or a "
            "recording). Default: the settings' sources."
        ),
    ] = None,
    realtime: Realtime = False,
    watch: Watch = None,
    cluster: Cluster = None,
    results: Results = None,
    with_report: WithReport = False,
    live: Annotated[
        bool, typer.Option("--live", help="A pipe is live: the newest audio first, wall time by the clock.")
    ] = False,
    channels: Channels = None,
    rate: Annotated[int | None, typer.Option(help="Raw PCM: frames per second.")] = None,
    pcm_channels: Annotated[
        int | None, typer.Option(help="Raw PCM: channels. On a pipe `--channels NUMBER` means the same.")
    ] = None,
    pcm_format: Annotated[
        str | None, typer.Option("--format", "--pcm-format", help="Raw PCM: s16le, f32le, mulaw or alaw.")
    ] = None,
    enroll: Enroll = None,
    sink: Sinks = None,
    emotion: Emotion = None,
    speaker: Speaker = None,
    profiles: Profiles = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Also serve the dashboard (dashboard.port).")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Process microphones, files or raw PCM, one or several at once."""
    from stream.app.registry import parse_source  # noqa: PLC0415

    layer = options_layer(
        emotion=emotion, speaker=speaker, profiles=profiles, sinks=sink, settings=settings, enroll=enroll
    )
    options = {"channels": channels, "rate_hz": rate, "pcm_channels": pcm_channels, "pcm_format": pcm_format}
    shared: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    shared |= {name: True for name, given in (("realtime", realtime), ("live", live)) if given}
    if cluster:
        if watch is not None or sink or realtime or live or dashboard:
            raise SettingsError("--cluster writes files; leave out --watch, --sink, --realtime, --live and --dashboard")
        read = _read_settings(layer, preset=preset, config=config, verbose=verbose)
        _process_archive(read, cluster, sources or [], results, shared, with_report=with_report, quiet=quiet)
    if watch is not None:
        read = _read_settings(layer, preset=preset, config=config, verbose=verbose)
        _watch(read, watch, results or watch, shared, with_report=with_report, quiet=quiet, excluded=sources)
    if sources:
        layer["sources"] = [_with_options(parse_source(text), shared) for text in sources]
    elif shared:
        raise SettingsError(f"no source given for {', '.join(shared)}; name one on the command line")
    _run(_read_settings(layer, preset=preset, config=config, verbose=verbose), quiet=quiet, dashboard=dashboard)


def _watch(
    settings: Settings,
    folder: Path,
    results: Path,
    source: Mapping[str, Any],
    *,
    with_report: bool,
    quiet: bool,
    excluded: list[str] | None,
) -> NoReturn:
    from stream.tools.watch.watching import watch_until_stopped  # noqa: PLC0415

    if excluded:
        raise SettingsError(f"--watch processes a folder; leave out {', '.join(excluded)}")
    raise typer.Exit(
        watch_until_stopped(
            settings, folder=folder, results=results, source=source, with_report=with_report, quiet=quiet
        )
    )


def _process_archive(
    settings: Settings,
    address: str,
    paths: list[str],
    results: Path | None,
    source: Mapping[str, Any],
    *,
    with_report: bool,
    quiet: bool,
) -> NoReturn:
    from stream.tools.archive.archive import Archive  # noqa: PLC0415
    from stream.tools.archive.progress import process_with_progress  # noqa: PLC0415

    archive = Archive(paths, results=results, with_report=with_report)
    raise typer.Exit(process_with_progress(archive, settings, address, source, quiet=quiet))


def _with_options(source: dict[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return a source with the options; of a pipe `channels` as a number is how many it has."""
    channels = str(shared.get("channels", ""))
    if source["kind"] == "pipe" and channels.isdigit() and "pcm_channels" not in shared:
        shared = {**shared, "channels": "mix", "pcm_channels": channels}
    return {**source, **shared}


def dashboard(
    *,
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Sources to process, as for `run`; `demo` is the bundled conversation."),
    ] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(
            metavar="mqtt://HOST/PREFIX", help="Show what other nodes publish to a broker; process no audio here."
        ),
    ] = None,
    realtime: Realtime = False,
    channels: Channels = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; any but a loopback address needs a token.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: any free one.")] = None,
    sink: Sinks = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show streams and calls on a web page, until Ctrl-C."""
    layer = options_layer(settings=settings, sinks=sink, keys={"dashboard.host": host, "dashboard.port": port})
    if mqtt is not None:
        from stream.app.run import run_remote_dashboard  # noqa: PLC0415

        if sources or sink:
            raise SettingsError("--mqtt only shows what nodes publish; leave out sources and --sink")
        raise typer.Exit(
            run_remote_dashboard(_read_settings(layer, preset=preset, config=config, verbose=verbose), mqtt)
        )
    if sources:
        from stream.app.registry import parse_source  # noqa: PLC0415

        shared: dict[str, Any] = {"realtime": realtime} | ({"channels": channels} if channels else {})
        layer["sources"] = [{**parse_source(text), **shared} for text in sources]
    read = _read_settings(layer, preset=preset, config=config, verbose=verbose)
    if not read.sources:
        from stream.app.run import serve_at_dashboard, serve_until_stopped  # noqa: PLC0415

        raise typer.Exit(serve_until_stopped(serve_at_dashboard(read), quiet=quiet, dashboard=True, branch="dashboard"))
    _run(read, quiet=quiet, dashboard=True, keep_dashboard=True)


def serve(
    *,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; any but a loopback address needs a token.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port for WebSockets; 0: any free one.")] = None,
    audiosocket_port: Annotated[int | None, typer.Option(help="TCP port for Asterisk's AudioSocket.")] = None,
    wyoming_port: Annotated[
        int | None, typer.Option(help="TCP port for Home Assistant's speech-to-text; needs --wyoming-upstream.")
    ] = None,
    wyoming_upstream: Annotated[
        str | None,
        typer.Option(metavar="tcp://HOST:PORT", help="The Wyoming speech-to-text service behind --wyoming-port."),
    ] = None,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Also serve the dashboard on this port.")] = False,
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
    """Process audio from the network: browsers, telephone systems, Home Assistant, and clients of the protocol."""
    from stream.app.run import serve_until_stopped  # noqa: PLC0415

    layer = options_layer(
        emotion=emotion,
        speaker=speaker,
        profiles=profiles,
        sinks=sink,
        settings=settings,
        keys={
            "serve.host": host,
            "serve.port": port,
            "serve.audiosocket_port": audiosocket_port,
            "serve.wyoming_port": wyoming_port,
            "serve.wyoming_upstream": wyoming_upstream,
        },
    )
    read = _read_settings(layer, preset=preset, config=config, verbose=verbose)
    raise typer.Exit(serve_until_stopped(read, quiet=quiet, dashboard=dashboard))


def _read_settings(layer: Mapping[str, Any], *, preset: str, config: Path | None, verbose: bool) -> Settings:
    """Read the settings and set up logging as they say. Raises `SettingsError`."""
    settings = read_settings(layer, preset=preset, config=config)
    log_to_stderr(settings, verbose=verbose)
    return settings


def _run(settings: Settings, *, quiet: bool, dashboard: bool = False, keep_dashboard: bool = False) -> None:
    from stream.app.run import run_until_stopped  # noqa: PLC0415

    raise typer.Exit(run_until_stopped(settings, quiet=quiet, dashboard=dashboard, keep_dashboard=keep_dashboard))
