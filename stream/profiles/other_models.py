"""Remedies for profiles without x-vectors of a run's speaker model: another preset, or a new enrolment."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from stream.profiles.profile import Profile
from stream.settings import DEFAULT_PRESET, presets_with_speaker


def recognising_presets(profiles: Iterable[Profile], *, besides: str) -> list[str]:
    """Return the presets whose speaker model computed x-vectors of these profiles, other than the model `besides`."""
    models = {model.name for profile in profiles for model in profile.models} - {besides}
    return sorted({preset for model in models for preset in presets_with_speaker(model)})


def run_advice(presets: Iterable[str]) -> str:
    """Return `run with ...` for these presets, or an empty text if there is none."""
    options = " or ".join(f"`--preset {preset}`" for preset in presets)
    return f"run with {options}" if options else ""


def enrolment_command(profile: Profile, *, preset: str) -> str:
    """Return the command that enrols a person again: from the files named as origin, else at the microphone."""
    files = dict.fromkeys(recording.origin for recording in profile.recordings if recording.kind == "file")
    origin = [word for file in files for word in ("--from", file)] or ["--microphone"]
    chosen = [] if preset == DEFAULT_PRESET else ["--preset", preset]
    return shlex.join(["tonewatch", "enroll", profile.name, *origin, *chosen])
