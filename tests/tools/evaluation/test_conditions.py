"""Verification by enrolment, distance, telephone and noise, on tones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stream.errors import SettingsError
from stream.tools.evaluation.conditions import conditions, count
from stream.tools.evaluation.telephone import through_telephone
from stream.tools.evaluation.verification import EmbeddedUtterance
from stream.types import SAMPLE_RATE_HZ, Task
from tests.support.command import run_command
from tests.support.tones import ToneModel, tone, wav

pytestmark = pytest.mark.slow

PITCHES = {"ann": 500.0, "bob": 1_300.0, "cat": 2_300.0}


def utterances(*, takes: int) -> list[EmbeddedUtterance]:
    return [
        EmbeddedUtterance(f"{who}{take}", who, "x", tone(hz, 6.0, seed=take))
        for who, hz in PITCHES.items()
        for take in range(takes)
    ]


def test_each_condition_is_scored_on_people_who_have_enough_speech() -> None:
    steps = list[None]()
    noise = tone(900, 3.0)
    rows = conditions(ToneModel(Task.SPEAKER), utterances(takes=4), [noise], progress=lambda: steps.append(None))
    assert [row["condition"] for row in rows] == [
        *(f"enrolled with {seconds} s" for seconds in (1, 3, 5, 10)),  # 30 s are in no four takes of six
        *(f"{metres} m away in a room" for metres in (0.5, 1, 2, 4)),
        "on the telephone",
        "on the telephone, and enrolled there",
        "enrolled on the telephone only",
        *(f"babble, {snr_db} dB below" for snr_db in (20, 10, 5)),
        *(f"noise, {snr_db} dB below" for snr_db in (20, 10, 5)),
    ]
    assert len(steps) == count([noise])
    clean = rows[3]
    assert (clean["EER"], clean["missed"], clean["false accepts"]) == (0.0, 0.0, 0.0)
    # twelve seconds to test, at most six crops of two seconds, against the own enrolment and two others
    assert (clean["same-speaker pairs"], clean["different-speaker pairs"]) == (3 * 6, 3 * 6 * 2)


def test_too_little_speech_is_said() -> None:
    with pytest.raises(SettingsError, match="0 people have 10 s of speech to enrol and 2 s in other recordings"):
        conditions(ToneModel(Task.SPEAKER), utterances(takes=2), [])


def test_a_telephone_keeps_its_band_only() -> None:
    inside, below = tone(1_000, 2.0), tone(100, 2.0)
    received = through_telephone(inside + below)
    assert len(received) == 2 * SAMPLE_RATE_HZ
    spectrum = np.abs(np.fft.rfft(received))
    at = [round(hz * len(received) / SAMPLE_RATE_HZ) for hz in (1_000, 100)]
    assert spectrum[at[0]] > 30 * spectrum[at[1]]


@pytest.mark.usefixtures("tone_models")
def test_the_command_prints_a_row_per_condition(tmp_path: Path) -> None:
    for who, hz in PITCHES.items():
        for take in range(4):
            wav(tmp_path / who / f"{take}.wav", tone(hz, 6.0, seed=take))
    page = tmp_path / "conditions.html"
    result = run_command("evaluate", "conditions", tmp_path, "--json", "--html", page)
    assert result.code == 0, result.errors
    [(_, rows)] = json.loads(result.output).items()
    assert rows["enrolled with 10 s"]["EER"] == 0.0
    assert "on the telephone" in page.read_text(encoding="utf-8")
