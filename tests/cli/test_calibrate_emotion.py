"""`tonewatch calibrate emotion` on tones whose loudness is their emotion."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.settings import load
from tests.support.command import run_command
from tests.support.tones import EMOTIONS, tone, wav

pytestmark = pytest.mark.slow

LEVELS = dict(zip(EMOTIONS, (0.2, 0.4, 0.6, 0.9), strict=True))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Recordings of three people with two labels; a few of each are labelled wrongly, so that a fit has work to do."""
    lines = ["path,speaker,emotion"]
    for take in range(14):
        for emotion, other in (("neutral", "happy"), ("happy", "neutral")):
            name = f"{take}-{emotion}.wav"
            wav(tmp_path / name, tone(300, 1.5, level=LEVELS[other if take % 5 == 0 else emotion], seed=take))
            lines.append(f"{name},p{take % 3},{emotion}")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("tone_models")
def test_writes_a_file_that_runs_read(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "emotion.toml"
    result = run_command("calibrate", "emotion", str(manifest), "--write", str(out))
    assert (result.code, result.errors) == (0, "")
    assert "28 recordings with emotion-campplus" in result.output
    calibration = load(config=out).emotion.calibration
    assert calibration.model == "emotion-campplus"
    assert calibration.temperature == pytest.approx(1.0, abs=0.2), "the tones' confidence is nearly right"
    assert set(calibration.bias) == set(EMOTIONS)
    again = run_command("calibrate", "emotion", str(manifest), "--write", str(out))
    assert again.code == 2
    assert "emotion.toml exists" in again.errors


@pytest.mark.usefixtures("tone_models")
def test_input_that_gives_no_calibration(manifest: Path) -> None:
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(lines[:5]) + "\n")
    few = run_command("calibrate", "emotion", str(manifest))
    assert few.code == 2
    assert "no calibration: two labels need 5 recordings" in few.errors
    manifest.write_text("path,speaker\n" + lines[1].rpartition(",")[0] + "\n")
    assert "has no emotion labels" in run_command("calibrate", "emotion", str(manifest)).errors
