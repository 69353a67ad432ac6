"""`tonewatch evaluate`: emotion, speaker, conditions, identify, stream, ablation, mix, rooms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.evaluate_conversations import ablation, mix, rooms, stream
from stream.cli.evaluate_options import AsJson, Compare, Html, Model, Only, evaluation_settings
from stream.cli.options import Config, Preset, Set
from stream.errors import SettingsError
from stream.tools.evaluation import inputs, output
from stream.tools.evaluation.output import Results, print_results, progress_bar, require_libraries

if TYPE_CHECKING:
    from stream.tools.evaluation.corpora import Utterance, VerificationTrial
    from stream.tools.evaluation.runner import EvaluationRunner
    from stream.tools.evaluation.verification import SpeakerResult

app = typer.Typer(
    help="Evaluate models on labelled recordings, processed like live audio.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command()
def emotion(
    manifest: Annotated[Path, typer.Argument(help="A manifest.csv, or a folder in a known corpus's layout.")],
    *,
    only: Only = None,
    model: Model = None,
    compare: Compare = None,
    as_json: AsJson = False,
    html: Html = None,
    telephone: Annotated[
        bool, typer.Option("--telephone", help="Also through a telephone line: 300–3,400 Hz, 8 kHz, µ-law.")
    ] = False,
    changes: Annotated[
        bool, typer.Option("--changes", help="Also join recordings of one person: steadiness, time to see a change.")
    ] = False,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Evaluate emotion recognition: recall, F1, arousal, calibration, confusion, changes of the live label.

    Of recordings without a label, such as read speech or noise: the labels that they get.
    """
    with require_libraries():
        from stream.tools.evaluation import emotion_report, runner  # noqa: PLC0415
    corpora = inputs.utterance_groups(manifest, only)
    names, results = inputs.compared_models(model, compare), Results()
    for name, own in runner.runners("emotion", names, evaluation_settings(preset, config, settings)):
        report = emotion_report.EmotionReport(own, name, telephone=telephone, changes=changes)
        for corpus, utterances in corpora.items():
            report.add(corpus, utterances)
        results.figures[name] = report.figures
        results.sections += report.sections
    print_results(
        results,
        output.emotion_rows(results.figures),
        as_json=as_json,
        html=html,
        title="Emotion",
        note=str(manifest),
        further=output.emotion_tables(results.figures),
    )


