"""The command `tonewatch replay`. Pipeline and drawing are imported only when it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.options import (
    Channels,
    Config,
    Emotion,
    Enroll,
    Preset,
    Profiles,
    Set,
    Speaker,
    Verbose,
    demo_people,
    options_layer,
    read_settings,
)
from stream.errors import SettingsError
from stream.monitoring.logs import log_to_stderr

if TYPE_CHECKING:
    from stream.events import Event
    from stream.settings import Settings
    from stream.tools.evaluation.segments import Segment
    from stream.tools.replay.display import DisplayPart

EVENT_SUFFIXES = (".ndjson", ".jsonl")
"""Suffixes of files that contain events instead of audio."""


def replay(
    file: Annotated[
        str, typer.Argument(help="A recording, `demo`, or recorded events (FILE.ndjson, which are not recomputed).")
    ],
    *,
    explain: Annotated[bool, typer.Option("--explain", help="Print every decision with its reason.")] = False,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Start of the displayed part: seconds or MM:SS.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="End of the displayed part.")] = None,
    fold: Annotated[bool, typer.Option(help="Merge consecutive equal decisions into one line.")] = True,
    plot: Annotated[Path | None, typer.Option(help="Also draw FILE.html (with the log), .png or .svg.")] = None,
    rttm: Annotated[Path | None, typer.Option(help="Reference segments to show beside the result.")] = None,
    only: Annotated[str | None, typer.Option("--source", help="Show only this stream or call.")] = None,
    channels: Channels = None,
    enroll: Enroll = None,
    emotion: Emotion = None,
    speaker: Speaker = None,
    profiles: Profiles = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
    verbose: Verbose = False,
) -> None:
    """Process a recording like live audio, as fast as possible, and show the decisions with their reasons."""
    from stream.app.registry import demo_source  # noqa: PLC0415
    from stream.tools.evaluation.segments import read_rttm  # noqa: PLC0415
    from stream.tools.replay.display import DisplayPart  # noqa: PLC0415

    part, reference = DisplayPart.of(since, until), read_rttm(rttm) if rttm is not None else None
    _check_plot(plot)
    options = {"emotion": emotion, "speaker": speaker, "enroll": enroll, "profiles": profiles, "settings": settings}
    if Path(file).suffix in EVENT_SUFFIXES:
        given = {"channels": channels, **options, "config": config}
        events, code = _read_events(Path(file), [name for name, value in given.items() if value is not None]), 0
    else:
        layer = options_layer(settings=settings, emotion=emotion, speaker=speaker, enroll=enroll, profiles=profiles)
        layer["sources"] = [_file_source(file) | ({"channels": channels} if channels is not None else {})]
        read = read_settings(layer, preset=preset, config=config)
        is_demo = layer["sources"] == [demo_source()]
        with demo_people(read) if is_demo else nullcontext(read) as used:
            events, code = _run(used, verbose=verbose)
    _show(events, part=part, reference=reference, fold=fold, only=only, explain=explain, plot=plot)
    raise typer.Exit(code)


def _check_plot(plot: Path | None) -> None:
    """Raise `SettingsError` for a file that could not be drawn after a long run."""
    from stream.tools.replay.plot import SUFFIXES  # noqa: PLC0415

    if plot is not None and plot.suffix not in SUFFIXES:
        raise SettingsError(f"cannot draw {plot.name!r}; --plot takes {', '.join(SUFFIXES)}")
    if plot is not None and not plot.parent.is_dir():
        raise SettingsError(f"{plot} cannot be written: folder {plot.parent} does not exist; create it")


def _read_events(file: Path, given: Sequence[str]) -> list[Event]:
    """Read recorded events. Raises `SettingsError`, also if options were given that only a run of models uses."""
    from stream.tools.report import read_events  # noqa: PLC0415

    if given:
        options = ", ".join("--set" if name == "settings" else f"--{name}" for name in given)
        raise SettingsError(f"{file} contains events that are already computed; omit {options}")
    events = list(read_events(file))
    if not events:
        raise SettingsError(f"{file} has no events; record some with --sink {file.name}")
    return events


def _file_source(text: str) -> dict[str, Any]:
    from stream.app.registry import parse_source  # noqa: PLC0415

    source = parse_source(text)
    if source["kind"] != "file":
        raise SettingsError(f"{text!r} is not a recording; process it with `tonewatch run {text}`")
    return source


def _run(settings: Settings, *, verbose: bool) -> tuple[list[Event], int]:
    log_to_stderr(settings, verbose=verbose)
    from stream.tools.replay.run import run_replay  # noqa: PLC0415

    return run_replay(settings)


def _show(
    events: Sequence[Event],
    *,
    part: DisplayPart,
    reference: Mapping[str, Sequence[Segment]] | None,
    fold: bool,
    only: str | None,
    explain: bool,
    plot: Path | None,
) -> None:
    """Print the streams and the summary, and draw the plot if requested."""
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from stream.events.text import printable  # noqa: PLC0415
    from stream.tools.replay.display import print_streams, print_summary, replayed_streams  # noqa: PLC0415
    from stream.tools.replay.plot import write_plot  # noqa: PLC0415

    console = Console(highlight=False)
    streams = replayed_streams(events, fold=fold, only=only, reference=reference)
    print_streams(streams, part=part, explain=explain, console=console)
    if streams:
        print_summary(events, console)
    if plot is not None and streams:
        write_plot(plot, streams)
        console.print(Text(f"Wrote {printable(str(plot))}"))
