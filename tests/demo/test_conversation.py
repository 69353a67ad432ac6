"""Properties of the bundled conversation."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.demo.conversation import AUDIO, REFERENCE_RTTM, turns
from tests.support.requirements import require

pytestmark = pytest.mark.slow

HOME = Path(__file__).parents[2]


def test_length_format_and_speakers() -> None:
    about = soundfile.info(AUDIO)
    assert (about.samplerate, about.channels) == (16_000, 1)
    assert 45 <= about.duration <= 90
    assert AUDIO.stat().st_size < 1_500_000
    assert len({turn.speaker for turn in turns()}) >= 3
    assert {turn.emotion for turn in turns()} == {"neutral", "happy", "angry", "sad"}


def test_one_overlap_and_pauses() -> None:
    gaps = [after.start_s - before.end_s for before, after in pairwise(turns())]
    assert sum(gap < 0 for gap in gaps) == 1
    assert max(gaps) >= 2.5
    assert sum(gap >= 0.3 for gap in gaps) >= len(gaps) - 2


def test_rttm_and_csv_agree() -> None:
    rows = [line.split() for line in REFERENCE_RTTM.read_text().splitlines()]
    assert all(row[0] == "SPEAKER" for row in rows)
    rttm = [(float(row[3]), round(float(row[3]) + float(row[4]), 3), row[7]) for row in rows]
    assert rttm == [(turn.start_s, turn.end_s, turn.speaker) for turn in turns()]


def test_speech_matches_the_reference() -> None:
    audio, rate = soundfile.read(AUDIO)
    spoken = np.zeros(len(audio), bool)
    for turn in turns():
        spoken[int(turn.start_s * rate) : int(turn.end_s * rate)] = True
    assert np.abs(audio).max() < 0.999
    assert np.sqrt((audio[spoken] ** 2).mean()) > 30 * np.sqrt((audio[~spoken] ** 2).mean())


def test_the_conversation_can_be_generated_again(tmp_path: Path) -> None:
    require("flite")
    done = subprocess.run(
        [HOME / "scripts" / "conversation", "--into", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made, kept = (soundfile.read(folder / AUDIO.name)[0] for folder in (tmp_path, AUDIO.parent))
    assert np.array_equal(made, kept)
