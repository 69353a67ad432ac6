"""Online diarization by incremental clustering, as a peer of the tracker: the same two networks, driven as diart does.

After Coria et al. 2021 (arXiv:2109.06483). Every half second the newest 5 s are segmented into local speakers, each
with an x-vector of the frames in which it is active alone. Local speakers are assigned one to one to the centroids of
the recording, as near as possible in sum; one that is too far from all begins a centroid if it speaks long enough, and
takes the nearest free one otherwise. What is said of the newest half second is never changed. Thresholds of activity
and length are those that the library diart publishes for DIHARD III; that of the distance belongs to the x-vectors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from stream.audio.windows import join_parts
from stream.clock import samples, seconds
from stream.events import Body, Reason, SpeakerBody, SpeakerState, TurnBody
from stream.tracking.activity import Activity, runs_of
from stream.tracking.voice import Vector, Voice, unit
from stream.types import OVERLAP_FRAME_SAMPLES, Model, Samples, Window

WINDOW_SAMPLES = samples(5.0)
STEP_SAMPLES = samples(0.5)
MIN_ACTIVITY = 0.555
"""Probability from which a local speaker is active in a frame."""

MIN_UPDATE_SHARE = 0.422
"""Share of a window that a local speaker has to speak to begin or to move a centroid."""

_REASONS: Mapping[SpeakerState, Reason] = {"silence": "silence", "tentative": "too_short", "overlap": "overlap"}


@dataclass(frozen=True, slots=True)
class LocalSpeakers:
    """The local speakers of one window: activity (frames, speakers), and an x-vector of each, or None if too short."""

    end_sample: int
    activity: Activity
    vectors: tuple[Vector | None, ...]


def local_speakers(audio: Samples, *, segmentation: Model, speaker: Model) -> Iterator[LocalSpeakers]:
    """Yield the local speakers of each window of a recording (n,)."""
    for end in range(STEP_SAMPLES, len(audio) + 1, STEP_SAMPLES):
        start = max(0, end - WINDOW_SAMPLES)
        if end - start < segmentation.spec.minimum_samples:
            continue
        window = Window("", 0, start, audio[start:end], 1.0, end - start)
        activity = np.asarray(segmentation.infer([window])[0].values)
        active = activity >= MIN_ACTIVITY
        vectors: list[Vector | None] = []
        for own in active.T:
            alone = runs_of(own & (active.sum(axis=1) == 1))
            parts = [(start + a * OVERLAP_FRAME_SAMPLES, start + b * OVERLAP_FRAME_SAMPLES) for a, b in alone]
            enough = sum(b - a for a, b in parts) >= speaker.spec.minimum_samples
            vectors.append(unit(np.asarray(speaker.infer([join_parts(window, parts)])[0].values)) if enough else None)
        yield LocalSpeakers(end, activity, tuple(vectors))


class IncrementalClustering:
    """The centroids of one recording, enrolled voices first; these do not move.

    Args:
        enrolled: The enrolled voices.
        max_distance: Cosine distance up to which a local speaker belongs to a centroid.
    """

    def __init__(self, *, enrolled: Sequence[Voice], max_distance: float) -> None:
        self._sums: dict[str, Vector] = {voice.name: voice.centroid for voice in enrolled}
        self._frozen = frozenset(self._sums)
        self._max_distance = max_distance
        self._count = 0

    def assign(self, window: LocalSpeakers) -> Mapping[int, str]:
        """Return the names of local speakers, and move or begin their centroids."""
        active = (window.activity >= MIN_ACTIVITY).mean(axis=0)
        places = [place for place, vector in enumerate(window.vectors) if vector is not None and active[place] > 0]
        names = list(self._sums)
        if not places:
            return {}
        vectors = np.stack([vector for vector in window.vectors if vector is not None])
        distances = np.array([[1.0 - float(unit(self._sums[name]) @ vector) for name in names] for vector in vectors])
        found: dict[int, str] = {}
        if names:
            for row, column in zip(*linear_sum_assignment(distances), strict=True):
                if distances[row, column] <= self._max_distance:
                    found[places[row]] = names[column]
        for row, place in enumerate(places):
            if place in found:
                continue
            free = [at for at, name in enumerate(names) if name not in found.values() and name not in self._frozen]
            if active[place] >= MIN_UPDATE_SHARE or not free:
                self._count += 1
                found[place] = f"S{self._count}"
                self._sums[found[place]] = vectors[row]
            else:
                found[place] = names[min(free, key=lambda at: float(distances[row, at]))]
        for row, place in enumerate(places):
            name = found[place]
            if name not in self._frozen and name in names and active[place] >= MIN_UPDATE_SHARE:
                self._sums[name] = self._sums[name] + vectors[row]
        return found


def labelled(windows: Sequence[LocalSpeakers], enrolled: Sequence[Voice], *, threshold: float) -> list[Body]:
    """Return the events of a recording: speaker labels as they come, and turns at the end."""
    clustering = IncrementalClustering(enrolled=enrolled, max_distance=1.0 - threshold)
    people = frozenset(voice.name for voice in enrolled)
    newest_frames = STEP_SAMPLES // OVERLAP_FRAME_SAMPLES
    bodies: list[Body] = []
    runs: dict[str, list[tuple[int, int]]] = {}
    for window in windows:
        names = clustering.assign(window)
        newest = window.activity[-newest_frames:] >= MIN_ACTIVITY
        first = window.end_sample - len(newest) * OVERLAP_FRAME_SAMPLES
        for place, name in names.items():
            for start, end in runs_of(newest[:, place]):
                _extend(runs.setdefault(name, []), first, start, end)
        shares = {name: float(newest[:, place].mean()) for place, name in names.items() if newest[:, place].any()}
        foremost = max(shares, key=lambda name: shares[name], default=None)
        several = float((newest.sum(axis=1) > 1).mean()) >= 0.4  # noqa: PLR2004 - 0.2 s of the newest half second
        state: SpeakerState = "silence" if not newest.any() else "overlap" if several else "confirmed"
        if foremost is None and state != "silence":
            state = "tentative"
        bodies.append(speaker_body(first, window.end_sample, state, foremost, enrolled=foremost in people))
    turns = [(start, end, name) for name, own in runs.items() for start, end in own]
    for number, (start, end, name) in enumerate(sorted(turns)):
        bodies.append(
            TurnBody(phase="end", turn=f"t{number}", start_s=seconds(start), end_s=seconds(end), speaker=name)
        )
    return bodies


def speaker_body(
    start_sample: int, end_sample: int, state: SpeakerState, name: str | None = None, *, enrolled: bool = False
) -> SpeakerBody:
    """Return the label of a window as an event, without evidence."""
    return SpeakerBody(
        start_s=seconds(start_sample),
        end_s=seconds(end_sample),
        state=state,
        speaker=name,
        enrolled=enrolled,
        score=None,
        runner_up=None,
        margin=None,
        threshold=None,
        evidence_s=0.0,
        reason=_REASONS.get(state, "matched"),
    )


def _extend(runs: list[tuple[int, int]], first: int, start: int, end: int) -> None:
    """Append a run of frames after sample `first`, or extend the last one where they touch."""
    begin, until = first + start * OVERLAP_FRAME_SAMPLES, first + end * OVERLAP_FRAME_SAMPLES
    if runs and runs[-1][1] >= begin:
        runs[-1] = runs[-1][0], until
    else:
        runs.append((begin, until))
