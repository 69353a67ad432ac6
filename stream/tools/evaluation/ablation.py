"""What each part of the speaker tracker buys: it is taken out, and the same recordings are told again.

Every part is taken out by a setting or by what the model brings along, so what is measured is the tracker that runs.
Beside it stands a plain baseline: the nearest centroid above the model's threshold, else a new voice, whose centroid is
the running mean of what it was given. It lives here, and nobody else uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stream.clock import seconds
from stream.events import Body, SpeakerBody
from stream.settings import Settings, TurnsSettings
from stream.tools.evaluation.cached import EmbeddedRecording, Teller, Windows
from stream.tools.evaluation.diarization import judge, summary
from stream.tracking.stream_tracker import StreamTracker
from stream.tracking.turns import TurnTracker
from stream.tracking.voice import Vector, Voice
from stream.types import ModelInfo, Task

FALLBACK = 0.7
"""The baseline's threshold where the model names none."""

SETTINGS: Mapping[str, Mapping[str, float]] = {
    "adding up windows": {"change_s": 1e-3},
    "hold": {"hold": 0.0},
    "a change within a stretch": {"change_s": 1e6},
    "log-odds penalty": {"log_odds_penalty": 0.0},
    "enrolled penalty": {"enrolled_penalty": 0.0},
    "new-voice penalty": {"new_voice_penalty": 0.0},
    "waiting before a new voice": {"create_s": 0.0},
    "learning": {"update": 1.0},
    "merging": {"merge": 1.0},
    "the guard against mixed windows": {"mixed_gain": 1.0},
}
"""Parts that a setting takes out."""

FIGURES = (
    "named_right_share",
    "false_name_rate",
    "time_to_right_speaker_s",
    "flaps_per_minute",
    "right_share_live",
    "speaker_count_within_one",
    "der",
)


def ablation(
    heard: Sequence[EmbeddedRecording],
    *,
    settings: Settings,
    model: ModelInfo,
    collar_s: float,
    overlap: bool,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, float | None]]:
    """All figures of the baseline, of the tracker, and of the tracker without each of its parts."""
    found = {}
    for name, teller in tellers(settings, model):
        found[name] = summary([judge(one.told_by(teller), collar_s=collar_s, overlap=overlap) for one in heard])
        progress()
    return found


def tellers(settings: Settings, model: ModelInfo) -> Iterable[tuple[str, Teller]]:
    """Whatever tells who speaks, by name."""
    yield "baseline", baseline(model.threshold or FALLBACK, settings.turns)
    yield "tracker", tracker(settings, model)
    if model.calibration is not None:
        if model.cohort is not None:
            yield "without AS-norm and calibration", tracker(settings, replace(model, cohort=None, calibration=None))
        slope, threshold, _ = model.calibration
        yield (
            "without seconds in the calibration",
            tracker(settings, replace(model, calibration=(slope, threshold, 0.0))),
        )
    for name, changes in SETTINGS.items():
        speakers = settings.speakers.model_copy(update=dict(changes))
        yield f"without {name}", tracker(settings.model_copy(update={"speakers": speakers}), model)


def tracker(settings: Settings, model: ModelInfo) -> Teller:
    """The conversation that runs, with the speaker model alone."""

    def tell(windows: Windows, enrolled: Sequence[Voice]) -> list[Body]:
        conversation = StreamTracker(settings=settings, models=[model], enrolled=enrolled)
        told = [body for cut, vector in windows for body in conversation.observe(Task.SPEAKER, cut, vector)]
        return told + conversation.close(windows[-1][0].end_sample if windows else 0)

    return tell


def baseline(threshold: float, turns: TurnsSettings) -> Teller:
    """The nearest centroid at a fixed threshold, else a new one; each window by itself."""

    def tell(windows: Windows, enrolled: Sequence[Voice]) -> list[Body]:
        known: dict[str, list[Any]] = {voice.name: [voice.centroid, 1] for voice in enrolled}
        names = frozenset(known)
        keeper, silent, told = TurnTracker(settings=turns), True, list[Body]()
        for cut, vector in windows:
            if cut.stretch is None or cut.fresh_samples == 0:
                if not silent:
                    told.append(_speaker(cut.start_sample, cut.end_sample, None, silent=True))
                silent = True
                told += keeper.pause(cut.end_sample)
                continue
            silent = False
            name = None if vector is None else _nearest(known, names, vector, threshold)
            told += keeper.hear(
                cut.stretch,
                speaker=name,
                known=name is not None,
                speech_samples=cut.fresh_samples,
                changed_at=cut.end_sample - cut.fresh_samples,
            )
            if name is not None:
                told.append(_speaker(cut.start_sample, cut.end_sample, name, enrolled=name in names))
        return told + list(keeper.finish())

    return tell


def _nearest(known: dict[str, list[Any]], frozen: frozenset[str], vector: Vector, threshold: float) -> str:
    cosines = {name: float(centroid @ vector / np.linalg.norm(centroid)) for name, (centroid, _) in known.items()}
    name = max(cosines, key=lambda one: cosines[one], default="")
    if not name or cosines[name] < threshold:
        name = f"S{len(known) - len(frozen) + 1}"
        known[name] = [vector, 1]
    elif name not in frozen:
        mean, count = known[name]
        known[name] = [mean + (vector - mean) / (count + 1), count + 1]
    return name


def _speaker(
    start_sample: int, end_sample: int, name: str | None, *, enrolled: bool = False, silent: bool = False
) -> SpeakerBody:
    return SpeakerBody(
        start_s=seconds(start_sample),
        end_s=seconds(end_sample),
        state="silence" if silent else "confirmed",
        speaker=name,
        enrolled=enrolled,
        score=None,
        runner_up=None,
        margin=None,
        threshold=None,
        evidence_s=0.0,
        reason="silence" if silent else "matched",
    )
