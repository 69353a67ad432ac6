"""The command `tonewatch calibrate`, of voices and of emotion. Models are imported when they are needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.evaluate_options import Model, Only
from stream.cli.options import Config, Preset, Profiles, Set, Speaker, options_layer, profiles_path, read_settings
from stream.errors import SettingsError

if TYPE_CHECKING:
    from stream.profiles.profile import EnrolledRecording, Profile
    from stream.tools.calibration.emotion_fit import EmotionFit
    from stream.tools.calibration.threshold import ThresholdResult
    from stream.tools.enrolment.enrolment import EnrolmentModels


app = typer.Typer(invoke_without_command=True, add_completion=False)


@app.callback()
def calibrate(
    context: typer.Context,
    *,
    microphone: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Record NAME at the microphone as a test; nothing is stored."),
    ] = None,
    device: Annotated[str, typer.Option(help="Name or number of the microphone. Default: the system's.")] = "",
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write an HTML page with charts.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Delete the fitted calibration.")] = False,
    profiles: Profiles = None,
    speaker: Speaker = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Measure how well enrolled people are separated, and store the fitted threshold with the profiles.

    `tonewatch calibrate emotion` fits an emotion model to labelled recordings of your own.
    """
    if context.invoked_subcommand is not None:
        return
    merged = read_settings(
        options_layer(settings=settings, speaker=speaker, profiles=profiles), preset=preset, config=config
    )
    from stream.profiles.store import ProfileStore, read_profiles  # noqa: PLC0415

    path = profiles_path(merged)
    enrolled = read_profiles(path)
    if not enrolled:
        raise SettingsError(f"no profiles in {path}; add one with `tonewatch enroll NAME --from FILE`")
    from stream.tools.enrolment.enrolment import EnrolmentModels  # noqa: PLC0415 - torch, from here on

    models = EnrolmentModels(merged, audio=microphone is not None)
    if clear:
        with ProfileStore(path) as store:
            store.clear_calibration(models.ref)
        typer.echo(f"Cleared the calibration of {models.ref.name}")
        return
    tests = [] if microphone is None else [(microphone, _record_test(microphone, device, enrolled, models))]
    result = _measure(enrolled, models, tests)
    _print(result, models, html=html)
    if result.calibration is None:
        raise SettingsError(f"no threshold set: {result.refusal}")
    _store(result, models, path)


def _measure(
    profiles: Sequence[Profile], models: EnrolmentModels, tests: Sequence[tuple[str, EnrolledRecording]]
) -> ThresholdResult:
    """Score all profiles of the model and fit a threshold. Raises `SettingsError` without such a profile."""
    from stream.tools.calibration.scores import score_profiles  # noqa: PLC0415
    from stream.tools.calibration.threshold import find_threshold  # noqa: PLC0415

    if not any(profile.recordings_by(models.ref) for profile in profiles):
        raise SettingsError(
            f"none of the {len(profiles)} profiles has x-vectors of {models.ref.name} {models.ref.revision}; "
            "enrol again with this model"
        )
    trials = score_profiles(profiles, models.model.info, tests=tests)
    return find_threshold(trials, reliability_s=models.scorer.calibration.reliability_s)


def _record_test(name: str, device: str, profiles: Sequence[Profile], models: EnrolmentModels) -> EnrolledRecording:
    """Record an enrolled person at the microphone. Raises `SettingsError` or another `TonewatchError`."""
    import asyncio  # noqa: PLC0415

    from stream.tools.enrolment.guide import MicrophoneEnrolment  # noqa: PLC0415

    names = [profile.name for profile in profiles if profile.recordings_by(models.ref)]
    if name not in names:
        raise SettingsError(f"no profile {name!r} of {models.ref.name}; available: {', '.join(names) or 'none'}")
    try:
        (take,) = asyncio.run(MicrophoneEnrolment(device).record(models))
    except KeyboardInterrupt:
        typer.echo("tonewatch: cancelled; nothing was changed", err=True)
        raise typer.Exit(130) from None
    if not take.audio.exemplars:
        raise SettingsError(f"{take.audio.speech_s:.1f} s of speech, too little for a test; try again")
    return take.audio.recording(kind=take.kind, origin=take.origin)


