"""Overlapped speech: from a frame-level model, and the cue without one."""

from __future__ import annotations

import numpy as np

from stream.events import Body, SpeakerBody
from stream.settings import Settings
from stream.tracking.overlap import MAX_FRAMES, Overlap, OverlapTracker, is_mixed
from stream.tracking.stream_tracker import StreamTracker
from stream.tracking.voice import Vector, Voice, unit
from stream.types import SAMPLE_RATE_HZ, ModelInfo, Task, WindowSpan
from tests.tracking.speech import speech_spans, voice

SPEAKER = ModelInfo(name="s", revision="0", task=Task.SPEAKER, threshold=0.5)
OVERLAP = ModelInfo(name="o", revision="0", task=Task.OVERLAP)


def frames(span: WindowSpan, *, both_from_s: float = 1e9, both_to_s: float = 1e9) -> np.ndarray:
    """Return the scores (frames, 2) of a window in which a second person speaks for a while."""
    at_s = (span.start_sample + 320 * np.arange(span.length_samples // 320 - 1)) / SAMPLE_RATE_HZ
    second = np.where((at_s >= both_from_s) & (at_s < both_to_s), 0.9, 0.1)
    return np.stack([np.full(len(at_s), 0.9), second], axis=1).astype(np.float32)


def blend(vector: np.ndarray) -> Vector:
    return unit(vector.astype(np.float32))


def scored_spans(start_s: float, end_s: float) -> list[WindowSpan]:
    return [span for span in speech_spans(start_s, end_s) if span.passes_gate]


def test_frames_of_two_people_are_an_overlap() -> None:
    tested = OverlapTracker()
    found = []
    for span in scored_spans(10, 20):
        tested.observe(span, frames(span, both_from_s=13.0, both_to_s=15.0))
        found.append((span.end_sample / SAMPLE_RATE_HZ, tested.overlap(span)))
    assert [end_s for end_s, one in found if one.now] == [13.5, 14.0, 14.5, 15.0]
    assert [end_s for end_s, one in found if one.within] == [13.5 + 0.5 * step for step in range(7)]


def test_windows_without_scores_have_no_overlap() -> None:
    tested = OverlapTracker()
    first, *_, last = scored_spans(0, 60)
    assert tested.overlap(first) == Overlap()
    tested.observe(first, frames(first, both_from_s=0.0))
    assert tested.overlap(first).now
    assert tested.overlap(last) == Overlap()


def test_memory_is_bounded() -> None:
    tested = OverlapTracker()
    for span in scored_spans(0, 3_600)[::50]:
        tested.observe(span, frames(span))
    assert len(tested._flags) == MAX_FRAMES


def test_overlapped_speech_is_published_keeps_the_speaker_and_updates_no_voice() -> None:
    tested, bodies = StreamTracker(settings=Settings(), models=[SPEAKER, OVERLAP]), list[Body]()
    blended = blend(voice(0) + 0.6 * voice(4))
    for span in speech_spans(0, 12):
        both = 4.0 <= (span.end_sample - 1) / SAMPLE_RATE_HZ < 8.0
        tested.observe(Task.OVERLAP, span, frames(span, both_from_s=4.0, both_to_s=8.0) if span.passes_gate else None)
        bodies += tested.observe(Task.SPEAKER, span, (blended if both else voice(0)) if span.passes_gate else None)
    events = [body for body in bodies if isinstance(body, SpeakerBody)]
    overlapped = [body for body in events if body.state == "overlap"]
    assert [body.end_s for body in overlapped] == [4.5 + 0.5 * step for step in range(8)]
    assert {(body.speaker, body.reason) for body in overlapped} == {("S1", "overlap")}
    (known,) = tested._speakers.voices
    np.testing.assert_allclose(known.centroid, voice(0), atol=1e-6)


def test_overlapped_speech_creates_no_voice() -> None:
    tested, bodies = StreamTracker(settings=Settings(), models=[SPEAKER, OVERLAP]), list[Body]()
    for span in speech_spans(0, 6):
        tested.observe(Task.OVERLAP, span, frames(span, both_from_s=0.0) if span.passes_gate else None)
        bodies += tested.observe(Task.SPEAKER, span, blend(voice(0) + voice(4)) if span.passes_gate else None)
    states = {(body.state, body.speaker) for body in bodies if isinstance(body, SpeakerBody)}
    assert states == {("overlap", None), ("silence", None)}


def test_mixed_windows() -> None:
    known = [Voice(name=name, exemplars=[voice(at)], enrolled=True) for name, at in (("Ann", 0), ("Bob", 4))]

    def cue(vector: np.ndarray, before: np.ndarray | None, *, gain: float = 0.05) -> bool:
        cosines = np.array([one.similarity(vector) for one in known], dtype=np.float64)
        return is_mixed(vector, before, known, cosines, gain=gain)

    both = blend(voice(0) + voice(4))
    assert cue(both, voice(0))
    assert not cue(both, both), "unchanged since the window before: one voice"
    assert not cue(both, None), "no window before"
    assert not cue(both, voice(0), gain=1.0)
    assert not cue(voice(0), voice(4)), "one voice followed the other"
    assert not cue(blend(voice(0) + 0.3 * voice(4)), voice(4)), "the share of the second voice is small"


def test_a_mixed_window_is_marked_but_is_not_overlap() -> None:
    tested, bodies = StreamTracker(settings=Settings(), models=[SPEAKER]), list[Body]()
    for start_s, number in ((0, 0), (6, 4)):
        for span in speech_spans(start_s, start_s + 4):
            tested.observe(Task.SPEAKER, span, voice(number) if span.passes_gate else None)
    for place, span in enumerate(scored_spans(20, 24)):
        vector = blend(voice(0) + voice(4)) if place == 3 else voice(0)
        bodies += tested.observe(Task.SPEAKER, span, vector)
    events = [body for body in bodies if isinstance(body, SpeakerBody)]
    assert [body.mixed for body in events[:5]] == [False, False, False, True, False]
    assert all(body.state == "confirmed" and body.speaker == "S1" for body in events[1:])
