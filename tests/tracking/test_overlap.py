"""Several people at once: as a frame-level model says, and the cue without one."""

from __future__ import annotations

import numpy as np

from stream.events import Body, SpeakerBody
from stream.settings import Settings
from stream.tracking.overlap import MEMORY_FRAMES, Overlap, OverlapTracker, mixed
from stream.tracking.stream_tracker import StreamTracker
from stream.tracking.voice import Vector, Voice, unit
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Task, WindowSpan
from tests.tracking.speech import talk, voice

SPEAKER = ModelInfo(name="s", revision="0", task=Task.SPEAKER, threshold=0.5)
OVERLAP = ModelInfo(name="o", revision="0", task=Task.OVERLAP)


def frames(cut: WindowSpan, *, both_from_s: float = 1e9, both_to_s: float = 1e9) -> np.ndarray:
    """What a model says of a window in which a second person speaks for a while; (frames, 2)."""
    at_s = (cut.start_sample + 320 * np.arange(cut.length_samples // 320 - 1)) / SAMPLE_RATE_HZ
    second = np.where((at_s >= both_from_s) & (at_s < both_to_s), 0.9, 0.1)
    return np.stack([np.full(len(at_s), 0.9), second], axis=1).astype(np.float32)


def blend(vector: np.ndarray) -> Vector:
    return unit(vector.astype(np.float32))


def open_cuts(start_s: float, end_s: float) -> list[WindowSpan]:
    return [cut for cut in talk(start_s, end_s) if cut.open]


def test_frames_of_two_people_are_an_overlap() -> None:
    tested = OverlapTracker()
    found = []
    for cut in open_cuts(10, 20):
        tested.hear(cut, frames(cut, both_from_s=13.0, both_to_s=15.0))
        found.append((cut.end_sample / SAMPLE_RATE_HZ, tested.of(cut)))
    assert [end_s for end_s, one in found if one.now] == [13.5, 14.0, 14.5, 15.0]
    assert [end_s for end_s, one in found if one.within] == [13.5 + 0.5 * step for step in range(7)]


def test_what_was_not_judged_is_no_overlap() -> None:
    tested = OverlapTracker()
    first, *_, last = open_cuts(0, 60)
    assert tested.of(first) == Overlap()
    tested.hear(first, frames(first, both_from_s=0.0))
    assert tested.of(first).now
    assert tested.of(last) == Overlap()


def test_an_hour_takes_no_more_memory_than_half_a_minute() -> None:
    tested = OverlapTracker()
    for cut in open_cuts(0, 3_600)[::50]:
        tested.hear(cut, frames(cut))
    assert len(tested._flags) == MEMORY_FRAMES


def test_overlapped_speech_is_told_keeps_the_speaker_and_teaches_nobody() -> None:
    tested, told = StreamTracker(settings=Settings(), models=[SPEAKER, OVERLAP]), list[Body]()
    lesson = blend(voice(0) + 0.6 * voice(4))
    for cut in talk(0, 12):
        both = 4.0 <= (cut.end_sample - 1) / SAMPLE_RATE_HZ < 8.0
        tested.observe(Task.OVERLAP, cut, frames(cut, both_from_s=4.0, both_to_s=8.0) if cut.open else None)
        told += tested.observe(Task.SPEAKER, cut, (lesson if both else voice(0)) if cut.open else None)
    events = [body for body in told if isinstance(body, SpeakerBody)]
    overlapped = [body for body in events if body.state == "overlap"]
    assert [body.end_s for body in overlapped] == [4.5 + 0.5 * step for step in range(8)]
    assert {(body.speaker, body.reason) for body in overlapped} == {("S1", "overlap")}
    (known,) = tested._tracker.voices
    np.testing.assert_allclose(known.centroid, voice(0), atol=1e-6)


def test_overlapped_speech_founds_nobody() -> None:
    tested, told = StreamTracker(settings=Settings(), models=[SPEAKER, OVERLAP]), list[Body]()
    for cut in talk(0, 6):
        tested.observe(Task.OVERLAP, cut, frames(cut, both_from_s=0.0) if cut.open else None)
        told += tested.observe(Task.SPEAKER, cut, blend(voice(0) + voice(4)) if cut.open else None)
    states = {(body.state, body.speaker) for body in told if isinstance(body, SpeakerBody)}
    assert states == {("overlap", None), ("silence", None)}


def test_a_window_that_two_voices_share() -> None:
    known = [Voice(name=name, exemplars=[voice(at)], enrolled=True) for name, at in (("Ann", 0), ("Bob", 4))]

    def cue(vector: np.ndarray, before: np.ndarray | None, *, gain: float = 0.05) -> bool:
        cosines = np.array([one.similarity(vector) for one in known], dtype=np.float64)
        return mixed(vector, before, known, cosines, gain=gain)

    both = blend(voice(0) + voice(4))
    assert cue(both, voice(0))
    assert not cue(both, both), "it goes on as before: that is how somebody sounds"
    assert not cue(both, None), "nothing was before"
    assert not cue(both, voice(0), gain=1.0)
    assert not cue(voice(0), voice(4)), "one took over from the other"
    assert not cue(blend(voice(0) + 0.3 * voice(4)), voice(4)), "the other's share is small"


def test_a_shared_window_is_marked_but_not_called_overlap() -> None:
    tested, told = StreamTracker(settings=Settings(), models=[SPEAKER]), list[Body]()
    for start_s, who in ((0, 0), (6, 4)):
        for cut in talk(start_s, start_s + 4):
            tested.observe(Task.SPEAKER, cut, voice(who) if cut.open else None)
    for place, cut in enumerate(open_cuts(20, 24)):
        vector = blend(voice(0) + voice(4)) if place == 3 else voice(0)
        told += tested.observe(Task.SPEAKER, cut, vector)
    events = [body for body in told if isinstance(body, SpeakerBody)]
    assert [body.mixed for body in events[:5]] == [False, False, False, True, False]
    assert all(body.state == "confirmed" and body.speaker == "S1" for body in events[1:])
