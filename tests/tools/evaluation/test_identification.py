"""Closed-set identification on tones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stream.errors import SettingsError
from stream.tools.evaluation.corpora import Utterance
from stream.tools.evaluation.identification import evaluate, figures
from stream.tools.evaluation.runner import EvaluationRunner
from tests.support.tones import tone, wav


def test_correct_wrong_unlabelled_and_silent_recordings(
    make_runner: Callable[..., EvaluationRunner], tmp_path: Path
) -> None:
    low, high = wav(tmp_path / "low.wav", tone(200, 3.0)), wav(tmp_path / "high.wav", tone(1_700, 20.0))
    silence = wav(tmp_path / "silence.wav", np.zeros(48_000, np.float32))
    steps: list[int] = []
    utterances = [
        Utterance((low,), "bass"),
        Utterance((high,), "treble"),
        Utterance((low,), "tenor"),  # predicted as bass
        Utterance((low,), "stranger"),
        Utterance((silence,), "bass"),
    ]
    result = evaluate(make_runner("identity"), utterances, progress=lambda: steps.append(1), top=2)
    assert [named[0] for named in result.predicted] == ["bass", "treble", "bass"]
    assert all(0.9 < one <= 1.0 for one in result.probabilities)
    found = figures(result)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["recordings"] == 3
    assert (found["strangers_left_out"], found["without_speech"]) == (1, 1)
    assert found["top_5_accuracy"] >= found["accuracy"]
    assert len(steps) == 4


def test_no_accuracy_without_speech(make_runner: Callable[..., EvaluationRunner], tmp_path: Path) -> None:
    silence = wav(tmp_path / "silence.wav", np.zeros(48_000, np.float32))
    found = figures(evaluate(make_runner("identity"), [Utterance((silence,), "bass")]))
    assert found["accuracy"] is None
    assert found["without_speech"] == 1


def test_speakers_outside_the_labels_are_rejected(make_runner: Callable[..., EvaluationRunner]) -> None:
    with pytest.raises(SettingsError, match="none of these speakers among its 4 labels; it has bass, tenor …"):
        evaluate(make_runner("identity"), [Utterance((Path("a.wav"),), "ann")])


def test_a_task_without_a_model_is_rejected(make_runner: Callable[..., EvaluationRunner]) -> None:
    with pytest.raises(SettingsError, match=r"needs a model for identity; set models\.identity\.name"):
        evaluate(make_runner("speaker"), [Utterance((Path("a.wav"),), "ann")])
