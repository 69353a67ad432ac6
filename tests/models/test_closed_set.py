"""The closed set of VoxCeleb1's people, from a checkpoint as the hub holds it to candidates in events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from stream.cli.main import app
from stream.demo.conversation import AUDIO
from stream.events import SpeakerEvent, from_json


def told(folder: Path, place: Path, *more: str) -> list[SpeakerEvent]:
    """What a run on four seconds of speech tells of the speaker."""
    recording, log = place / "short.wav", place / "events.ndjson"
    soundfile.write(recording, soundfile.read(AUDIO, stop=64_000)[0], 16_000)
    words = ["run", str(recording), "-q", "--sink", str(log), "--emotion", "", *more]
    done = CliRunner().invoke(app, [*words, "--set", f"models.identity.name={folder}"])
    assert done.exit_code == 0, done.output
    events = [from_json(line) for line in log.read_text().splitlines()]
    return [event for event in events if isinstance(event, SpeakerEvent)]


@pytest.mark.parametrize("full_size", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("speaker", ["compact-speaker", ""])
def test_candidates_ride_on_the_speaker(
    write: Callable[..., tuple[Path, object]], tmp_path: Path, speaker: str, *, full_size: bool
) -> None:
    folder, _ = write(tmp_path / "sid", "speaker-id-voxceleb1", full_size=full_size)
    events = told(folder, tmp_path, "--speaker", speaker, "--set", "speakers.candidates=5")
    identities = [event.identity for event in events if event.identity is not None]
    assert len(identities) >= 2
    for identity in identities:
        labels, probabilities = zip(*((one.label, one.probability) for one in identity.candidates), strict=True)
        assert len(set(labels)) == 5
        assert all(label.startswith("id1") for label in labels)
        assert list(probabilities) == sorted(probabilities, reverse=True)
        assert (identity.label, identity.probability) == (labels[0], probabilities[0])
    assert [one.evidence_s for one in identities] == sorted(one.evidence_s for one in identities), "one turn"
    assert {event.state for event in events} >= {"confirmed" if speaker else "unknown", "silence"}
