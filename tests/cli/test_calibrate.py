"""`tonewatch calibrate` on real voices with the small nets, and rejected input."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stream.events import ModelRef
from stream.profiles.store import ProfileStore, read_calibration
from stream.settings import load
from stream.tools.enrolment.enrolment import EnrolmentModels, FileEnrolment, enrol
from tests.support.command import CommandResult, run_command
from tests.support.requirements import labelled_audio
from tests.support.small_models import TINY

pytestmark = pytest.mark.slow

PEOPLE = ("an4_fbbh", "an4_fclc", "an4_fejs")


def calibrate(*words: str | Path) -> CommandResult:
    return run_command("calibrate", *words, *TINY)


@pytest.fixture(scope="module")
def models() -> EnrolmentModels:
    return EnrolmentModels(load(preset="tiny"))


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory, models: EnrolmentModels) -> Path:
    """Store profiles of three people, two recordings each."""
    data, folder = labelled_audio(), tmp_path_factory.mktemp("people")
    with (data / "manifest.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    for name in PEOPLE:
        utterances = [soundfile.read(data / row["path"])[0] for row in rows if row["speaker"] == name][:8]
        files = [folder / f"{name}-{half}.wav" for half in (0, 1)]
        for half, file in enumerate(files):
            soundfile.write(file, np.concatenate(utterances[half::2]), 16_000)
        enrol(name, FileEnrolment(files), models=models, path=folder / "people.sqlite", note=None)
    return folder / "people.sqlite"


@pytest.mark.slow
def test_real_voices_give_a_threshold_that_runs_use(enrolled: Path, tmp_path: Path, models: EnrolmentModels) -> None:
    page = tmp_path / "calibration.html"
    code, output, errors = calibrate("--profiles", enrolled, "--html", page)
    assert (code, errors) == (0, "")
    assert re.search(r"^3 profiles, \d+ genuine and \d+ impostor scores", output)
    assert "(0 from the cohort)" in output
    assert "note:" not in output
    stored = re.search(r"Stored threshold (\d\.\d+) \(equal error rate (\d+\.\d)%\) with the profiles", output)
    assert stored is not None
    settings = load(preset="tiny", flags={"speakers": {"profiles": str(enrolled)}})
    fitted = read_calibration(models.model.info, settings.speakers)
    assert fitted is not None
    assert fitted.threshold == pytest.approx(float(stored[1]), abs=1e-3)
    assert fitted.applied(models.model.info).calibration == fitted.weights
    given = settings.speakers.model_copy(update={"threshold": 0.5})
    assert read_calibration(models.model.info, given) is None
    assert EnrolmentModels(settings).fitted_scorer.calibration.threshold == pytest.approx(fitted.weights[1])
    text = page.read_text()
    assert text.count("<svg") == 2
    assert not re.search(r"(?:src|href)=\"http|<script|@import", text)

    assert calibrate("--profiles", enrolled, "--clear") == (0, "Cleared the calibration of compact-speaker\n", "")
    with ProfileStore(enrolled) as store:
        assert store.calibration(ModelRef(name="compact-speaker", revision="3")) is None


def test_only_enrolled_people_are_recorded_as_a_test(enrolled: Path) -> None:
    result = calibrate("--profiles", enrolled, "--microphone", "Zoe")
    assert result.code == 2
    assert "no profile 'Zoe' of compact-speaker; available: an4_fbbh, an4_fclc, an4_fejs" in result.errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--profiles", ""), "speakers.profiles is empty"),
        (("--profiles", "NOWHERE"), "no profiles in"),
        (("--speaker", "absent"), "no profiles in"),
    ],
)
def test_calibration_needs_profiles(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    result = calibrate(*(str(tmp_path / "none.sqlite") if word == "NOWHERE" else word for word in words))
    assert result.code == 2
    assert message in result.errors
    assert "\n" not in result.errors
