"""`tonewatch calibrate` on real voices, with the pair that ships, and what it refuses."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from stream.cli.main import app
from stream.events import ModelRef
from stream.profiles.store import ProfileStore, calibration_of
from stream.settings import load
from stream.tools.enrolment.enrolment import EnrolmentModels, FileEnrolment, enrol
from tests.support.requirements import labelled_audio

RUNNER = CliRunner()
PEOPLE = ("an4_fbbh", "an4_fclc", "an4_fejs")


def typed(*words: str | Path) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, ["calibrate", *map(str, words)])
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout, result.stderr.strip()


@pytest.fixture(scope="module")
def ears() -> EnrolmentModels:
    return EnrolmentModels(load())


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory, ears: EnrolmentModels) -> Path:
    """Three people, two recordings each."""
    data, folder = labelled_audio(), tmp_path_factory.mktemp("people")
    with (data / "manifest.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    for name in PEOPLE:
        said = [soundfile.read(data / row["path"])[0] for row in rows if row["speaker"] == name][:8]
        files = [folder / f"{name}-{half}.wav" for half in (0, 1)]
        for half, file in enumerate(files):
            soundfile.write(file, np.concatenate(said[half::2]), 16_000)
        enrol(name, FileEnrolment(files), ears=ears, path=folder / "people.sqlite", note=None)
    return folder / "people.sqlite"


def test_real_voices_give_a_threshold_that_a_run_goes_by(enrolled: Path, tmp_path: Path, ears: EnrolmentModels) -> None:
    page = tmp_path / "calibration.html"
    code, said, error = typed("--profiles", enrolled, "--html", page)
    assert (code, error) == (0, "")
    assert re.search(r"^3 people, \d+ genuine and \d+ impostor scores", said)
    assert "(0 of strangers)" in said
    assert "note:" not in said
    kept = re.search(r"threshold (\d\.\d+) \(equal error rate (\d+\.\d)%\) is kept with the profiles", said)
    assert kept is not None
    settings = load(flags={"speakers": {"profiles": str(enrolled)}})
    fitted = calibration_of(ears.model.info, settings.speakers)
    assert fitted is not None
    assert fitted.threshold == pytest.approx(float(kept[1]), abs=1e-3)
    assert fitted.applied(ears.model.info).calibration == fitted.weights
    given = settings.speakers.model_copy(update={"threshold": 0.5})
    assert calibration_of(ears.model.info, given) is None
    assert EnrolmentModels(settings).calibrated.calibration.threshold == pytest.approx(fitted.weights[1])
    text = page.read_text()
    assert text.count("<svg") == 2
    assert not re.search(r"(?:src|href)=\"http|<script|@import", text)

    assert typed("--profiles", enrolled, "--clear")[0] == 0
    with ProfileStore(enrolled) as store:
        assert store.calibration(ModelRef(name="compact-speaker", revision="2")) is None


def test_somebody_unknown_is_not_listened_to(enrolled: Path) -> None:
    code, _, error = typed("--profiles", enrolled, "--microphone", "Zoe")
    assert code == 2
    assert "compact-speaker knows no 'Zoe'; it knows an4_fbbh, an4_fclc, an4_fejs" in error


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--profiles", ""), "speakers.profiles is empty"),
        (("--profiles", "NOWHERE"), "nobody is enrolled in"),
        (("--speaker", "absent"), "nobody is enrolled in"),
    ],
)
def test_without_people_there_is_nothing_to_calibrate(tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    code, _, error = typed(*(str(tmp_path / "none.sqlite") if word == "NOWHERE" else word for word in words))
    assert code == 2
    assert sentence in error
    assert error.count("\n") == 0
