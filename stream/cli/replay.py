"""The command `tonewatch replay`. What hears and draws is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
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
    as_layer,
    settings_of,
    source_of,
)
from stream.errors import SettingsError
from stream.monitoring.logs import log_to_stderr

if TYPE_CHECKING:
    from stream.events import Event

EVENTS = (".ndjson", ".jsonl")
"""Endings of files that hold events and not sound."""


def replay(
    file: Annotated[
        str, typer.Argument(help="A recording, `demo`, or events that were recorded (FILE.ndjson: no model runs then).")
    ],
    *,
    explain: Annotated[bool, typer.Option("--explain", help="Print every decision and why.")] = False,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Show from here: seconds or MM:SS.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Show up to here.")] = None,
    fold: Annotated[bool, typer.Option(help="Equal decisions in a row are one line.")] = True,
    plot: Annotated[Path | None, typer.Option(help="Also draw it: FILE.html (with the log), .png or .svg.")] = None,
    rttm: Annotated[Path | None, typer.Option(help="Who really spoke when, to show beside it.")] = None,
    only: Annotated[str | None, typer.Option("--source", help="Only this stream or call.")] = None,
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
    """Go through a recording as if it were live, as fast as it goes, and show who was told when, and why."""
    from rich.console import Console  # noqa: PLC0415

    from stream.tools.evaluation.segments import read_rttm  # noqa: PLC0415
    from stream.tools.replay.display import DisplayPart, heard_of, show, show_account  # noqa: PLC0415
    from stream.tools.replay.plot import SUFFIXES, write  # noqa: PLC0415

    part, reference = DisplayPart.of(since, until), read_rttm(rttm) if rttm is not None else None
    if plot is not None and plot.suffix not in SUFFIXES:
        raise SettingsError(f"--plot draws {', '.join(SUFFIXES)}, not {plot.name}")
    if plot is not None and not plot.parent.is_dir():
        raise SettingsError(f"{plot} cannot be made: there is no folder {plot.parent}")
    code = 0
    if Path(file).suffix in EVENTS:
        given = {
            "--channels": channels,
            "--enroll": enroll,
            "--emotion": emotion,
            "--speaker": speaker,
            "--profiles": profiles,
            "--config": config,
            "--set": settings,
        }
        events = _recorded(Path(file), [option for option, value in given.items() if value is not None])
    else:
        layer = as_layer(settings=settings, emotion=emotion, speaker=speaker, enroll=enroll, profiles=profiles)
        layer["sources"] = [_recording(file) | ({"channels": channels} if channels is not None else {})]
        read = settings_of(layer, preset=preset, config=config)
        log_to_stderr(read, verbose=verbose)
        from stream.tools.replay.run import hear  # noqa: PLC0415

        events, code = hear(read)
    console = Console(highlight=False)
    heard = heard_of(events, fold=fold, only=only, reference=reference)
    show(heard, part=part, explain=explain, console=console)
    if heard:
        show_account(events, console)
    if plot is not None and heard:
        write(plot, heard)
        console.print(f"wrote {plot}")
    raise typer.Exit(code)


def _recorded(file: Path, not_for_events: Sequence[str]) -> list[Event]:
    """Events of a file. Raises `SettingsError`, also where options were given that only a model's run could heed."""
    from stream.tools.report.html import read_file  # noqa: PLC0415

    if not_for_events:
        raise SettingsError(f"{file} holds events that models have made already; leave out {', '.join(not_for_events)}")
    events = list(read_file(file))
    if not events:
        raise SettingsError(f"{file} holds no event; record some with --sink {file.name}")
    return events


def _recording(text: str) -> dict[str, Any]:
    source = source_of(text)
    if source["kind"] != "file":
        raise SettingsError(f"{text} is no recording; listen to it with `tonewatch run {text}`")
    return source
