"""`tonewatch enroll` and `tonewatch profiles`. What loads models is imported when it is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.options import Config, Preset, Profiles, Set, Speaker, as_layer, profiles_path, settings_of
from stream.errors import SettingsError

if TYPE_CHECKING:
    from stream.profiles.profile import Profile
    from stream.settings import Settings

app = typer.Typer(help="The people who are enrolled.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="Somebody who is enrolled.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def enroll(
    name: Annotated[str, typer.Argument(help="What the person is called.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="Further recordings.")] = None,
    *,
    recordings: Annotated[
        list[Path] | None, typer.Option("--from", metavar="FILE", help="A recording of them alone. May be given again.")
    ] = None,
    microphone: Annotated[bool, typer.Option("--microphone", help="Listen to them now, and guide them.")] = False,
    device: Annotated[str, typer.Option(help="Which microphone: its name or number; else the default one.")] = "",
    note: Annotated[str | None, typer.Option(help="What they agreed to, and when.")] = None,
    profiles: Profiles = None,
    speaker: Speaker = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Know somebody by name, from recordings or at the microphone. A voice is biometric data: ask the person first."""
    paths = [*(recordings or []), *(more or [])]
    if microphone == bool(paths) or (device and not microphone):
        raise SettingsError("name recordings with --from FILE, or --microphone (and --device), one of the two")
    from stream.profiles.profile import checked_name, checked_note  # noqa: PLC0415

    name = checked_name(name)
    if note is not None:
        checked_note(note)
    read = _settings(profiles, speaker=speaker, preset=preset, config=config, settings=settings)
    path = profiles_path(read)
    from stream.profiles.store import profiles_in  # noqa: PLC0415
    from stream.tools.enrolment import enrolment  # noqa: PLC0415 - torch, from here on
    from stream.tools.enrolment.guide import MicrophoneEnrolment  # noqa: PLC0415

    profiles_in(path)  # a file that cannot be used is said before anybody speaks
    source = MicrophoneEnrolment(device) if microphone else enrolment.FileEnrolment(paths)
    try:
        found = enrolment.enrol(name, source, ears=enrolment.EnrolmentModels(read), path=path, note=note)
    except KeyboardInterrupt:
        typer.echo("tonewatch: broken off; nothing was stored", err=True)
        raise typer.Exit(130) from None
    speech_s = sum(recording.speech_s for recording in found.recordings)
    vectors = sum(len(recording.exemplars) for recording in found.recordings)
    model = found.recordings[0].model
    typer.echo(f"{name} is enrolled: {speech_s:.1f} s of speech, {vectors} x-vectors of {model.name} {model.revision}")
    if found.unlike_before:
        typer.echo(f"tonewatch: this sounds unlike the {name} who was enrolled; was it somebody else?", err=True)
    for other in found.alike:
        typer.echo(
            f"tonewatch: {other} sounds very much like this; if they are one person, `tonewatch profiles merge` makes "
            "one of the two",
            err=True,
        )


@app.command("list")
def list_(
    *,
    as_json: AsJson = False,
    profiles: Profiles = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Who is enrolled: exemplars, seconds, models, dates, note."""
    from stream.profiles.store import profiles_in  # noqa: PLC0415

    path = profiles_path(_settings(profiles, preset=preset, config=config, settings=settings))
    rows = [_row(profile) for profile in profiles_in(path)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        typer.echo(f"nobody is enrolled in {path}; `tonewatch enroll NAME --microphone` begins", err=True)
        return
    from stream.tools.tables import print_table  # noqa: PLC0415

    print_table([{**row, "models": ", ".join(row["models"])} for row in rows])


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A recording of one person.")],
    *,
    as_json: AsJson = False,
    profiles: Profiles = None,
    speaker: Speaker = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Say whose voice a recording holds; the exit code is 1 if nobody's who is enrolled."""
    read = _settings(profiles, speaker=speaker, preset=preset, config=config, settings=settings)
    from stream.tools.enrolment import enrolment  # noqa: PLC0415

    verdict = enrolment.verify(file, ears=enrolment.EnrolmentModels(read), path=profiles_path(read))
    typer.echo(json.dumps(verdict.as_dict(), indent=2, ensure_ascii=False) if as_json else verdict.sentence())
    if verdict.name is None:
        raise typer.Exit(1)


@app.command()
def rename(
    name: Name,
    new: Annotated[str, typer.Argument(help="What they are called from now on.")],
    *,
    profiles: Profiles = None,
    config: Config = None,
) -> None:
    """Call somebody otherwise."""
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    with ProfileStore(profiles_path(_settings(profiles, config=config))) as store:
        store.rename(name, new)
    typer.echo(f"{name} is {new} from now on")


@app.command()
def merge(
    name: Name,
    into: Annotated[str, typer.Argument(help="Who they are in truth.")],
    *,
    profiles: Profiles = None,
    config: Config = None,
) -> None:
    """Make one of two profiles of the same person; the second name stays."""
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    with ProfileStore(profiles_path(_settings(profiles, config=config))) as store:
        store.merge(name, into)
    typer.echo(f"{name} is {into} from now on")


@app.command("export")
def export_(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not be there yet.")],
    names: Annotated[list[str] | None, typer.Argument(help="Whom; everybody if not given.")] = None,
    *,
    profiles: Profiles = None,
    config: Config = None,
) -> None:
    """Write profiles into a JSON file that only you can read."""
    from stream.profiles import transfer  # noqa: PLC0415
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    with ProfileStore(profiles_path(_settings(profiles, config=config))) as store:
        people = [store.profile(name) for name in dict.fromkeys(names)] if names else list(store.profiles())
    if not people:
        raise SettingsError("nobody is enrolled, so there is nothing to export")
    transfer.write(file, people)
    typer.echo(f"wrote {len(people)} of the people who are enrolled into {file}; it holds biometric data")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A file `export` wrote.")],
    *,
    profiles: Profiles = None,
    config: Config = None,
) -> None:
    """Take profiles from a file, all or none."""
    from stream.profiles import transfer  # noqa: PLC0415
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    people = transfer.read(file)
    with ProfileStore(profiles_path(_settings(profiles, config=config)), create=True) as store:
        store.restore(people)
    typer.echo(f"took {len(people)} people from {file}")


@app.command()
def delete(
    names: Annotated[list[str], typer.Argument(help="Whom to forget.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    profiles: Profiles = None,
    config: Config = None,
) -> None:
    """Forget people for good: nothing of them is left in the file."""
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    with ProfileStore(profiles_path(_settings(profiles, config=config))) as store:
        for name in names:
            store.profile(name)
        if not yes:
            typer.confirm(f"Forget {', '.join(names)} for good?", abort=True, err=True)
        store.delete(*names)
    typer.echo(f"forgot {', '.join(names)}; running nodes know them until they are told `reload` or restarted")


def _row(profile: Profile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "exemplars": sum(len(recording.exemplars) for recording in profile.recordings),
        "speech_s": round(sum(recording.speech_s for recording in profile.recordings), 1),
        "models": [f"{model.name} {model.revision}" for model in profile.models],
        "created": f"{profile.created:%Y-%m-%d %H:%M}",
        "updated": f"{profile.updated:%Y-%m-%d %H:%M}",
        "note": profile.note,
    }


def _settings(
    profiles: str | None,
    *,
    speaker: str | None = None,
    preset: str = "compact",
    config: Path | None = None,
    settings: list[str] | None = None,
) -> Settings:
    return settings_of(as_layer(settings=settings, speaker=speaker, profiles=profiles), preset=preset, config=config)
