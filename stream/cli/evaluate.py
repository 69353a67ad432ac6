"""`tonewatch evaluate`: emotion, speaker, identify, stream, ablation, mix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from stream.cli.options import Config, Preset, Set, as_layer, settings_of
from stream.errors import SettingsError
from stream.tools.evaluation import inputs
from stream.tools.evaluation.output import bar, brief, felt, flat, give, science

if TYPE_CHECKING:
    from stream.tools.evaluation.report import Section
    from stream.tools.evaluation.runner import EvaluationRunner

app = typer.Typer(
    help="Measure models on labelled recordings, the way live sound goes.", no_args_is_help=True, add_completion=False
)
Found = TypeVar("Found")

Model = Annotated[str | None, typer.Option(help="The model: a zoo name, ORG/MODEL or a folder.")]
Compare = Annotated[
    tuple[str, str] | None, typer.Option(metavar="A B", help="Two models on the same recordings, in one run.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Figures as JSON on standard output.")]
Html = Annotated[Path | None, typer.Option(metavar="FILE", help="Also a page with tables and pictures.")]
Only = Annotated[list[str] | None, typer.Option(metavar="SET", help="Only this corpus of the manifest (may repeat).")]
Audio = Annotated[list[Path], typer.Argument(help="Recordings, or a folder of them; names as in the reference.")]
Rttm = Annotated[Path, typer.Option(help="Who spoke when.")]
Uem = Annotated[Path | None, typer.Option(help="The scored part of each recording.")]
Known = Annotated[bool, typer.Option("--known", help="Everybody in a recording's folder (PERSON.flac) is known.")]
Collar = Annotated[float, typer.Option(min=0, help="Seconds left out on each side of a boundary.")]
Overlap = Annotated[bool, typer.Option(help="Score stretches where several speak.")]


@app.command()
def emotion(
    manifest: Annotated[Path, typer.Argument(help="A manifest.csv, or a folder in a known corpus's layout.")],
    *,
    only: Only = None,
    model: Model = None,
    compare: Compare = None,
    as_json: AsJson = False,
    html: Html = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """How well emotions are told: recall, F1, calibration, confusion, the rolling label's flicker."""
    with science():
        from stream.tools.evaluation import emotion as ruler  # noqa: PLC0415
        from stream.tools.evaluation import plots  # noqa: PLC0415
        from stream.tools.evaluation.report import Section  # noqa: PLC0415
    groups = inputs.groups(manifest, only)
    found: dict[str, dict[str, Any]] = {}
    sections: list[Section] = []
    for name, ears in _each("emotion", _asked(model, compare), preset=preset, config=config, settings=settings):
        figures = found[name] = {}
        for corpus, utterances in groups.items():
            if not any(utterance.emotion for utterance in utterances):
                continue
            with bar(f"{name}: {corpus}", len(utterances)) as step:
                result = ruler.evaluate(ears, utterances, progress=step)
            figures[corpus] = ruler.figures(result)
            if html is not None and figures[corpus]["scored"]:
                pictures = (plots.confusion_matrix(result, corpus), plots.reliability_diagram(result, corpus))
                row = flat(figures[corpus], ("by_speaker", "recall", "left_out"))
                people = [{"speaker": who, **one} for who, one in figures[corpus]["by_speaker"].items()]
                sections.append(Section(f"{name} on {corpus}", ([row], [figures[corpus]["recall"]], people), pictures))
        if not figures:
            raise SettingsError(f"{manifest} labels no emotion")
    rows = [
        {"model": name, "corpus": corpus, "utterances": one["utterances"], **felt(one)}
        for name, figures in found.items()
        for corpus, one in figures.items()
    ]
    give(found, rows, sections, as_json=as_json, html=html, title="Emotion", note=str(manifest))


