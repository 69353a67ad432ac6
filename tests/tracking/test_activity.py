"""Tracks of local speakers: one person keeps a track, whatever the local numbers, and overlap is what two share."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.events import Body, SpeakerBody, TurnBody
from stream.settings import Settings, SpeakersSettings
from stream.tracking.activity import MEMORY_FRAMES, ActivityTracker
from stream.tracking.stream_tracker import StreamTracker
from stream.tracking.turns import LEAD_SAMPLES
from stream.types import SAMPLE_RATE_HZ, ModelInfo, SpeechSegment, Task, WindowSpan, WindowSpec
from tests.tracking.speech import voice

SEGMENTATION = WindowSpec(80_000, 8_000, 16_000, from_onset=False, any_speech=True)
SPEAKER = WindowSpec(32_000, 8_000, 8_000)
MODELS = [
    ModelInfo(name="speaker", revision="0", task=Task.SPEAKER, threshold=0.5),
    ModelInfo(name="overlap", revision="0", task=Task.OVERLAP),
]
FRAMES_A_SECOND = SAMPLE_RATE_HZ // 320

SETTINGS = Settings()

LEAD_S = LEAD_SAMPLES / SAMPLE_RATE_HZ
Speech = dict[int, tuple[tuple[float, float], ...]]
"""When each person speaks, in seconds."""

ONE_AFTER_THE_OTHER: Speech = {0: ((0.0, 6.0), (12.0, 20.0)), 4: ((6.0, 12.0),)}
BOTH_FOR_A_WHILE: Speech = {0: ((0.0, 8.0),), 4: ((6.0, 14.0),)}


def spans(spec: WindowSpec, end_s: float, pause_s: tuple[float, float] = (0.0, 0.0)) -> list[WindowSpan]:
    """Return the windows of speech from the start of a stream, with one pause."""
    found = []
    silent, resumed = (int(one * SAMPLE_RATE_HZ) for one in pause_s)
    for end in range(spec.hop_samples, int(end_s * SAMPLE_RATE_HZ) + 1, spec.hop_samples):
        start = max(0, end - spec.length_samples)
        long = end - start >= spec.minimum_samples
        found.append(
            WindowSpan(
                spec,
                end // spec.hop_samples - 1,
                start,
                end,
                end - start,
                0 if silent < end <= resumed else spec.hop_samples,
                SpeechSegment(0, min(end, silent or end)) if end <= resumed else SpeechSegment(resumed, end),
                long,
            )
        )
    return found


def scores(span: WindowSpan, speech: Speech, *, turned: int = 0) -> np.ndarray:
    """Return the activity (frames, 3) of a window; `turned` changes which local speaker a person is."""
    at_s = (span.start_sample + 320 * np.arange(span.length_samples // 320) + 160) / SAMPLE_RATE_HZ
    found = np.full((len(at_s), 3), 0.02, np.float32)
    for place, parts in enumerate(speech.values()):
        for start_s, end_s in parts:
            found[(at_s >= start_s) & (at_s < end_s), (place + turned) % 3] = 0.95
    return found


def observed(speech: Speech, end_s: float) -> list[tuple[float, int | None, bool, int]]:
    """Return the end, track, overlap and onset of each window; local speakers are numbered anew in each."""
    tested, found = ActivityTracker(), []
    for number, span in enumerate(spans(SEGMENTATION, end_s)):
        if span.passes_gate:
            tested.observe(span, scores(span, speech, turned=number))
            now = tested.foreground(span.end_sample)
            assert now is not None
            found.append((span.end_sample / SAMPLE_RATE_HZ, now.track, now.overlapped, now.onset_sample))
    return found


def test_a_person_keeps_a_track_whatever_the_local_numbers_are() -> None:
    found = observed(ONE_AFTER_THE_OTHER, 20.0)
    first = {track for end_s, track, *_ in found if end_s <= 6.0}
    second = {track for end_s, track, *_ in found if 6.0 < end_s <= 12.0}
    assert len(first) == len(second) == 1
    assert first != second
    assert not any(overlapped for _, _, overlapped, _ in found)
    onsets_s = [onset / SAMPLE_RATE_HZ for end_s, _, _, onset in found if 6.5 <= end_s <= 10.0]
    assert onsets_s == pytest.approx([6.0] * len(onsets_s), abs=0.03)


def test_two_at_once_are_an_overlap_and_the_first_stays_in_the_foreground() -> None:
    found = observed(BOTH_FOR_A_WHILE, 14.0)
    assert [end_s for end_s, _, overlapped, _ in found if overlapped] == [6.5, 7.0, 7.5, 8.0, 8.5]
    by_end = {end_s: track for end_s, track, *_ in found}
    assert by_end[7.0] == by_end[8.0] == by_end[5.0]
    assert by_end[8.5] == by_end[14.0] != by_end[5.0]


def test_parts_alone_leave_the_overlap_out() -> None:
    tested = ActivityTracker()
    for span in spans(SEGMENTATION, 10.0):
        if span.passes_gate:
            tested.observe(span, scores(span, BOTH_FOR_A_WHILE))
    now = tested.foreground(160_000)
    assert now is not None
    assert now.track is not None
    parts = tested.solo(now.track, 5 * SAMPLE_RATE_HZ, 10 * SAMPLE_RATE_HZ)
    assert [(start / SAMPLE_RATE_HZ, end / SAMPLE_RATE_HZ) for start, end in parts] == [(8.0, 10.0)]


def test_nothing_is_said_of_windows_without_scores() -> None:
    tested = ActivityTracker()
    assert tested.foreground(0) is None
    assert tested.foreground(80_000) is None
    span = spans(SEGMENTATION, 5.0)[-1]
    tested.observe(span, scores(span, ONE_AFTER_THE_OTHER))
    assert tested.foreground(80_000) is not None
    assert tested.foreground(88_000) is None
    assert tested.latest.track is not None
    assert not tested.latest.overlapped


def test_memory_is_bounded() -> None:
    tested = ActivityTracker()
    for number, span in enumerate(spans(SEGMENTATION, 600.0)[::3]):
        people: Speech = {0: ((span.start_sample / SAMPLE_RATE_HZ, span.end_sample / SAMPLE_RATE_HZ - number % 3),)}
        tested.observe(span, scores(span, people, turned=number))
    assert len(tested._tracks) <= 3
    assert all(len(track.activity) == MEMORY_FRAMES for track in tested._tracks)


class Embedder:
    """A stream tracker with the x-vector of whoever speaks alone in the parts that it asks for."""

    def __init__(
        self,
        speech: Speech,
        end_s: float,
        *,
        confused_after_s: tuple[float, float] = (0.0, 0.0),
        settings: Settings = SETTINGS,
    ) -> None:
        self.tracker = StreamTracker(settings=settings, models=MODELS)
        self.bodies: list[Body] = []
        self.parts: list[list[tuple[int, int]]] = []
        for segmentation, speaker in zip(
            spans(SEGMENTATION, end_s, confused_after_s), spans(SPEAKER, end_s, confused_after_s), strict=True
        ):
            if segmentation.passes_gate:
                told = (
                    {0: tuple(part for parts in speech.values() for part in parts)} if confused_after_s[1] else speech
                )
                self.tracker.observe(Task.OVERLAP, segmentation, scores(segmentation, told))
            self.parts.append(self.tracker.parts_to_embed(speaker))
            people = {
                person
                for start, end in self.parts[-1]
                for person, own in speech.items()
                if any(min(end / 16_000, to) - max(start / 16_000, since) > 0.05 for since, to in own)
            }
            vector = np.sum([voice(person) for person in people], axis=0) if people else None
            vector = None if vector is None else (vector / np.linalg.norm(vector)).astype(np.float32)
            self.bodies += self.tracker.observe(Task.SPEAKER, speaker, vector)
        self.bodies += self.tracker.close(int(end_s * SAMPLE_RATE_HZ))

    @property
    def labels(self) -> dict[float, tuple[str, str | None]]:
        """State and speaker by the end of the window."""
        return {body.end_s: (body.state, body.speaker) for body in self.bodies if isinstance(body, SpeakerBody)}


def test_a_change_without_a_pause_ends_the_turn_where_it_was() -> None:
    tested = Embedder(ONE_AFTER_THE_OTHER, 20.0)
    turns = [(t.speaker, t.start_s, t.end_s) for t in tested.bodies if isinstance(t, TurnBody) and t.phase == "end"]
    assert [speaker for speaker, *_ in turns] == ["S1", "S2", "S1"]
    assert [start_s for _, start_s, _ in turns] == pytest.approx([0.0, 6.0, 12.0], abs=0.1)
    assert [end_s for *_, end_s in turns] == pytest.approx([6.0, 12.0, 20.0], abs=0.1)
    assert tested.labels[6.5][1] != "S1", "the label of the one before is gone at once"


def test_a_certain_voice_is_embedded_as_often_as_it_is_to_be_checked() -> None:
    tested = Embedder({0: ((0.0, 20.0),)}, 20.0, settings=Settings(speakers=SpeakersSettings(recheck_s=1.0)))
    assert {body.speaker for body in tested.bodies if isinstance(body, SpeakerBody) and body.end_s > 2} == {"S1", None}
    later = [bool(parts) for parts in tested.parts[10:]]
    assert later == [index % 2 == later.index(True) % 2 for index in range(len(later))]


def test_overlap_is_published_with_the_first_speaker_and_asks_for_no_mixed_x_vector() -> None:
    tested = Embedder(BOTH_FOR_A_WHILE, 14.0)
    assert [end_s for end_s, (state, _) in tested.labels.items() if state == "overlap"] == [6.5, 7.0, 7.5, 8.0, 8.5]
    assert {tested.labels[end_s][1] for end_s in (6.5, 7.0, 7.5, 8.0)} == {"S1"}
    assert tested.labels[12.0] == ("confirmed", "S2")
    overlap = [
        (start, end)
        for parts in tested.parts
        for start, end in parts
        if start < 7.9 * SAMPLE_RATE_HZ and end > 6.1 * SAMPLE_RATE_HZ
    ]
    assert overlap == []
    assert len(tested.tracker._speakers.voices) == 2, "no voice of the mixture"


def test_without_segmentation_whole_windows_are_embedded() -> None:
    tested = StreamTracker(settings=Settings(), models=MODELS[:1])
    for span in spans(SPEAKER, 4.0):
        assert tested.parts_to_embed(span) == [(span.start_sample, span.end_sample)]


def ended(tested: Embedder) -> list[tuple[str | None, float, float]]:
    """Speaker, start and end of each turn, in order of starts."""
    turns = [body for body in tested.bodies if isinstance(body, TurnBody)]
    assert Counter(turn.turn for turn in turns) == dict.fromkeys({turn.turn for turn in turns}, 2), "all turns end once"
    ends = [turn for turn in turns if turn.phase == "end"]
    return sorted(((one.speaker, one.start_s, one.end_s) for one in ends), key=lambda one: one[1])


def speakers_at(tested: Embedder, end_s: float) -> list[tuple[str | None, float]]:
    (body,) = (body for body in tested.bodies if isinstance(body, SpeakerBody) and body.end_s == end_s)
    return [(one.speaker, one.since_s) for one in body.speakers]


def test_who_speaks_into_a_turn_has_one_of_their_own() -> None:
    """Ann (4) begins her turn after Bob (0); Bob speaks into it and goes on alone for a moment, then Ann does."""
    speech: Speech = {0: ((0.0, 6.0), (14.0, 15.5)), 4: ((6.0, 14.7), (15.2, 26.0))}
    turns = ended(Embedder(speech, 26.0))
    assert [speaker for speaker, *_ in turns] == ["S1", "S2", "S1"]
    assert [times for _, *times in turns] == [
        pytest.approx(times, abs=0.1) for times in ([0.0, 6.0], [6.0, 26.0], [14.0, 15.5])
    ]


def test_turns_overlap_where_one_begins_before_the_other_has_ended() -> None:
    tested = Embedder(BOTH_FOR_A_WHILE, 14.0)
    assert [speaker for speaker, *_ in ended(tested)] == ["S1", "S2"]
    (_, *first), (_, *second) = ended(tested)
    assert first == pytest.approx([0.0, 8.0], abs=0.1)
    assert second == pytest.approx([6.0, 14.0], abs=0.1)
    assert [name for name, _ in speakers_at(tested, 7.5)] == ["S1", None]
    assert [since_s for _, since_s in speakers_at(tested, 7.5)] == pytest.approx([0.0, 6.0], abs=0.1)
    assert [name for name, _ in speakers_at(tested, 12.0)] == ["S2"]
    assert speakers_at(tested, 12.0)[0][1] == pytest.approx(6.0, abs=0.1)


def test_several_speakers_are_listed_exactly_in_an_overlap() -> None:
    tested = Embedder({0: ((0.0, 6.0), (14.0, 16.0)), 4: ((6.0, 20.0),)}, 20.0)
    for body in tested.bodies:
        if isinstance(body, SpeakerBody):
            assert (len(body.speakers) > 1) == (body.state == "overlap")
            assert bool(body.speakers) == (body.state != "silence")
            assert not body.speakers or body.speakers[0].speaker == body.speaker
            names = [one.speaker for one in body.speakers]
            assert len(names) == len(set(names))


@pytest.mark.parametrize(("length_s", "turns"), [(0.3, 1), (1.2, 2)])
def test_a_back_channel_of_an_unknown_voice_is_no_turn_and_never_a_new_voice(length_s: float, turns: int) -> None:
    tested = Embedder({0: ((0.0, 12.0),), 4: ((8.0, 8.0 + length_s),)}, 12.0)
    assert ended(tested)[0] == ("S1", 0.0, 12.0)
    assert len(ended(tested)) == turns
    assert {speaker for speaker, *_ in ended(tested)[1:]} <= {None}
    assert len(tested.tracker._speakers.voices) == 1


def test_a_track_used_for_another_person_after_a_pause_begins_no_turn_under_the_old_name() -> None:
    """Segmentation takes Ann (4), who speaks after a pause, for Bob (0) still."""
    tested = Embedder({0: ((0.0, 6.0),), 4: ((8.0, 14.0),)}, 14.0, confused_after_s=(6.0, 8.0))
    assert [(speaker, start_s) for speaker, start_s, _ in ended(tested)] == [("S1", 0.0), ("S2", 8.0 - LEAD_S)]
    assert ended(tested)[0][2] == pytest.approx(6.0, abs=0.1)
    assert all(body.speaker != "S1" for body in tested.bodies if isinstance(body, SpeakerBody) and body.end_s > 8)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0.2, 5.0), st.floats(-2.0, 1.5)), min_size=2, max_size=7))
def test_turns_pair_up_and_those_of_one_voice_never_overlap(script: list[tuple[int, float, float]]) -> None:
    speech, start_s = dict[int, tuple[tuple[float, float], ...]](), 0.0
    for person, length_s, pause_s in script:
        own = speech.get(2 * person, ())
        begin_s = max([start_s, *(end for _, end in own)])
        speech[2 * person] = (*own, (begin_s, begin_s + length_s))
        start_s = max(0.0, begin_s + length_s + pause_s)
    tested = Embedder(speech, max(end for own in speech.values() for _, end in own))
    for name in ("S1", "S2", "S3"):
        own_turns = [times for speaker, *times in ended(tested) if speaker == name]
        assert all(before[1] <= after[0] for before, after in pairwise(own_turns)), ended(tested)
    assert all(start_s <= end_s for _, start_s, end_s in ended(tested))


def test_interim_windows_publish_only_what_has_changed() -> None:
    tested = StreamTracker(settings=SETTINGS, models=MODELS[:1])
    end_of_speech, ends = 83_200, range(4_000, 6 * SAMPLE_RATE_HZ, 4_000)
    bodies: dict[int, list[Body]] = {}
    for end in ends:
        speech = SpeechSegment(0, min(end, end_of_speech))
        fresh = max(0, speech.end_sample - (end - 4_000))
        span = WindowSpan(
            SPEAKER,
            0,
            max(0, end - 32_000),
            end,
            end,
            fresh,
            speech,
            passes_gate=end >= 8_000,
            interim=end % 8_000 != 0,
        )
        bodies[end] = tested.observe(Task.SPEAKER, span, voice(0) if span.passes_gate and fresh else None)
    published = {end: body for end, found in bodies.items() for body in found if isinstance(body, SpeakerBody)}
    states = [(end / SAMPLE_RATE_HZ, body.state, body.reason) for end, body in published.items() if end % 8_000]
    assert states == [(0.25, "tentative", "too_short"), (1.25, "confirmed", "new_voice"), (5.75, "silence", "silence")]
    assert [end for end in published if end % 8_000 == 0] == list(range(8_000, 88_001, 8_000))
    found = [body for window in bodies.values() for body in window] + tested.close(ends.stop)
    assert [(body.start_s, body.end_s) for body in found if isinstance(body, TurnBody)][1:] == [(0.0, 5.2)]
