"""The command `tonewatch calibrate`. What loads models is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.options import Config, Preset, Profiles, Set, Speaker, as_layer, profiles_path, settings_of
from stream.errors import SettingsError

if TYPE_CHECKING:
    from stream.profiles.profile import EnrolledRecording, Profile
    from stream.tools.calibration.threshold import ThresholdResult
    from stream.tools.enrolment.enrolment import EnrolmentModels


def calibrate(
    *,
    microphone: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Listen to somebody who is enrolled, as a test; it is not stored."),
    ] = None,
    device: Annotated[str, typer.Option(help="Which microphone: its name or number; else the default one.")] = "",
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also a page with pictures.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Forget what was found: the model's own again.")] = False,
    profiles: Profiles = None,
    speaker: Speaker = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Measure how well the enrolled people are told apart, and keep the threshold that follows with their profiles."""
    read = settings_of(as_layer(settings=settings, speaker=speaker, profiles=profiles), preset=preset, config=config)
    from stream.profiles.store import ProfileStore, profiles_in  # noqa: PLC0415

    path = profiles_path(read)
    people = profiles_in(path)
    if not people:
        raise SettingsError(f"nobody is enrolled in {path}; `tonewatch enroll NAME --from FILE` begins")
    from stream.tools.enrolment.enrolment import EnrolmentModels  # noqa: PLC0415 - torch, from here on

    ears = EnrolmentModels(read)
    if clear:
        with ProfileStore(path) as store:
            store.clear_calibration(ears.ref)
        typer.echo(f"{ears.ref.name} goes by its own calibration again")
        return
    tests = [] if microphone is None else [(microphone, _listen(microphone, device, people, ears))]
    verdict = _judged(people, ears, tests)
    _tell(verdict, ears, html=html)
    if verdict.calibration is None:
        raise SettingsError(f"no threshold is named: {verdict.refusal}")
    _keep(verdict, ears, path)


def _judged(
    people: Sequence[Profile], ears: EnrolmentModels, tests: Sequence[tuple[str, EnrolledRecording]]
) -> ThresholdResult:
    """Raises `SettingsError` where the model has heard nobody."""
    from stream.tools.calibration.scores import scores  # noqa: PLC0415
    from stream.tools.calibration.threshold import judge  # noqa: PLC0415

    if not any(profile.of(ears.ref) for profile in people):
        raise SettingsError(
            f"{ears.ref.name} {ears.ref.revision} has heard none of the {len(people)} people; enrol them with it"
        )
    own = ears.scorer.calibration
    return judge(scores(people, ears.model.info, extra=tests), reliability_s=own.reliability_s)


def _listen(name: str, device: str, people: Sequence[Profile], ears: EnrolmentModels) -> EnrolledRecording:
    """Somebody at the microphone, now. Raises `SettingsError` or `TonewatchError`."""
    import asyncio  # noqa: PLC0415

    from stream.tools.enrolment.guide import MicrophoneEnrolment  # noqa: PLC0415

    if not any(profile.name == name and profile.of(ears.ref) for profile in people):
        known = ", ".join(profile.name for profile in people if profile.of(ears.ref))
        raise SettingsError(f"{ears.ref.name} knows no {name!r}; it knows {known or 'nobody'}")
    try:
        (taken,) = asyncio.run(MicrophoneEnrolment(device).listen(ears))
    except KeyboardInterrupt:
        typer.echo("tonewatch: broken off; nothing was changed", err=True)
        raise typer.Exit(130) from None
    if not taken.take.exemplars:
        raise SettingsError(f"there were {taken.take.speech_s:.1f} s of speech, too little to test with; try again")
    return taken.take.recording(kind=taken.kind, origin=taken.origin)


def _tell(verdict: ThresholdResult, ears: EnrolmentModels, *, html: Path | None) -> None:
    from rich.console import Console  # noqa: PLC0415

    from stream.tools.calibration import display  # noqa: PLC0415

    own = ears.scorer.calibration
    note = (
        f"{verdict.people} people, {len(verdict.genuine)} genuine and {len(verdict.impostor)} impostor scores "
        f"({verdict.strangers} of strangers) by {ears.ref.name} {ears.ref.revision}"
    )
    typer.echo(note)
    display.show(verdict, own, Console(highlight=False))
    for remark in verdict.remarks:
        typer.echo(f"note: {remark}")
    if html is not None:
        display.write(html, verdict, own, title="Calibration", note=note)
        typer.echo(f"wrote {html}")


def _keep(verdict: ThresholdResult, ears: EnrolmentModels, path: Path) -> None:
    from stream.profiles.profile import FittedCalibration  # noqa: PLC0415
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    found, curve = verdict.calibration, verdict.trade_off
    assert found is not None  # noqa: S101 - kept only where there is one
    assert curve is not None  # noqa: S101
    with ProfileStore(path) as store:
        store.set_calibration(
            FittedCalibration(
                model=ears.ref,
                weights=(found.slope, found.threshold, found.reliability_s),
                threshold=verdict.threshold,
                genuine=len(verdict.genuine),
                impostor=len(verdict.impostor),
            )
        )
    typer.echo(f"threshold {verdict.threshold:.3f} (equal error rate {curve.eer:.1%}) is kept with the profiles")
