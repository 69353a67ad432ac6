"""What is good enough to know somebody by: each fault is found, and sound without it passes."""

from __future__ import annotations

import numpy as np
import pytest

from stream.profiles.enrolment_audio import MOST_S, EnrolmentAudio
from stream.profiles.quality import SoundQuality, WindowEmbedding, faults, one_person, several, snr_db, too_short
from stream.settings import Settings
from stream.tracking.calibration import Calibration
from stream.tracking.scoring import Scorer
from stream.types import Samples, Task
from tests.support.fakes import FakeDetector, FakeModel

RATE_HZ = 16_000
SCORER = Scorer(calibration=Calibration(16.0, 0.5))


def voice(*, loud: float = 0.2, pauses: float = 0.001, seconds: int = 6, seed: int = 4) -> Samples:
    """Seconds of loud noise and of quiet noise in turns; (n, 1)."""
    noise = np.random.default_rng(seed).normal(size=(seconds, RATE_HZ))
    levels = np.where(np.arange(seconds) % 2 == 0, loud, pauses)
    return np.asarray((noise * levels[:, None]).reshape(-1, 1), np.float32)


def taken(sound: Samples, *, rate_hz: int = RATE_HZ) -> EnrolmentAudio:
    take = EnrolmentAudio(
        settings=Settings(), model=FakeModel(task=Task.SPEAKER), detector=FakeDetector(floor=0.02), rate_hz=rate_hz
    )
    for piece in np.array_split(sound, 7):
        take.push(piece)
    take.finish()
    return take


def briefs(take: EnrolmentAudio) -> list[str]:
    return [fault.brief for fault in faults(take.sound())]


def test_good_sound_has_no_fault() -> None:
    take = taken(voice())
    assert briefs(take) == []
    assert take.speech_s == pytest.approx(3.0, abs=0.3)
    assert take.exemplars
    assert len(take.pieces) >= len(take.exemplars)
    recording = take.recording(kind="file", origin="a.wav")
    assert (recording.model.name, recording.speech_s) == ("fake-speaker", take.speech_s)


@pytest.mark.parametrize(
    ("sound", "fault"),
    [
        (np.clip(4 * voice(), -0.3, 0.3), "clipping"),
        (0.5 * np.clip(4 * voice(), -0.3, 0.3), "clipping"),  # turned down after it was cut off
        (voice(pauses=0.02, loud=0.04), "noisy"),
    ],
)
def test_each_fault_is_found(sound: Samples, fault: str) -> None:
    assert briefs(taken(sound)) == [fault]


def test_quiet_speech_is_a_fault() -> None:
    assert [fault.brief for fault in faults(SoundQuality(level_dbfs=-60.0, snr_db=None, clipped=0.0))] == ["too quiet"]


def test_too_little_speech_is_a_fault() -> None:
    fault = too_short(taken(voice(seconds=2)).speech_s)
    assert fault is not None
    assert "1.0 s of speech, and 3 s are needed" in fault.sentence
    assert too_short(3.0) is None


def test_noise_cannot_be_told_where_there_are_no_pauses() -> None:
    assert snr_db(np.ones(50, np.float32), np.ones(50, np.float32), on=0.5) is None
    assert taken(voice(seconds=1)).sound().snr_db is None


def test_silence_and_nothing_have_no_level_and_no_voice() -> None:
    for sound in (np.zeros((RATE_HZ, 1), np.float32), np.zeros((0, 1), np.float32)):
        take = taken(sound)
        assert (take.speech_s, take.exemplars) == (0.0, [])
        assert take.sound().snr_db is None


def test_enough_is_enough() -> None:
    seconds = round(2 * MOST_S) + 20
    assert taken(voice(seconds=seconds)).is_full


def pieces(*people: tuple[int, int]) -> list[WindowEmbedding]:
    """So many windows of each person, a second apart."""
    draw = np.random.default_rng(8)
    found = []
    for person, windows in people:
        for _ in range(windows):
            vector = np.zeros(16, np.float32)
            vector[person] = 1.0
            found.append(WindowEmbedding(vector + draw.normal(scale=0.08, size=16).astype(np.float32), 2.0, 1.0))
    return found


def test_one_person_is_one_and_two_are_two() -> None:
    assert several(one_person(pieces((0, 8)), SCORER)) is None
    for mixed in (((0, 5), (1, 5)), ((0, 3), (1, 2), (0, 3), (1, 2)), ((0, 8), (1, 2))):
        fault = several(one_person(pieces(*mixed), SCORER))
        assert fault is not None
        assert fault.brief == "several voices"


def test_who_cannot_be_told_is_not_refused() -> None:
    assert one_person([], SCORER) is None
    assert one_person(pieces((0, 1)), SCORER) is None
    same = [WindowEmbedding(np.ones(4, np.float32), 2.0, 1.0)] * 4
    assert one_person(same, SCORER) is None