@app.command()
def speaker(
    recordings: Annotated[
        Path, typer.Argument(help="A manifest.csv, a folder, or a list of trials (VoxCeleb's form).")
    ],
    *,
    only: Only = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the recordings in a list of trials.")] = None,
    join: Annotated[int, typer.Option(min=1, help="Join N recordings of one person (for single words).")] = 1,
    cohort: Annotated[
        Path | None, typer.Option(help="Recordings of other speakers for AS-norm. Default: the model's own cohort.")
    ] = None,
    speech: Annotated[
        list[float] | None,
        typer.Option(metavar="SECONDS", min=0.5, help="Score crops of this many seconds of speech only. Repeatable."),
    ] = None,
    model: Model = None,
    compare: Compare = None,
    as_json: AsJson = False,
    html: Html = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Evaluate speaker verification by seconds of speech: EER, minDCF, thresholds, reliability of probabilities."""
    with require_libraries():
        from stream.tools.evaluation import corpora, pages, runner, verification  # noqa: PLC0415
    is_list = corpora.is_trial_list(recordings)
    trials = corpora.read_trials(recordings, root=root) if is_list else []
    groups = {} if is_list else inputs.utterance_groups(recordings, only)
    utterances = [
        one for group in groups.values() for one in corpora.join_utterances([u for u in group if u.speaker], join)
    ]
    if not is_list and not utterances:
        lacks = "no speaker labels" if join == 1 else f"no speaker with {join} recordings"
        raise SettingsError(
            f"{recordings} has {lacks}; " + ("add a column `speaker`" if join == 1 else "reduce --join")
        )
    names, results = inputs.compared_models(model, compare), Results()
    for name, own in runner.runners("speaker", names, evaluation_settings(preset, config, settings)):
        result = _verify(name, own, trials, utterances, cohort=cohort, speech_s=speech)
        results.figures[name] = verification.figures(result)
        results.notes += [result.reliability_note] if result.reliability_note else []
        if html is not None:
            threshold = own.model_info("speaker").threshold
            results.sections += pages.verification_sections(name, result, results.figures[name], threshold=threshold)
    rows = output.verification_rows(results.figures)
    print_results(
        results,
        rows,
        as_json=as_json,
        html=html,
        title="Speaker verification",
        note=str(recordings),
        further={output.RELIABILITY_HEADING: output.reliability_rows(results.figures)},
    )


def _verify(
    name: str,
    runner: EvaluationRunner,
    trials: list[VerificationTrial],
    utterances: list[Utterance],
    *,
    cohort: Path | None,
    speech_s: list[float] | None,
) -> SpeakerResult:
    """Score a list of trials, or all pairs of utterances if there is none."""
    from stream.tools.evaluation import verification  # noqa: PLC0415

    others = inputs.load_cohort(runner, cohort)
    if trials:
        with progress_bar(f"{name}: recordings", len({one for t in trials for one in (t.enrolment, t.test)})) as step:
            return verification.trial_pairs(runner, trials, cohort=others, progress=step)
    with progress_bar(f"{name}: speech", len(utterances)) as step:
        speech = verification.extract_speech(runner, utterances, progress=step)
    durations_s = speech_s or verification.DURATIONS_S
    with progress_bar(f"{name}: x-vectors", len({one.corpus for one in speech}) * len(durations_s)) as step:
        return verification.all_pairs(runner, speech, cohort=others, durations_s=durations_s, progress=step)


@app.command()
def conditions(
    recordings: Annotated[Path, typer.Argument(help="Recordings of single speakers: a manifest.csv or a folder.")],
    *,
    only: Only = None,
    join: Annotated[int, typer.Option(min=1, help="Join N recordings of one person (for single words).")] = 1,
    noise: Annotated[Path | None, typer.Option(help="Folder of noise recordings, such as music.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed of rooms and noise.")] = 1,
    model: Model = None,
    compare: Compare = None,
    as_json: AsJson = False,
    html: Html = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Evaluate verification by enrolment, distance in a room, telephone, babble and noise."""
    with require_libraries():
        from stream.tools.evaluation import conditions, corpora, report, runner, verification  # noqa: PLC0415
        from stream.types import Task  # noqa: PLC0415
    groups = inputs.utterance_groups(recordings, only).values()
    utterances = [one for own in groups for one in corpora.join_utterances([u for u in own if u.speaker], join)]
    noises = [runner.read_samples(path) for path in inputs.audio_files(noise, recursive=True)] if noise else []
    names, results, rows = inputs.compared_models(model, compare), Results(), list[dict[str, Any]]()
    for name, own in runner.runners("speaker", names, evaluation_settings(preset, config, settings)):
        with progress_bar(f"{name}: speech", len(utterances)) as step:
            speech = verification.extract_speech(own, utterances, progress=step)
        with progress_bar(f"{name}: conditions", conditions.count(noises)) as step:
            found = conditions.conditions(own.model(Task.SPEAKER), speech, noises, seed=seed, progress=step)
        results.figures[name] = {row.pop("condition"): row for row in [dict(one) for one in found]}
        rows += [{"model": name, **row} for row in found]
        results.sections.append(report.Section(name, (found,)))
    print_results(results, rows, as_json=as_json, html=html, title="Conditions", note=str(recordings))


@app.command()
def identify(
    manifest: Annotated[Path, typer.Argument(help="Recordings of speakers that are labels of the model.")],
    *,
    only: Only = None,
    model: Model = None,
    compare: Compare = None,
    as_json: AsJson = False,
    html: Html = None,
    preset: Preset = "wav2vec2",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Evaluate the closed-set accuracy of an identification model."""
    with require_libraries():
        from stream.tools.evaluation import identification, runner  # noqa: PLC0415
        from stream.tools.evaluation.report import Section  # noqa: PLC0415
    utterances = [one for group in inputs.utterance_groups(manifest, only).values() for one in group]
    names, results = inputs.compared_models(model, compare), Results()
    for name, own in runner.runners("identity", names, evaluation_settings(preset, config, settings)):
        with progress_bar(name, len(utterances)) as step:
            result = identification.evaluate(own, utterances, progress=step)
        results.figures[name] = identification.figures(result)
    rows = [{"model": name, **found} for name, found in results.figures.items()]
    results.sections.append(Section("Accuracy", (rows,)))
    print_results(results, rows, as_json=as_json, html=html, title="Speaker identification", note=str(manifest))


for _command in (stream, ablation, mix, rooms):
    app.command()(_command)
