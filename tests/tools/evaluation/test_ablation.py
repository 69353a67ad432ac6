"""Ablation of the tracker on embedded recordings, which give the same labels as the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream.events import SpeakerBody
from stream.settings import SpeakersSettings, TurnsSettings
from stream.tools.evaluation import cached
from stream.tools.evaluation.ablation import SETTINGS, baseline, labellers, offline, run_ablation, tracker
from stream.tools.evaluation.cached import Labeller
from stream.tools.evaluation.runner import EvaluationRunner
from stream.tools.evaluation.segments import Segment, final_segments, live_segments
from stream.tracking.voice import Voice
from stream.types import Task
from tests.support.tones import tone, wav
from tests.tracking.speech import speech_spans, voice

pytestmark = pytest.mark.slow

TURNS = [("ann", 0.0, 5.0, 300.0), ("bob", 6.5, 11.5, 1_300.0), ("ann", 13.0, 18.0, 300.0)]


@pytest.fixture
def conversation_file(tmp_path: Path) -> Path:
    audio = np.zeros(20 * 16_000 + 700, np.float32)
    for _, start_s, end_s, hz in TURNS:
        audio[int(start_s * 16_000) : int(end_s * 16_000)] = tone(hz, end_s - start_s)
    return wav(tmp_path / "talk.wav", audio)


def test_labels_equal_those_of_the_pipeline(
    make_runner: Callable[..., EvaluationRunner], conversation_file: Path
) -> None:
    runner = make_runner("speaker")
    reference = [Segment(start_s, end_s, speaker) for speaker, start_s, end_s, _ in TURNS]
    recordings = cached.embed_recording(runner, conversation_file, reference, None, {})
    case = recordings.labelled_by(tracker(runner.settings, runner.model_info(Task.SPEAKER)))
    [events], _ = runner.run([conversation_file])
    assert final_segments(case.events) == final_segments(events) != []
    assert live_segments(case.events, 20.0) == live_segments(events, 20.0) != []


def test_every_part_is_disabled_and_scored(
    make_runner: Callable[..., EvaluationRunner], conversation_file: Path
) -> None:
    runner = make_runner("speaker")
    reference = [Segment(start_s, end_s, speaker) for speaker, start_s, end_s, _ in TURNS]
    recordings = [cached.embed_recording(runner, conversation_file, reference, (0.0, 19.0), {})]
    model = replace(runner.model_info(Task.SPEAKER), calibration=(8.0, 0.5, 0.3))
    names = [name for name, _ in labellers(runner.settings, model)]
    assert names[:3] == ["baseline", "offline clustering", "tracker"]
    assert len(names) == len(set(names)) > 10
    steps: list[int] = []
    found = run_ablation(
        recordings, settings=runner.settings, model=model, collar_s=0.25, overlap=True, progress=lambda: steps.append(1)
    )
    assert list(found) == names
    assert len(steps) == len(names)
    assert found["tracker"]["der"] == 0.0


@pytest.mark.parametrize("labeller", [baseline, offline])
def test_a_window_gets_the_nearest_enrolled_voice_or_a_new_one(labeller: Callable[..., Labeller]) -> None:
    ann = Voice(name="Ann", exemplars=[voice(0)], enrolled=True)
    windows = tuple(
        (span, voice(speaker) if span.passes_gate else None)
        for start_s, speaker in ((0, 0), (6, 4), (12, 0), (18, 4), (24, 2))
        for span in speech_spans(start_s, start_s + 4)
    )
    bodies = labeller(0.7, TurnsSettings())(windows, [ann])
    speaker_bodies = [body for body in bodies if isinstance(body, SpeakerBody)]
    assert list(dict.fromkeys(body.speaker for body in speaker_bodies if body.speaker)) == ["Ann", "S1", "S2"]
    assert {body.speaker for body in speaker_bodies if body.enrolled} == {"Ann"}
    assert sum(body.state == "silence" for body in speaker_bodies) == 5


def test_offline_clustering_knows_what_follows() -> None:
    """A first window between two voices is one of them once the rest is known: no voice of its own."""
    between = voice(0) + 0.9 * voice(4)
    between /= np.linalg.norm(between)
    vectors = iter([between, *[voice(0)] * 6, *[voice(4)] * 8])
    windows = tuple(
        (span, next(vectors, voice(4)) if span.passes_gate else None)
        for start_s in (0, 6)
        for span in speech_spans(start_s, start_s + 4)
    )

    def names(labeller: Labeller) -> set[str]:
        return {body.speaker for body in labeller(windows, []) if isinstance(body, SpeakerBody) and body.speaker}

    assert len(names(offline(0.6, TurnsSettings()))) == 2


def test_every_part_changes_an_existing_setting() -> None:
    changed = {key for changes in SETTINGS.values() for key in changes}
    assert changed <= set(SpeakersSettings.model_fields), "copies of settings are not validated"
