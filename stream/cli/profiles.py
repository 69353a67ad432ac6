"""The commands `tonewatch profiles`. Models are imported when they are needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.options import Config, Preset, Profiles, Set, Speaker, options_layer, profiles_path, read_settings
from stream.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.profiles.profile import Profile
    from stream.settings import Settings

app = typer.Typer(help="Manage profiles of enrolled people.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="Name of the profile.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    *,
    as_json: AsJson = False,
    profiles: Profiles = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """List profiles: exemplars, seconds of speech, models, dates, note; and those the model does not recognise."""
    from stream.profiles.store import read_profiles  # noqa: PLC0415

    merged = _settings(profiles, preset=preset, config=config, settings=settings)
    path = profiles_path(merged)
    found = read_profiles(path)
    rows = [_row(profile) for profile in found]
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        typer.echo(f"no profiles in {path}; add one with `tonewatch enroll NAME --microphone`", err=True)
        return
    from stream.tools.tables import print_table  # noqa: PLC0415

    print_table([{**row, "models": ", ".join(row["models"])} for row in rows])
    for line in _unrecognised(found, model=merged.models.speaker.name, preset=preset):
        typer.echo(line, err=True)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="Recording of one person.")],
    *,
    as_json: AsJson = False,
    profiles: Profiles = None,
    speaker: Speaker = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Find the profile that matches a recording; the exit code is 1 without a match."""
    merged = _settings(profiles, speaker=speaker, preset=preset, config=config, settings=settings)
    from stream.tools.enrolment import enrolment  # noqa: PLC0415

    result = enrolment.verify(file, models=enrolment.EnrolmentModels(merged), path=profiles_path(merged))
    typer.echo(json.dumps(result.as_dict(), indent=2, ensure_ascii=False) if as_json else result.message())
    if result.name is None:
        raise typer.Exit(1)


@app.command()
def rename(
    name: Name,
    new: Annotated[str, typer.Argument(help="New name.")],
    *,
    profiles: Profiles = None,
    config: Config = None,
) -> None:
    """Rename a profile."""
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    with ProfileStore(profiles_path(_settings(profiles, config=config))) as store:
        store.rename(name, new)
    typer.echo(f"Renamed {name} to {new}")


@app.command()
def merge(
    name: Name,
    into: Annotated[str, typer.Argument(help="Profile that is kept.")],
    *,
    profiles: Profiles = None,
    config: Config = None,
) -> None:
    """Combine two profiles of one person; the second name is kept."""
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    with ProfileStore(profiles_path(_settings(profiles, config=config))) as store:
        store.merge(name, into)
    typer.echo(f"Merged {name} into {into}")


@app.command("export")
def export_(
    file: Annotated[Path, typer.Argument(help="File to write; it must not exist.")],
    names: Annotated[list[str] | None, typer.Argument(help="Profiles to export. Default: all.")] = None,
    *,
    profiles: Profiles = None,
    config: Config = None,
) -> None:
    """Write profiles to a JSON file that only its owner can read."""
    from stream.profiles import transfer  # noqa: PLC0415
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    path = profiles_path(_settings(profiles, config=config))
    with ProfileStore(path) as store:
        selected = [store.profile(name) for name in dict.fromkeys(names)] if names else list(store.profiles())
    if not selected:
        raise SettingsError(f"no profiles in {path}, nothing to export; name another file with --profiles FILE")
    transfer.write(file, selected)
    typer.echo(f"Exported {_count(selected)} to {file} (biometric data)")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="File written by `tonewatch profiles export`.")],
    *,
    profiles: Profiles = None,
    config: Config = None,
) -> None:
    """Add profiles from an exported file, all or none."""
    from stream.profiles import transfer  # noqa: PLC0415
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    imported = transfer.read(file)
    with ProfileStore(profiles_path(_settings(profiles, config=config)), create=True) as store:
        store.restore(imported)
    typer.echo(f"Imported {_count(imported)} from {file}")


@app.command()
def delete(
    names: Annotated[list[str], typer.Argument(help="Profiles to delete.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")] = False,
    profiles: Profiles = None,
    config: Config = None,
) -> None:
    """Delete profiles permanently, with the calibration fitted on them; the file keeps no trace."""
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    with ProfileStore(profiles_path(_settings(profiles, config=config))) as store:
        for name in names:
            store.profile(name)
        if not yes:
            typer.confirm(f"Delete {', '.join(names)} permanently?", abort=True, err=True)
        fitted = store.delete(*names)
    typer.echo(f"Deleted {', '.join(names)}. Running nodes keep them until `reload` or a restart")
    for model in fitted:
        typer.echo(
            f"Deleted the calibration of {model.name}, which was fitted on them; "
            "run `tonewatch calibrate` for a new one"
        )


def _count(profiles: Sequence[Profile]) -> str:
    return f"{len(profiles)} profile{'s' if len(profiles) != 1 else ''}"


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


def _unrecognised(profiles: Sequence[Profile], *, model: str, preset: str) -> list[str]:
    """Describe the profiles without x-vectors of `model`, and what to do: a heading, and a command for each."""
    from stream.profiles.other_models import enrolment_command, recognising_presets, run_advice  # noqa: PLC0415

    others = [profile for profile in profiles if model not in {one.name for one in profile.models}]
    if not model or not others:
        return []
    advice = run_advice(recognising_presets(others, besides=model))
    names = ", ".join(profile.name for profile in others)
    return [
        f"not recognised with {model}, since x-vectors of different models are not comparable: {names}",
        f"{advice}, or enrol again:" if advice else "enrol again:",
        *(f"  {enrolment_command(profile, preset=preset)}" for profile in others),
    ]


def _settings(
    profiles: str | None,
    *,
    speaker: str | None = None,
    preset: str = "compact",
    config: Path | None = None,
    settings: list[str] | None = None,
) -> Settings:
    return read_settings(
        options_layer(settings=settings, speaker=speaker, profiles=profiles), preset=preset, config=config
    )
