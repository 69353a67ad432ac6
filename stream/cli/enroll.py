"""The command `tonewatch enroll`. Models are imported when they are needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.options import Config, Preset, Profiles, Set, Speaker, options_layer, profiles_path, read_settings
from stream.errors import SettingsError

if TYPE_CHECKING:
    from stream.tools.enrolment.enrolment import EnrolmentResult


def enroll(
    name: Annotated[str, typer.Argument(help="Name of the person.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="Further recordings.")] = None,
    *,
    recordings: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="FILE", help="Recording of this person alone. Repeatable."),
    ] = None,
    microphone: Annotated[bool, typer.Option("--microphone", help="Record at the microphone, with guidance.")] = False,
    device: Annotated[str, typer.Option(help="Name or number of the microphone. Default: the system's.")] = "",
    allow_similar: Annotated[
        bool, typer.Option("--allow-similar", help="Enrol although the voice is enrolled under another name.")
    ] = False,
    note: Annotated[str | None, typer.Option(help="Consent of the person, with its date.")] = None,
    profiles: Profiles = None,
    speaker: Speaker = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Enrol a person from recordings or at the microphone. A voice is biometric data: ask the person first."""
    paths = [*(recordings or []), *(more or [])]
    if microphone == bool(paths) or (device and not microphone):
        raise SettingsError("name either recordings (--from FILE) or --microphone; --device needs --microphone")
    from stream.profiles.profile import checked_name, checked_note  # noqa: PLC0415

    name = checked_name(name)
    if note is not None:
        checked_note(note)
    merged = read_settings(
        options_layer(settings=settings, speaker=speaker, profiles=profiles), preset=preset, config=config
    )
    path = profiles_path(merged)
    from stream.profiles.store import read_profiles  # noqa: PLC0415
    from stream.tools.enrolment import enrolment  # noqa: PLC0415 - torch, from here on
    from stream.tools.enrolment.guide import MicrophoneEnrolment  # noqa: PLC0415

    read_profiles(path)  # an unusable database is reported before anything is recorded
    source = MicrophoneEnrolment(device) if microphone else enrolment.FileEnrolment(paths)
    try:
        result = enrolment.enrol(
            name,
            source,
            models=enrolment.EnrolmentModels(merged),
            path=path,
            note=note,
            confirm=lambda issue: allow_similar or _confirm(issue),
        )
    except KeyboardInterrupt:
        typer.echo("tonewatch: cancelled; nothing was stored", err=True)
        raise typer.Exit(130) from None
    _report(result)


def _confirm(issue: str) -> bool:
    """Ask on a terminal whether to enrol in spite of `issue`."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    typer.echo(f"tonewatch: {issue}", err=True)
    return typer.confirm("Are these two people?", default=False, err=True)


def _report(result: EnrolmentResult) -> None:
    """Print what was stored, and warnings about similar and dissimilar voices."""
    speech_s = sum(recording.speech_s for recording in result.recordings)
    vectors = sum(len(recording.exemplars) for recording in result.recordings)
    model = result.recordings[0].model
    typer.echo(
        f"Enrolled {result.name}: {speech_s:.1f} s of speech, {vectors} x-vectors of {model.name} {model.revision}"
    )
    if result.unlike_before:
        typer.echo(
            f"tonewatch: the voice differs from earlier recordings of {result.name}; check that both are one person",
            err=True,
        )
    for other in result.similar:
        typer.echo(
            f"tonewatch: the voice is very similar to {other}; if both are one person, combine them with "
            "`tonewatch profiles merge`",
            err=True,
        )
