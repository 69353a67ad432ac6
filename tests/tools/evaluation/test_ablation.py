"""What each part buys: heard once, told over and over, the same as the pipeline tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream.events import SpeakerBody
from stream.settings import TurnsSettings
from stream.tools.evaluation import cached
from stream.tools.evaluation.ablation import run_ablation, baseline, labellers, tracker
from stream.tools.evaluation.runner import EvaluationRunner
from stream.tools.evaluation.segments import Segment, final_segments, live_segments
from stream.tracking.voice import Voice
from stream.types import Task
from tests.support.tones import tone, wav
from tests.tracking.speech import talk, voice

TURNS = [("ann", 0.0, 5.0, 300.0), ("bob", 6.5, 11.5, 1_300.0), ("ann", 13.0, 18.0, 300.0)]


@pytest.fixture
def talking(tmp_path: Path) -> Path:
    sound = np.zeros(20 * 16_000 + 700, np.float32)
    for _, start_s, end_s, hz in TURNS:
        sound[int(start_s * 16_000) : int(end_s * 16_000)] = tone(hz, end_s - start_s)
    return wav(tmp_path / "talk.wav", sound)


def test_what_is_replayed_is_what_the_pipeline_tells(make_runner: Callable[..., EvaluationRunner], talking: Path) -> None:
    listening = make_runner("speaker")
    reference = [Segment(start_s, end_s, who) for who, start_s, end_s, _ in TURNS]
    heard = cached.embed_recording(listening, talking, reference, None, {})
    case = heard.told_by(tracker(listening.settings, listening.model_info(Task.SPEAKER)))
    [events], _ = listening.hear([talking])
    assert final_segments(case.events) == final_segments(events) != []
    assert live_segments(case.events, 20.0) == live_segments(events, 20.0) != []


def test_every_part_is_taken_out_and_measured(make_runner: Callable[..., EvaluationRunner], talking: Path) -> None:
    listening = make_runner("speaker")
    reference = [Segment(start_s, end_s, who) for who, start_s, end_s, _ in TURNS]
    heard = [cached.embed_recording(listening, talking, reference, (0.0, 19.0), {})]
    model = replace(listening.model_info(Task.SPEAKER), calibration=(8.0, 0.5, 0.3))
    names = [name for name, _ in labellers(listening.settings, model)]
    assert names[:2] == ["baseline", "tracker"]
    assert len(names) == len(set(names)) > 10
    steps: list[int] = []
    found = run_ablation(
        heard, settings=listening.settings, model=model, collar_s=0.25, overlap=True, progress=lambda: steps.append(1)
    )
    assert list(found) == names
    assert len(steps) == len(names)
    assert found["tracker"]["der"] == 0.0


def test_the_baseline_takes_the_nearest_centroid_or_a_new_one() -> None:
    ann = Voice(name="Ann", exemplars=[voice(0)], enrolled=True)
    windows = tuple(
        (cut, voice(who) if cut.open else None)
        for start_s, who in ((0, 0), (6, 4), (12, 0), (18, 4), (24, 2))
        for cut in talk(start_s, start_s + 4)
    )
    told = baseline(0.7, TurnsSettings())(windows, [ann])
    said = [body for body in told if isinstance(body, SpeakerBody)]
    assert list(dict.fromkeys(body.speaker for body in said if body.speaker)) == ["Ann", "S1", "S2"]
    assert {body.speaker for body in said if body.enrolled} == {"Ann"}
    assert sum(body.state == "silence" for body in said) == 5
