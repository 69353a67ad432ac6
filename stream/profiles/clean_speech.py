"""Clean speech of one recording: where one person speaks alone and no sample is clipped (pure).

Everything is kept in frames of an overlap model (20 ms). Segmentation, if there is any, gives each frame to the track
that is active in it alone; where several tracks are active, speech is overlapped. Without it, tracks are unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.clock import seconds
from stream.tracking.activity import MIN_ACTIVITY, Activity, ActivityTracker, runs_of
from stream.types import FRAME_SAMPLES, OVERLAP_FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, WindowSpan

FULL_SCALE = 0.999
"""Magnitude from which a sample is at full scale."""

MIN_CLIPPED_SAMPLES = 3
"""Samples at full scale in a frame from which it is clipped; the highest peak of a normalised recording has fewer."""

NO_TRACK, SEVERAL_TRACKS = 0, -1  # in place of the number of a track

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Seconds of speech that are not used: clipped, overlapped, and of other people."""

    clipped_s: float = 0.0
    overlapped_s: float = 0.0
    others_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.clipped_s + self.overlapped_s + self.others_s

    def __add__(self, other: LeftOut) -> LeftOut:
        """Return what is left out of two recordings."""
        return LeftOut(
            self.clipped_s + other.clipped_s, self.overlapped_s + other.overlapped_s, self.others_s + other.others_s
        )


NOTHING_LEFT_OUT = LeftOut()


class CleanSpeech:
    """Speech, clipping and tracks of one recording, frame by frame, as the recording grows."""

    def __init__(self, *, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._source_frames = 0  # frames of the source, at its rate
        self._clipped = np.zeros(0, np.int64)  # samples at full scale
        self._speech = np.zeros(0, bool)
        self._detected = 0  # frames of the speech detector
        self._owners = np.zeros(0, np.int64)  # track number, NO_TRACK or SEVERAL_TRACKS
        self._tracker = ActivityTracker()

    def add_samples(self, block: Samples) -> None:
        """Add frames (n, channels) at the source's rate: which of them are clipped."""
        clipped = np.flatnonzero((np.abs(block) >= FULL_SCALE).any(axis=1)) + self._source_frames
        self._source_frames += len(block)
        if not len(clipped):
            return
        counts = np.bincount(clipped * SAMPLE_RATE_HZ // self._rate_hz // OVERLAP_FRAME_SAMPLES)
        counts[: len(self._clipped)] += self._clipped[: len(counts)]
        self._clipped = np.concatenate((counts, self._clipped[len(counts) :]))

    def add_speech(self, speech: Flags) -> None:
        """Add whether there is speech in the next frames of the speech detector."""
        self._detected += len(speech)
        known = len(self._speech)
        centres = np.arange(known, self._detected * FRAME_SAMPLES // OVERLAP_FRAME_SAMPLES) + 0.5
        places = (centres * OVERLAP_FRAME_SAMPLES).astype(np.int64) // FRAME_SAMPLES - (self._detected - len(speech))
        self._speech = np.concatenate((self._speech, speech[np.clip(places, 0, len(speech) - 1)]))

    def add_activity(self, span: WindowSpan, activity: Activity) -> None:
        """Add the probabilities (frames, speakers) of a segmentation window, which may correct earlier ones."""
        self._tracker.observe(span, activity)
        first = span.start_sample // OVERLAP_FRAME_SAMPLES
        end = first + len(activity)
        self._owners = _extended(self._owners, end)
        owners = np.where((activity >= MIN_ACTIVITY).sum(axis=1) > 1, SEVERAL_TRACKS, NO_TRACK)
        for track in self.newest_tracks:
            for start_sample, end_sample in self._tracker.solo(track, span.start_sample, span.end_sample):
                part = slice(start_sample // OVERLAP_FRAME_SAMPLES - first, end_sample // OVERLAP_FRAME_SAMPLES - first)
                owners[part] = track
        self._owners[first:end] = owners

    @property
    def newest_tracks(self) -> Sequence[int]:
        """The tracks in the newest segmentation window."""
        return sorted(self._tracker.latest.present)

    def parts(self, span: WindowSpan, track: int | None) -> list[tuple[int, int]]:
        """Return the parts of a window, in samples, in which speech is clean and `track` speaks, if it is given."""
        first, end = span.start_sample // OVERLAP_FRAME_SAMPLES, -(-span.end_sample // OVERLAP_FRAME_SAMPLES)
        wanted = ~self._clipped_frames(end)[first:]
        if track is not None:
            wanted &= _extended(self._owners, end)[first:end] == track
        return [
            (
                max(span.start_sample, (first + start) * OVERLAP_FRAME_SAMPLES),
                min(span.end_sample, (first + stop) * OVERLAP_FRAME_SAMPLES),
            )
            for start, stop in runs_of(wanted)
        ]

    def solo_s(self, track: int) -> float:
        """Return for how long a track speaks alone, in clean speech."""
        return self._length_s((self._owned() == track) & self._unclipped())

    def left_out(self, others: Collection[int] = ()) -> LeftOut:
        """Return the speech that is not used, with that of the tracks `others`."""
        owners, unclipped = self._owned(), self._unclipped()
        return LeftOut(
            clipped_s=self._length_s(~unclipped),
            overlapped_s=self._length_s(unclipped & (owners == SEVERAL_TRACKS)),
            others_s=self._length_s(unclipped & np.isin(owners, list(others))),
        )

    def _length_s(self, frames: Flags) -> float:
        return seconds(int((frames & self._speech).sum()) * OVERLAP_FRAME_SAMPLES)

    def _owned(self) -> NDArray[np.int64]:
        return _extended(self._owners, len(self._speech))[: len(self._speech)]

    def _unclipped(self) -> Flags:
        return ~self._clipped_frames(len(self._speech))

    def _clipped_frames(self, end: int) -> Flags:
        return _extended(self._clipped, end)[:end] >= MIN_CLIPPED_SAMPLES


def _extended(values: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Return at least `length` values, zeros at the end."""
    return values if len(values) >= length else np.concatenate((values, np.zeros(length - len(values), np.int64)))