@app.command()
def speaker(
    recordings: Annotated[
        Path, typer.Argument(help="A manifest.csv, a folder, or a list of trials (VoxCeleb's form).")
    ],
    *,
    only: Only = None,
    root: Annotated[Path | None, typer.Option(help="Where a list's recordings lie.")] = None,
    join: Annotated[int, typer.Option(min=1, help="Join that many recordings of one person (single words).")] = 1,
    cohort: Annotated[
        Path | None,
        typer.Option(help="Recordings of strangers for AS-norm; else the model's own cohort, if it has one."),
    ] = None,
    model: Model = None,
    compare: Compare = None,
    as_json: AsJson = False,
    html: Html = None,
    preset: Preset = "compact",
    config: Config = None,
    settings: Set = None,
) -> None:
    """How well two voices are told apart: EER, minDCF, thresholds, by seconds of speech, with and without AS-norm."""
    with science():
        from stream.tools.evaluation import corpora, plots, verification  # noqa: PLC0415
        from stream.tools.evaluation.report import Section  # noqa: PLC0415
    is_list = corpora.is_trial_list(recordings)
    trials = corpora.trials(recordings, root=root) if is_list else []
    groups = {} if is_list else inputs.groups(recordings, only)
    utterances = [one for group in groups.values() for one in corpora.joined([u for u in group if u.speaker], join)]
    if not is_list and not utterances:
        lacks = "names no speaker" if join == 1 else f"names no speaker with {join} recordings; join fewer"
        raise SettingsError(f"{recordings} {lacks}")
    found: dict[str, dict[str, Any]] = {}
    sections: list[Section] = []
    for name, ears in _each("speaker", _asked(model, compare), preset=preset, config=config, settings=settings):
        strangers = inputs.cohort(ears, cohort)
        if is_list:
            with bar(f"{name}: recordings", len({one for t in trials for one in (t.enrolment, t.test)})) as step:
                result = verification.trial_pairs(ears, trials, cohort=strangers, progress=step)
        else:
            with bar(f"{name}: speech", len(utterances)) as step:
                voiced = verification.listen(ears, utterances, progress=step)
            steps = len({one.corpus for one in voiced}) * len(verification.DURATIONS_S)
            with bar(f"{name}: x-vectors", steps) as step:
                result = verification.all_pairs(ears, voiced, cohort=strangers, progress=step)
        found[name] = verification.figures(result)
        if html is not None:
            for corpus, curves in result.pairs.items():
                rows = [{"speech, s": d, **flat(row, ())} for d, row in found[name]["corpora"][corpus].items()]
                whole = curves["all"] if "all" in curves else next(iter(curves.values()))
                threshold = ears.model_info("speaker").threshold
                pictures = (
                    plots.det(curves, corpus),
                    plots.distributions(whole.same.tolist(), whole.different.tolist(), threshold, corpus),
                )
                sections.append(Section(f"{name} on {corpus}", (rows,), pictures))
    rows = [
        {"model": name, "corpus": corpus, "speech, s": duration, **brief(row)}
        for name, one in found.items()
        for corpus, durations in one["corpora"].items()
        for duration, row in durations.items()
    ]
    give(found, rows, sections, as_json=as_json, html=html, title="Speaker verification", note=str(recordings))


