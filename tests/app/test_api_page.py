"""The examples of docs/api.md, each run as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import soundfile

from stream.demo.conversation import AUDIO, ENROLMENTS

pytestmark = pytest.mark.long

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)

EXPECTED = [r"spoke from \d", r"^S1 +\d", r"it sounds \w", r"^turn \d", r"with a probability of (0\.9|1\.0)"]


@pytest.mark.parametrize(("example", "expected"), list(zip(EXAMPLES, EXPECTED, strict=True)))
def test_example(
    example: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))  # no profiles of this machine
    samples, rate_hz = soundfile.read(AUDIO, dtype="int16", frames=9 * 16_000)
    soundfile.write("meeting.wav", samples, rate_hz)
    soundfile.write("alice.wav", *soundfile.read(ENROLMENTS["Alice"], dtype="int16"))
    exec(compile(example, str(PAGE), "exec"), {"__name__": "__main__"})  # noqa: S102 - the page's own code
    assert re.search(expected, capsys.readouterr().out, re.MULTILINE)
