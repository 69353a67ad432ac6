"""The compact models on labelled audio of speakers kept out of training; bounds are looser than the model cards."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.requirements import labelled_audio

pytestmark = [pytest.mark.slow, pytest.mark.full]

ROOT = Path(__file__).resolve().parents[3]

Figures = dict[str, dict[str, dict[str, float]]]


@pytest.fixture(scope="module")
def figures() -> Figures:
    labelled_audio()
    command = [str(ROOT / "scripts" / "train"), "score", "--json", "--quick"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("kind", "bound"), [("an4", 0.12), ("librispeech", 0.10), ("emodb, neutral", 0.05), ("fsdd", 0.28)]
)
def test_verification_of_unseen_speakers_on_two_seconds(figures: Figures, kind: str, bound: float) -> None:
    assert figures["speaker"]["2 s"][kind] <= bound


def test_emotion_on_other_corpora_beats_chance(figures: Figures) -> None:
    assert figures["emotion"]["ravdess"]["recall"] > 0.33
    assert figures["emotion"]["nemo"]["recall"] > 0.40