@app.command()
def identify(
    manifest: Annotated[Path, typer.Argument(help="Recordings of people the model knows, by its own labels.")],
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
    """Closed-set accuracy of an identification model."""
    with science():
        from stream.tools.evaluation import identification  # noqa: PLC0415
        from stream.tools.evaluation.report import Section  # noqa: PLC0415
    utterances = [one for group in inputs.groups(manifest, only).values() for one in group]
    found: dict[str, dict[str, Any]] = {}
    for name, ears in _each("identity", _asked(model, compare), preset=preset, config=config, settings=settings):
        with bar(name, len(utterances)) as step:
            found[name] = identification.figures(identification.evaluate(ears, utterances, progress=step))
    rows = [{"model": name, **one} for name, one in found.items()]
    sections = [Section("Accuracy", (rows,))]
    give(found, rows, sections, as_json=as_json, html=html, title="Speaker identification", note=str(manifest))


@app.command()
def stream(
    audio: Audio,
    *,
    rttm: Rttm,
    uem: Uem = None,
    enroll: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="Someone known by name, as in the reference.")
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
    """Who spoke when: DER, JER, speaker count, time to the right name, false names, flicker, latency."""
    with science():
        from stream.tools.evaluation import diarization, plots, segments  # noqa: PLC0415
        from stream.tools.evaluation.report import Section  # noqa: PLC0415
    reference = segments.read_rttm(rttm)
    scored = segments.read_uem(uem) if uem is not None else {}
    files = inputs.recordings(audio, reference)
    people = dict(inputs.enrolment(text) for text in enroll or [])
    found: dict[str, dict[str, Any]] = {}
    sections: list[Section] = []
    for name, ears in _each("speaker", _asked(model, compare), preset=preset, config=config, settings=settings):
        with bar(name, len(files)) as step:
            if known:
                cast = [people | {file.stem: str(file) for file in inputs.people_of(path)} for path in files]
                events = [ears.hear([f], enrolled=ears.enrolled(c), progress=step)[0][0]
                          for f, c in zip(files, cast, strict=True)]  # fmt: skip
            else:
                cast = [people] * len(files)
                events, _ = ears.hear(files, enrolled=ears.enrolled(people), progress=step)
        told = []
        for path, heard, theirs in zip(files, events, cast, strict=True):
            spoken = tuple(reference[path.stem])
            until_s = max([segment.end_s for segment in spoken] + [event.end_s for event in heard])
            start_s, end_s = scored.get(path.stem, (0.0, until_s))
            case = diarization.Case(path.stem, spoken, tuple(heard), start_s, end_s, frozenset(theirs))
            told.append(diarization.judge(case, collar_s=collar, overlap=overlap))
        found[name] = {"all": diarization.summary(told), "recordings": diarization.rows(told)}
        if html is not None:
            rows = [{"recording": key, **row} for key, row in diarization.rows(told).items()]
            pictures = tuple(plots.timeline(one) for one in told)
            sections.append(Section(name, ([found[name]["all"]], rows), pictures))
    rows = [{"figure": key, **{name: one["all"][key] for name, one in found.items()}}
            for key in next(iter(found.values()))["all"]]  # fmt: skip
    give(found, rows, sections, as_json=as_json, html=html, title="Who spoke when", note=str(rttm))


@app.command()
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
    """What each part of the speaker tracker buys, beside a plain baseline; every recording is embedded once."""
    with science():
        from stream.tools.evaluation import ablation as ruler  # noqa: PLC0415
        from stream.tools.evaluation import cached, segments  # noqa: PLC0415
        from stream.tools.evaluation.report import Section  # noqa: PLC0415
    reference = segments.read_rttm(rttm)
    scored = segments.read_uem(uem) if uem is not None else {}
    files = inputs.recordings(audio, reference)
    [(name, ears)] = _each("speaker", (model,), preset=preset, config=config, settings=settings)
    with bar(name, len(files)) as step:
        heard = []
        for path in files:
            cast = {file.stem: str(file) for file in inputs.people_of(path)} if known else {}
            heard.append(cached.hear(ears, path, reference[path.stem], scored.get(path.stem), cast))
            step()
    found = ruler.ablation(
        heard, settings=ears.settings, model=ears.model_info("speaker"), collar_s=collar, overlap=overlap
    )
    rows = [{"part": part, **{key: row.get(key) for key in ruler.FIGURES}} for part, row in found.items()]
    give(found, rows, [Section(name, (rows,))], as_json=as_json, html=html, title="What each part buys", note=str(rttm))


@app.command()
def mix(
    manifest: Annotated[Path, typer.Argument(help="Recordings of single people: a manifest.csv or a folder.")],
    folder: Annotated[Path, typer.Argument(help="Where the conversations go.")],
    *,
    only: Only = None,
    speakers: Annotated[Path | None, typer.Option(help="A file that names the people to take, one a line.")] = None,
    noise: Annotated[Path | None, typer.Option(help="A folder of noises.")] = None,
    conversations: Annotated[int, typer.Option(min=1, help="How many.")] = 10,
    people: Annotated[str, typer.Option(help="How many people in each: 5, or 2-5.")] = "5",
    enrolled: Annotated[int, typer.Option(min=0, help="How many of them are known.")] = 3,
    seconds: Annotated[float, typer.Option(min=10, help="How long each is.")] = 180.0,
    overlap: Annotated[
        float, typer.Option(min=0, max=1, help="Share of turns that begin before the last ends.")
    ] = 0.08,
    seed: Annotated[int, typer.Option(help="The same seed mixes the same.")] = 1,
) -> None:
    """Mix conversations with known truth from recordings of single people, for `evaluate stream --known`."""
    with science():
        from stream.tools.evaluation import mixing  # noqa: PLC0415
        from stream.tools.evaluation.corpora import AUDIO_SUFFIXES  # noqa: PLC0415
        from stream.tools.evaluation.runner import samples_of  # noqa: PLC0415
    low, _, high = people.partition("-")
    if not (low.isdigit() and (high or low).isdigit() and 1 <= int(low) <= int(high or low)):
        raise SettingsError(f"--people takes a number or a range such as 2-5, not {people!r}")
    utterances = [one for group in inputs.groups(manifest, only).values() for one in group]
    if speakers is not None:
        wanted = set(inputs.lines(speakers))
        utterances = [one for one in utterances if one.speaker in wanted]
    voices = mixing.SpeakerPool(utterances)
    files = sorted(p for p in noise.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES) if noise is not None else []
    noises = [samples_of(path) for path in files]
    counts = range(int(low), int(high or low) + 1)
    mixtures = []
    with bar("conversations", conversations) as step:
        for number in range(conversations):
            count = counts[number % len(counts)]
            plan = mixing.MixturePlan(seconds=seconds, people=count, enrolled=min(enrolled, count), overlap=overlap)
            mixtures.append(mixing.mix(voices, noises, plan, number=number, seed=seed))
            step()
    mixing.write(mixtures, folder)
    typer.echo(f"{conversations} conversations of {seconds:g} s lie in {folder}, with reference.rttm")


def _asked(model: str | None, compare: tuple[str, str] | None) -> tuple[str | None, ...]:
    if model is not None and compare is not None:
        raise SettingsError("--model and --compare do not go together; --compare names both models")
    return compare or (model,)


def _each(
    task: str,
    names: Sequence[str | None],
    *,
    preset: str,
    config: Path | None,
    settings: list[str] | None,
) -> Iterator[tuple[str, EvaluationRunner]]:
    """Ears with each model that was asked for, one after the other; other tasks' models stay out where they may."""
    from stream.tools.evaluation.runner import EvaluationRunner  # noqa: PLC0415

    told: set[str] = set()
    for name in names:
        given = list(settings or [])
        tree = settings_of(as_layer(settings=given), preset=preset, config=config)
        names_of = {other: "" for other in ("emotion", "speaker", "identity") if other != task}
        names_of |= {"overlap": ""} if task != "speaker" else {}
        names_of |= {task: name} if name is not None else {}
        chosen = {key: getattr(tree.models, key).model_copy(update={"name": one}) for key, one in names_of.items()}
        made = EvaluationRunner(tree.model_copy(update={"models": tree.models.model_copy(update=chosen)}))
        shown = made.model_info(task).name
        while shown in told:  # two folders of one name
            shown = f"{shown} ({name})"
        told.add(shown)
        yield shown, made
