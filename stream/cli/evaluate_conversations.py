"""`tonewatch evaluate`: commands on conversations (stream, ablation, mix, rooms)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stream.cli.evaluate_options import (
    AsJson,
    Audio,
    Collar,
    Compare,
    Html,
    Known,
    Model,
    Only,
    Overlap,
    Rttm,
    Uem,
    evaluation_settings,
)
from stream.cli.options import Config, Preset, Set
from stream.tools.evaluation import inputs, output
from stream.tools.evaluation.output import Results, print_results, progress_bar, require_libraries


def stream(
    audio: Audio,
    *,
    rttm: Rttm,
    uem: Uem = None,
    enroll: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Enrol NAME (as in the reference) from FILE. Repeatable."),
    ] = None,
    known: Known = False,
    collar: Collar = 0.25,
    overlap: Overlap = True,
    model: Model = None,
    compare: Compare = None,
    as_json: AsJson = False,
    html: Html = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Evaluate diarization: DER, JER, speaker count, wait for the correct name, false names, label changes, latency."""
    with require_libraries():
        from stream.tools.evaluation import diarization, pages, runner, segments  # noqa: PLC0415
    reference, scored = segments.read_rttm(rttm), segments.read_uem(uem) if uem is not None else {}
    files = inputs.find_recordings(audio, reference)
    people = dict(inputs.parse_enrolment(text) for text in enroll or [])
    names, results = inputs.compared_models(model, compare), Results()
    for name, own in runner.runners("speaker", names, evaluation_settings(preset, config, settings)):
        with progress_bar(name, len(files)) as step:
            recordings = diarization.evaluate(
                own,
                files,
                reference,
                scored=scored,
                people=lambda path: people | inputs.enrolment_files(path) if known else people,
                collar_s=collar,
                overlap=overlap,
                progress=step,
            )
        results.figures[name] = {"all": diarization.summary(recordings), "recordings": diarization.rows(recordings)}
        if html is not None:
            results.sections.append(pages.diarization_section(name, recordings, results.figures[name]))
    rows = output.diarization_rows(results.figures)
    print_results(results, rows, as_json=as_json, html=html, title="Diarization", note=str(rttm))


def ablation(
    audio: Audio,
    *,
    rttm: Rttm,
    uem: Uem = None,
    known: Known = False,
    collar: Collar = 0.25,
    overlap: Overlap = True,
    model: Model = None,
    as_json: AsJson = False,
    html: Html = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Evaluate the speaker tracker without each of its parts, beside a plain baseline; embeds each recording once."""
    with require_libraries():
        from stream.tools.evaluation import (  # noqa: PLC0415
            ablation,
            cached,
            runner,
            segments,
        )
        from stream.tools.evaluation.report import Section  # noqa: PLC0415
    reference, scored = segments.read_rttm(rttm), segments.read_uem(uem) if uem is not None else {}
    files = inputs.find_recordings(audio, reference)
    [(name, own)] = runner.runners("speaker", (model,), evaluation_settings(preset, config, settings))
    embedded = []
    with progress_bar(name, len(files)) as step:
        for path in files:
            people = inputs.enrolment_files(path) if known else {}
            embedded.append(cached.embed_recording(own, path, reference[path.stem], scored.get(path.stem), people))
            step()
    figures = ablation.run_ablation(
        embedded, settings=own.settings, model=own.model_info("speaker"), collar_s=collar, overlap=overlap
    )
    rows = [{"part": part, **{key: row.get(key) for key in ablation.FIGURES}} for part, row in figures.items()]
    results = Results(figures, [Section(name, (rows,))])
    print_results(results, rows, as_json=as_json, html=html, title="Ablation", note=str(rttm))


def mix(
    manifest: Annotated[Path, typer.Argument(help="Recordings of single speakers: a manifest.csv or a folder.")],
    folder: Annotated[Path, typer.Argument(help="Output folder.")],
    *,
    only: Only = None,
    speakers: Annotated[Path | None, typer.Option(help="File with the names of the speakers to use.")] = None,
    noise: Annotated[Path | None, typer.Option(help="Folder of noise recordings.")] = None,
    conversations: Annotated[int, typer.Option(min=1, help="Number of conversations.")] = 10,
    people: Annotated[str, typer.Option(help="People per conversation: 5, or 2-5.")] = "5",
    enrolled: Annotated[int, typer.Option(min=0, help="Enrolled people per conversation.")] = 3,
    seconds: Annotated[float, typer.Option(min=10, help="Duration of each conversation.")] = 180.0,
    overlap: Annotated[float, typer.Option(min=0, max=1, help="Share of turns that overlap the previous one.")] = 0.08,
    seed: Annotated[int, typer.Option(help="Random seed; equal seeds give equal conversations.")] = 1,
    rooms: Annotated[
        int | None, typer.Option(min=2, max=20, help="One person walks through this many rooms, for `evaluate rooms`.")
    ] = None,
) -> None:
    """Mix conversations with exact reference from recordings of single speakers, for `evaluate stream --known`."""
    with require_libraries():
        from stream.tools.evaluation import mixing, walks  # noqa: PLC0415
        from stream.tools.evaluation.runner import read_samples  # noqa: PLC0415
    counts = inputs.parse_range(people)
    utterances = [one for group in inputs.utterance_groups(manifest, only).values() for one in group]
    if speakers is not None:
        names = set(inputs.read_words(speakers))
        utterances = [one for one in utterances if one.speaker in names]
    pool = mixing.SpeakerPool(utterances)
    noises = [read_samples(path) for path in inputs.audio_files(noise, recursive=True)] if noise is not None else []
    plan = mixing.MixturePlan(seconds=seconds, enrolled=enrolled, overlap=overlap)
    if rooms is not None:
        with progress_bar("walks", conversations) as step:
            mixed = walks.mix_walks(pool, noises, plan, rooms=rooms, count=conversations, seed=seed, progress=step)
        walks.write(mixed, folder)
        typer.echo(f"Wrote {conversations} walks of {seconds:g} s through {rooms} rooms and rooms.rttm to {folder}")
        return
    with progress_bar("conversations", conversations) as step:
        mixtures = mixing.mix_all(pool, noises, plan, people=counts, count=conversations, seed=seed, progress=step)
    mixing.write(mixtures, folder)
    typer.echo(f"Wrote {conversations} conversations of {seconds:g} s and reference.rttm to {folder}")


def rooms(
    folder: Annotated[Path, typer.Argument(help="Folder that `evaluate mix --rooms` wrote.")],
    *,
    model: Model = None,
    as_json: AsJson = False,
    html: Html = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """Evaluate room arbitration: the share of a walking person's speech that is put into the right room."""
    with require_libraries():
        from stream.tools.evaluation import room_accuracy, runner, segments, walks  # noqa: PLC0415
        from stream.tools.evaluation.report import Section  # noqa: PLC0415
    reference, results = segments.read_rttm(folder / walks.REFERENCE), Results()
    [(name, own)] = runner.runners("speaker", (model,), evaluation_settings(preset, config, settings))
    with progress_bar(name, len(reference)) as step:
        found = room_accuracy.evaluate(own, folder, reference, progress=step)
    rows = [{"walk": "all", **room_accuracy.summary(found)}]
    results.figures = {"all": rows[0], "walks": [{"walk": one.name, **room_accuracy.summary([one])} for one in found]}
    results.sections.append(Section(name, (rows, results.figures["walks"])))
    figures = [{"figure": key, name: value} for key, value in rows[0].items() if key != "walk"]
    print_results(results, figures, as_json=as_json, html=html, title="Rooms", note=str(folder))
