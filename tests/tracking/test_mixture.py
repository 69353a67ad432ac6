"""The cue for windows that two voices share, without a segmentation model."""

from __future__ import annotations

import numpy as np

from stream.events import Body, SpeakerBody
from stream.settings import Settings
from stream.tracking.mixture import is_mixed
from stream.tracking.stream_tracker import StreamTracker
from stream.tracking.voice import Vector, Voice, unit
from stream.types import ModelInfo, Task, WindowSpan
from tests.tracking.speech import speech_spans, voice

SPEAKER = ModelInfo(name="s", revision="0", task=Task.SPEAKER, threshold=0.5)


def blend(vector: np.ndarray) -> Vector:
    return unit(vector.astype(np.float32))


def scored_spans(start_s: float, end_s: float) -> list[WindowSpan]:
    return [span for span in speech_spans(start_s, end_s) if span.passes_gate]


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
