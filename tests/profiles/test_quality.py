"""Quality checks of enrolment audio: each defect is found, and audio without it passes."""

from __future__ import annotations

import numpy as np
import pytest

from stream.profiles.enrolment_audio import MAX_ENROLMENT_SPEECH_S, EnrolmentAudio
from stream.profiles.quality import (
    SoundQuality,
    WindowEmbedding,
    audio_issues,
    length_issue,
    same_speaker_probability,
    snr_db,
    speaker_issue,
)
from stream.settings import Settings
from stream.tracking.calibration import Calibration
from stream.tracking.scoring import Scorer
from stream.types import Samples, Task
from tests.support.fakes import FakeDetector, FakeModel

RATE_HZ = 16_000
SCORER = Scorer(calibration=Calibration(16.0, 0.5))


def voice(*, loud: float = 0.2, pauses: float = 0.001, seconds: int = 6, seed: int = 4) -> Samples:
    """Return alternating seconds of loud and of quiet noise; (n, 1)."""
    noise = np.random.default_rng(seed).normal(size=(seconds, RATE_HZ))
    levels = np.where(np.arange(seconds) % 2 == 0, loud, pauses)
    return np.asarray((noise * levels[:, None]).reshape(-1, 1), np.float32)


def processed(samples: Samples, *, rate_hz: int = RATE_HZ) -> EnrolmentAudio:
    audio = EnrolmentAudio(
        settings=Settings(), model=FakeModel(task=Task.SPEAKER), detector=FakeDetector(floor=0.02), rate_hz=rate_hz
    )
    for block in np.array_split(samples, 7):
        audio.push(block)
    audio.finish()
    return audio


def labels(audio: EnrolmentAudio) -> list[str]:
    return [issue.label for issue in audio_issues(audio.quality())]


def test_clean_audio_has_no_issue() -> None:
    audio = processed(voice())
    assert labels(audio) == []
    assert audio.speech_s == pytest.approx(3.0, abs=0.3)
    assert audio.exemplars
    assert len(audio.embeddings) >= len(audio.exemplars)
    recording = audio.recording(kind="file", origin="a.wav")
    assert (recording.model.name, recording.speech_s) == ("fake-speaker", audio.speech_s)


@pytest.mark.parametrize(
    ("samples", "label"),
    [
        (np.clip(4 * voice(), -0.3, 0.3), "clipping"),
        (0.5 * np.clip(4 * voice(), -0.3, 0.3), "clipping"),  # attenuated after clipping
        (voice(pauses=0.02, loud=0.04), "noisy"),
    ],
)
def test_each_issue_is_found(samples: Samples, label: str) -> None:
    assert labels(processed(samples)) == [label]


def test_quiet_speech_is_an_issue() -> None:
    assert [issue.label for issue in audio_issues(SoundQuality(level_dbfs=-60.0, snr_db=None, clipped=0.0))] == [
        "too quiet"
    ]


def test_too_little_speech_is_an_issue() -> None:
    issue = length_issue(processed(voice(seconds=2)).speech_s)
    assert issue is not None
    assert "1.0 s of speech, at least 3 s needed" in issue.message
    assert length_issue(3.0) is None


def test_noise_cannot_be_estimated_without_pauses() -> None:
    assert snr_db(np.ones(50, np.float32), np.ones(50, np.float32), on=0.5) is None
    assert processed(voice(seconds=1)).quality().snr_db is None


def test_silence_and_empty_audio_have_no_speech() -> None:
    for samples in (np.zeros((RATE_HZ, 1), np.float32), np.zeros((0, 1), np.float32)):
        audio = processed(samples)
        assert (audio.speech_s, audio.exemplars) == (0.0, [])
        assert audio.quality().snr_db is None


@pytest.mark.slow
def test_audio_is_full_after_the_maximum_of_speech() -> None:
    seconds = round(2 * MAX_ENROLMENT_SPEECH_S) + 20
    assert processed(voice(seconds=seconds)).is_full


def embeddings(*people: tuple[int, int]) -> list[WindowEmbedding]:
    """Return windows one second apart, a number for each person (person, windows)."""
    generator = np.random.default_rng(8)
    found = []
    for person, windows in people:
        for _ in range(windows):
            vector = np.zeros(16, np.float32)
            vector[person] = 1.0
            found.append(WindowEmbedding(vector + generator.normal(scale=0.08, size=16).astype(np.float32), 2.0, 1.0))
    return found


def test_one_person_passes_and_two_are_an_issue() -> None:
    assert speaker_issue(same_speaker_probability(embeddings((0, 8)), SCORER)) is None
    for mixed in (((0, 5), (1, 5)), ((0, 3), (1, 2), (0, 3), (1, 2)), ((0, 8), (1, 2))):
        issue = speaker_issue(same_speaker_probability(embeddings(*mixed), SCORER))
        assert issue is not None
        assert issue.label == "several voices"


def test_too_few_windows_give_no_probability() -> None:
    assert same_speaker_probability([], SCORER) is None
    assert same_speaker_probability(embeddings((0, 1)), SCORER) is None
    same = [WindowEmbedding(np.ones(4, np.float32), 2.0, 1.0)] * 4
    assert same_speaker_probability(same, SCORER) is None
