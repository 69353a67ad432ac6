"""Closed-set identification of VoxCeleb1 speakers, from a checkpoint as the hub stores it to candidates in events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
from typer.testing import CliRunner

from stream.cli.main import app
from stream.demo.conversation import AUDIO
from stream.events import SpeakerEvent, from_json
from tests.support.small_models import TINY

pytestmark = pytest.mark.slow


def speaker_events(folder: Path, directory: Path, *options: str) -> list[SpeakerEvent]:
    """Return the speaker events of a run on four seconds of speech."""
    recording, log = directory / "short.wav", directory / "events.ndjson"
    soundfile.write(recording, soundfile.read(AUDIO, stop=64_000)[0], 16_000)
    words = ["run", str(recording), "-q", "--sink", str(log), "--emotion", "", *options]
    done = CliRunner().invoke(app, [*words, "--set", f"models.identity.name={folder}"])
    assert done.exit_code == 0, done.output
    events = [from_json(line) for line in log.read_text().splitlines()]
    return [event for event in events if isinstance(event, SpeakerEvent)]


@pytest.mark.long
@pytest.mark.parametrize(
    "size",
    [
        pytest.param({}, id="small"),
        pytest.param({"full_width": True, "layers": 2}, id="2 layers"),
        pytest.param({"full_width": True}, id="full", marks=[pytest.mark.slow, pytest.mark.full]),
    ],
)
@pytest.mark.parametrize("options", [TINY, ("--speaker", "")], ids=["with a speaker model", "without"])
def test_speaker_events_carry_candidates(
    write: Callable[..., tuple[Path, object]], tmp_path: Path, options: tuple[str, ...], size: dict[str, Any]
) -> None:
    folder, _ = write(tmp_path / "sid", "speaker-id-voxceleb1", **size)
    events = speaker_events(folder, tmp_path, *options, "--set", "speakers.candidates=5")
    identities = [event.identity for event in events if event.identity is not None]
    assert len(identities) >= 2
    for identity in identities:
        labels, probabilities = zip(*((one.label, one.probability) for one in identity.candidates), strict=True)
        assert len(set(labels)) == 5
        assert all(label.startswith("id1") for label in labels)
        assert list(probabilities) == sorted(probabilities, reverse=True)
        assert (identity.label, identity.probability) == (labels[0], probabilities[0])
    assert [one.evidence_s for one in identities] == sorted(one.evidence_s for one in identities), "one turn"
    assert {event.state for event in events} >= {"confirmed" if options is TINY else "unknown", "silence"}