def _print(result: ThresholdResult, models: EnrolmentModels, *, html: Path | None) -> None:
    from rich.console import Console  # noqa: PLC0415

    from stream.tools.calibration import display  # noqa: PLC0415

    own = models.scorer.calibration
    note = (
        f"{result.profiles} profiles, {len(result.genuine)} genuine and {len(result.impostor)} impostor scores "
        f"({result.cohort_scores} from the cohort) with {models.ref.name} {models.ref.revision}"
    )
    typer.echo(note)
    display.print_result(result, own, Console(highlight=False))
    for remark in result.remarks:
        typer.echo(f"note: {remark}")
    if html is not None:
        display.write_page(html, result, own, title="Calibration", note=note)
        typer.echo(f"Wrote {html}")


def _store(result: ThresholdResult, models: EnrolmentModels, path: Path) -> None:
    from stream.profiles.profile import FittedCalibration  # noqa: PLC0415
    from stream.profiles.store import ProfileStore  # noqa: PLC0415

    fitted, curve = result.calibration, result.trade_off
    assert fitted is not None  # noqa: S101 - stored only where there is one
    assert curve is not None  # noqa: S101
    with ProfileStore(path) as store:
        store.set_calibration(
            FittedCalibration(
                model=models.ref,
                weights=(fitted.slope, fitted.threshold, fitted.reliability_s),
                threshold=result.threshold,
                genuine=len(result.genuine),
                impostor=len(result.impostor),
            )
        )
    typer.echo(f"Stored threshold {result.threshold:.3f} (equal error rate {curve.eer:.1%}) with the profiles")


@app.command("emotion")
def calibrate_emotion(
    manifest: Annotated[Path, typer.Argument(help="Labelled recordings: a manifest.csv with path, emotion, speaker.")],
    *,
    only: Only = None,
    model: Model = None,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a TOML file for --config; it must not exist.")
    ] = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Fit temperature and biases of an emotion model on recordings of your own; nothing is stored without --write."""
    from stream.tools.evaluation.output import progress_bar, require_libraries  # noqa: PLC0415

    if write is not None and write.exists():
        raise SettingsError(f"{write} exists; name another file, or delete it")
    with require_libraries():
        from stream.tools.calibration.emotion_fit import fit  # noqa: PLC0415
        from stream.tools.evaluation import inputs, runner  # noqa: PLC0415
        from stream.tools.evaluation.emotion import evaluate  # noqa: PLC0415
    from stream.settings import EmotionCalibrationSettings  # noqa: PLC0415

    utterances = [one for group in inputs.utterance_groups(manifest, only).values() for one in group if one.emotion]
    if not utterances:
        raise SettingsError(f"{manifest} has no emotion labels; add a column `emotion`")
    merged = read_settings(options_layer(settings=settings), preset=preset, config=config)
    plain = merged.emotion.model_copy(update={"calibration": EmotionCalibrationSettings()})
    ((name, own),) = runner.runners("emotion", [model], merged.model_copy(update={"emotion": plain}))
    with progress_bar(name, len(utterances)) as step:
        fitted = fit(evaluate(own, utterances, progress=step))
    if fitted.before:
        typer.echo(f"{fitted.recordings} recordings with {name}; people or recordings left out in turn:")
        for label, figures in (("as it is", fitted.before), ("calibrated", fitted.after)):
            typer.echo(f"  {label}: recall {figures['recall']:.2f}, calibration error {figures['ece']:.3f}")
    if fitted.refusal:
        raise SettingsError(f"no calibration: {fitted.refusal}")
    text = _emotion_toml(name, fitted)
    if write is None:
        typer.echo(f"\n{text}")
        return
    write.write_text(text, encoding="utf-8")
    typer.echo(f"Wrote {write}; use it with --config {write}")


def _emotion_toml(model: str, fitted: EmotionFit) -> str:
    bias = ", ".join(f"{json.dumps(label)} = {value:.3f}" for label, value in fitted.bias.items())
    return (
        f"[emotion.calibration]\nmodel = {json.dumps(model)}\ntemperature = {fitted.temperature:.3f}\n"
        f"bias = {{ {bias} }}\n"
    )
