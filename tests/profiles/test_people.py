"""Enrolment with segmentation: people are counted, and overlapped and clipped speech is left out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream.errors import EnrolmentRefused, SettingsError
from stream.profiles.clean_speech import LeftOut
from stream.profiles.enrolment_audio import EnrolmentAudio, speakers_issue
from stream.profiles.known_voices import configured_voices
from stream.profiles.people import TrackSpeech, people_issue, people_of
from stream.profiles.quality import WindowEmbedding, length_issue
from stream.settings import Settings, load
from stream.tools.enrolment.enrolment import EnrolmentModels, EnrolmentTake, require_quality
from stream.tools.evaluation.runner import read_samples
from stream.tracking.calibration import Calibration
from stream.tracking.scoring import Scorer
from stream.types import OVERLAP_FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, Scores, Task, Window, WindowSpec
from tests.support.fakes import FakeDetector, FakeModel
from tests.support.requirements import labelled_audio
from tests.support.tones import ToneModel, tone, wav

ALICE_HZ, BOB_HZ = 400.0, 1_100.0
SCORER = Scorer(calibration=Calibration(16.0, 0.5))
Script = Sequence[tuple[float, float]]
"""Seconds from and to which a person speaks."""


class ScriptedSegmentation(FakeModel):
    """People speak when their scripts say."""

    def __init__(self, *scripts: Script) -> None:
        spec = WindowSpec(80_000, 4_000, 16_000, from_onset=False, any_speech=True)
        super().__init__(task=Task.OVERLAP, spec=spec)
        self._scripts = scripts

    def infer(self, batch: Sequence[Window]) -> list[Scores]:
        return [
            replace(score, values=self._activity(window))
            for window, score in zip(batch, super().infer(batch), strict=True)
        ]

    def _activity(self, window: Window) -> Samples:
        frames = np.arange(len(window.samples) // OVERLAP_FRAME_SAMPLES)
        at_s = (window.start_sample + OVERLAP_FRAME_SAMPLES * (frames + 0.5)) / SAMPLE_RATE_HZ
        active = [
            np.any([(at_s >= start_s) & (at_s < end_s) for start_s, end_s in script], axis=0)
            for script in self._scripts
        ]
        return np.where(np.stack(active, axis=1), 0.9, 0.1).astype(np.float32)


class ScriptedEnrolmentModels(EnrolmentModels):
    """Tone voices, and segmentation by scripts."""

    def __init__(self, *scripts: Script) -> None:
        self.settings, self.model, self.detector = Settings(), ToneModel(Task.SPEAKER), FakeDetector()
        self.segmentation = ScriptedSegmentation(*scripts) if scripts else None


def taken(samples: Samples, models: EnrolmentModels, *, rate_hz: int = SAMPLE_RATE_HZ) -> EnrolmentTake:
    audio = models.new_audio(rate_hz)
    for block in np.array_split(samples[:, None], 7):
        audio.push(block)
    audio.finish()
    return EnrolmentTake(audio, "file", "a.wav")


def speech(*parts: tuple[float, float]) -> Samples:
    """Return tones (Hz, seconds), joined."""
    return np.concatenate([tone(hz, seconds) for hz, seconds in parts])


def similarity(audio: EnrolmentAudio, hz: float) -> float:
    """Return the least cosine of the exemplars to the x-vector of a tone."""
    samples = tone(hz, 2.0)
    (score,) = ToneModel(Task.SPEAKER).infer([Window("a", 0, 0, samples, 1.0, len(samples))])
    return min(float(exemplar.vector @ score.values) for exemplar in audio.exemplars)


def test_two_people_are_refused_with_their_seconds() -> None:
    models = ScriptedEnrolmentModels([(0, 6)], [(6, 10)])
    take = taken(speech((ALICE_HZ, 6), (BOB_HZ, 4)), models)
    with pytest.raises(EnrolmentRefused, match=r"2 people speak, for 6\.\d s and [34]\.\d s; record one person alone"):
        require_quality([take], models)
    assert take.audio.left_out.others_s == pytest.approx(4.0, abs=0.2)
    assert take.audio.speech_s == pytest.approx(6.0, abs=0.2)
    assert similarity(take.audio, ALICE_HZ) > similarity(take.audio, BOB_HZ) + 0.5


def test_one_person_in_two_tracks_is_accepted() -> None:
    models = ScriptedEnrolmentModels([(0, 6)], [(6, 10)])
    take = taken(tone(ALICE_HZ, 10), models)
    require_quality([take], models)
    assert take.audio.speech_s == pytest.approx(10.0, abs=0.2)
    assert len(take.audio.tracks) == 2


def test_a_short_remark_of_another_person_is_left_out() -> None:
    models = ScriptedEnrolmentModels([(0, 6), (6.8, 12.8)], [(6, 6.8)])
    take = taken(speech((ALICE_HZ, 6), (BOB_HZ, 0.8), (ALICE_HZ, 6)), models)
    require_quality([take], models)
    assert take.audio.speech_s == pytest.approx(12.0, abs=0.3)
    assert similarity(take.audio, ALICE_HZ) > 0.9


def test_people_are_counted_over_all_recordings() -> None:
    models = ScriptedEnrolmentModels([(0, 6)])
    takes = [taken(tone(hz, 6), models) for hz in (ALICE_HZ, BOB_HZ)]
    require_quality(takes[:1], models)
    with pytest.raises(EnrolmentRefused, match="2 people speak"):
        require_quality(takes, models)


def test_overlapped_speech_is_left_out() -> None:
    models = ScriptedEnrolmentModels([(0, 10)], [(4, 7)])
    mixed = tone(ALICE_HZ, 10, level=0.25)
    mixed[4 * SAMPLE_RATE_HZ : 7 * SAMPLE_RATE_HZ] += tone(BOB_HZ, 3, level=0.25)
    take = taken(mixed, models)
    require_quality([take], models)
    assert take.audio.left_out.overlapped_s == pytest.approx(3.0, abs=0.1)
    assert take.audio.speech_s == pytest.approx(7.0, abs=0.2)
    assert take.audio.recording(kind="file", origin="a.wav").speech_s == take.audio.speech_s
    assert similarity(take.audio, ALICE_HZ) > 0.9
    plain = taken(mixed, ScriptedEnrolmentModels())
    assert plain.audio.speech_s == pytest.approx(10.0, abs=0.1)
    assert similarity(plain.audio, ALICE_HZ) < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
@pytest.mark.parametrize("scripts", [(), ([(0, 10)],)])
def test_clipped_speech_is_left_out(rate_hz: int, scripts: tuple[Script, ...]) -> None:
    samples = np.repeat(tone(ALICE_HZ, 10), rate_hz // SAMPLE_RATE_HZ)
    part = slice(4 * rate_hz, 6 * rate_hz)
    samples[part] = np.clip(samples[part] * 20, -1, 1)
    audio = taken(samples, ScriptedEnrolmentModels(*scripts), rate_hz=rate_hz).audio
    assert audio.left_out.clipped_s == pytest.approx(2.0, abs=0.1)
    assert audio.speech_s == pytest.approx(8.0, abs=0.2)
    assert audio.exemplars


def test_the_highest_peak_of_a_normalised_recording_is_not_clipped() -> None:
    samples = tone(ALICE_HZ, 4)
    samples[20_000] = 1.0
    assert taken(samples, ScriptedEnrolmentModels()).audio.left_out == LeftOut()


def test_too_little_clean_speech_is_refused_with_what_was_left_out() -> None:
    models = ScriptedEnrolmentModels([(0, 6)], [(2, 6)])
    with pytest.raises(EnrolmentRefused, match=r"2\.0 s of speech without 4\.0 s overlapped, at least 3 s needed"):
        require_quality([taken(tone(ALICE_HZ, 6), models)], models)
    issue = length_issue(1.0, LeftOut(clipped_s=2.0, others_s=0.5))
    assert issue is not None
    assert "1.0 s of speech without 2.0 s clipped, 0.5 s of other people, at least 3 s needed" in issue.message


def embedding(person: int, *, noise: float = 0.0) -> WindowEmbedding:
    vector = np.full(8, noise, np.float32)
    vector[person] = 1.0
    return WindowEmbedding(vector, 2.0, 1.0, 1)


def track(number: int, solo_s: float, *embeddings: WindowEmbedding) -> TrackSpeech:
    return TrackSpeech(number, solo_s, embeddings)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((9.2, 0.8), None),  # less than a second and a tenth
        ((40.0, 1.0), "2 people speak, for 40.0 s and 1.0 s"),
        ((4.0, 0.6), "2 people speak, for 4.0 s and 0.6 s"),
        ((5.0, 4.0, 3.0), "3 people speak, for 5.0 s, 4.0 s and 3.0 s"),
    ],
)
def test_people_are_counted_from_a_second_or_a_tenth(lengths: Sequence[float], message: str | None) -> None:
    tracks = [track(number, solo_s, embedding(number)) for number, solo_s in enumerate(lengths)]
    issue = people_issue(people_of(tracks, SCORER))
    assert (issue is None) == (message is None)
    assert message is None or (issue is not None and message in issue.message)


def test_tracks_are_joined_by_voice_and_those_without_x_vectors_ignored() -> None:
    tracks = [track(1, 3.0, embedding(0)), track(2, 5.0, embedding(0, noise=0.05)), track(3, 2.0)]
    (person,) = people_of(tracks, SCORER)
    assert ([one.number for one in person.tracks], person.solo_s) == ([2, 1], 8.0)


def test_a_track_of_two_voices_counts_as_two_people() -> None:
    mixed = track(1, 9.0, *[embedding(0)] * 6, *[embedding(1)] * 3)
    assert [person.solo_s for person in people_of([mixed], SCORER)] == pytest.approx([6.0, 3.0])


def test_settings_name_a_recording_of_two_people(tmp_path: Path) -> None:
    path = wav(tmp_path / "two.wav", speech((ALICE_HZ, 6), (BOB_HZ, 4)))
    settings = Settings.model_validate({"speakers": {"enrolled": {"Alice": str(path)}}})
    models = ScriptedEnrolmentModels([(0, 6)], [(6, 10)])

    def voices(segmentation: FakeModel | None) -> int:
        model, detector = models.model, models.detector
        return len(
            asyncio.run(configured_voices(settings=settings, model=model, detector=detector, segmentation=segmentation))
        )

    assert voices(None) == 1
    with pytest.raises(SettingsError, match=r"speakers\.enrolled\.Alice: .*two\.wav: 2 people speak"):
        voices(ScriptedSegmentation([(0, 6)], [(6, 10)]))


@pytest.fixture(scope="module")
def real_models() -> EnrolmentModels:
    return EnrolmentModels(load())


def an4(person: str) -> Samples:
    """Return about six seconds of a person."""
    paths = sorted((labelled_audio() / "an4" / person).glob("*.flac"))
    return np.concatenate([read_samples(path) for path in paths])[: 6 * SAMPLE_RATE_HZ]


@pytest.mark.long
def test_real_people_are_told_apart_by_the_default_preset(real_models: EnrolmentModels) -> None:
    one, other = an4("fbbh"), an4("mblb")
    alone = taken(one, real_models)
    require_quality([alone], real_models)
    assert alone.audio.left_out.total_s < 0.3
    with pytest.raises(EnrolmentRefused, match=r"2 people speak, for \d\.\d s and \d\.\d s"):
        require_quality([taken(np.concatenate((one, other)), real_models)], real_models)
    overlapped = one.copy()
    overlapped[2 * SAMPLE_RATE_HZ : 4 * SAMPLE_RATE_HZ] += other[: 2 * SAMPLE_RATE_HZ]
    take = taken(overlapped, real_models)
    assert take.audio.left_out.overlapped_s > 0.5
    assert speakers_issue([take.audio], real_models.scorer) is None
