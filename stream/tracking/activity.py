"""Who is active when: local speakers of overlapping windows joined into tracks (pure).

A segmentation model says for each frame of a window which of up to three *local* speakers are active; their numbers
mean nothing beyond the window. Windows overlap, so a local speaker who is active in the frames that two windows share
continues a *track* of the window before. Local speakers and tracks are matched one to one by the activity they share
(the idea: Coria et al. 2021, "Overlap-aware low-latency online speaker diarization"); a local speaker without a match
begins a new track. A track is one person for as long as their speech is in the window. Whose voice it is, x-vectors of
its frames decide.

The activity of a track is a running mean over the windows that cover a frame, so that a later window, which knows what
followed, corrects an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from stream.types import OVERLAP_FRAME_SAMPLES as FRAME_SAMPLES
from stream.types import WindowSpan

Activity = NDArray[np.float32]

MEMORY_FRAMES = 1_500
"""Frames kept: 30 s."""

MIN_ACTIVITY = 0.5
"""Probability from which a speaker counts as active in a frame."""

MIN_SHARED_FRAMES = 10.0
"""Activity that a local speaker shares with a track that it continues: 0.2 s."""

MIN_SHARED_PART = 0.4
"""The same as a part of the lesser activity of both in the frames that two windows share."""

MAX_GAP_FRAMES = 25
"""Longest pause within a run of activity: 0.5 s."""

NEWEST_FRAMES = 10
"""Frames that say who speaks now: 0.2 s."""

MIN_SHARE_TO_STAY = 0.5
"""Share of the newest frames in which a speaker stays in the foreground although another has begun."""

OVERLAP_FRAMES = 50
MIN_OVERLAP_SHARE = 0.2
"""Share of the newest second in which several people speak from which they speak at once now."""

MIN_OVERLAP = 0.5
"""Probability that several people speak in a frame, from which they count as several there …"""

MIN_SHARED = 0.3
"""… and for speech in the background, of which later windows know more."""

NEWEST_WEIGHT = 0.5
"""Weight of a window in the running mean of a frame that earlier windows covered."""


@dataclass(frozen=True, slots=True)
class TrackRun:
    """The newest run of a track's activity, in samples; short pauses do not end it.

    `active_samples` is its activity without these pauses, `shared_samples` the part in which several people speak.
    """

    track: int
    start_sample: int
    end_sample: int
    active_samples: int
    shared_samples: int


@dataclass(frozen=True, slots=True)
class Foreground:
    """What segmentation says about the newest speech.

    `track` is who speaks, or the first of several. `began_sample` is where the newest speech of `track` began;
    `onset_sample` is that, or where the one who was in the foreground before fell silent, whichever is later. `others`
    are the runs of the other tracks in the window.
    """

    track: int | None = None
    onset_sample: int = 0
    began_sample: int = 0
    overlapped: bool = False
    others: tuple[TrackRun, ...] = ()

    @property
    def present(self) -> frozenset[int]:
        """All tracks in the window."""
        return frozenset((*((self.track,) if self.track is not None else ()), *(one.track for one in self.others)))


NO_FOREGROUND = Foreground()
"""There is no segmentation."""


@dataclass(slots=True, eq=False)
class SpeakerTrack:
    """One person's activity while they stay in the window, for the newest `MEMORY_FRAMES` frames."""

    number: int
    activity: Activity = field(default_factory=lambda: np.zeros(MEMORY_FRAMES, np.float32))


class ActivityTracker:
    """The tracks of one stream."""

    def __init__(self) -> None:
        self._tracks: list[SpeakerTrack] = []
        self._end = 0  # the frame after the last one kept
        self._foreground = NO_FOREGROUND  # at the end of the newest window
        self._before: int | None = None  # the track that was in the foreground before
        self._free_sample = 0  # where it fell silent
        self._several = np.zeros(MEMORY_FRAMES, np.float32)  # probability that several people speak
        self._count = 0

    def observe(self, span: WindowSpan, probabilities: Activity) -> None:
        """Add the probabilities (frames, speakers) of a window that ends no earlier than those before."""
        start = span.start_sample // FRAME_SAMPLES
        probabilities = probabilities[-MEMORY_FRAMES:]
        known = max(0, self._end - start)  # frames that earlier windows covered, too
        self._advance(start + len(probabilities))
        place = MEMORY_FRAMES - (self._end - start)
        window = slice(place, place + len(probabilities))
        locals_ = [local for local in probabilities.T if (local >= MIN_ACTIVITY).any()]
        matched = self._match([local[:known] for local in locals_], slice(place, place + known))
        for track in self._tracks:
            local = next((own for own, to in zip(locals_, matched, strict=True) if to is track), None)
            newest = np.zeros(len(probabilities), np.float32) if local is None else local
            _blend(track.activity[window], newest, known)
        several = _several(probabilities)
        _blend(self._several[window], several, known)
        for local, continued in zip(locals_, matched, strict=True):
            if continued is None:
                self._count += 1
                new = SpeakerTrack(self._count)
                new.activity[window] = local
                self._tracks.append(new)
        before = self._foreground.track
        silent_from = 0 if before is None else self._newest_run(before)[1]
        self._tracks = [one for one in self._tracks if (one.activity[window] >= MIN_ACTIVITY).any()]
        foremost = self._foremost()
        if foremost != before:
            self._before, self._free_sample = before, silent_from
        else:
            self._free_sample = self._silent_sample(self._before, self._free_sample)
        began = 0 if foremost is None else self._newest_run(foremost)[0]
        self._foreground = Foreground(
            track=foremost,
            onset_sample=0 if foremost is None else max(began, self._free_sample),
            began_sample=began,
            overlapped=float((several[-OVERLAP_FRAMES:] >= MIN_OVERLAP).mean()) >= MIN_OVERLAP_SHARE,
            others=tuple(self._run(one.number) for one in self._tracks if one.number != foremost),
        )

    def foreground(self, end_sample: int) -> Foreground | None:
        """Return who speaks before `end_sample`, which is the end of the newest window; None if none ended there."""
        return self._foreground if self._end and self._end == end_sample // FRAME_SAMPLES else None

    @property
    def latest(self) -> Foreground:
        """What is still known where no window ended: the track in the foreground, without overlap."""
        return replace(self._foreground, onset_sample=0, overlapped=False)

    def solo(self, number: int, start_sample: int, end_sample: int) -> list[tuple[int, int]]:
        """Return the parts, in samples, in which a track is active and no other."""
        part = self._part(start_sample, end_sample)
        active = self._active(part)
        own = [one.number for one in self._tracks].index(number)
        first = self._end - MEMORY_FRAMES + part.start
        return [
            (max(start_sample, (first + start) * FRAME_SAMPLES), min(end_sample, (first + end) * FRAME_SAMPLES))
            for start, end in runs_of(active[own] & (active.sum(axis=0) == 1))
        ]

    def _run(self, number: int) -> TrackRun:
        start, end = self._newest_run(number)
        part = self._part(start, end)
        own = self._active(part)[[one.number for one in self._tracks].index(number)]
        shared = own & (self._several[part] >= MIN_SHARED)
        return TrackRun(number, start, end, int(own.sum()) * FRAME_SAMPLES, int(shared.sum()) * FRAME_SAMPLES)

    def _newest_run(self, number: int) -> tuple[int, int]:
        """Return the samples at which the newest run of a track's activity began and ended."""
        activity = next(one.activity for one in self._tracks if one.number == number)
        runs = runs_of(activity >= MIN_ACTIVITY)
        begin, last = runs[-1] if runs else (MEMORY_FRAMES, MEMORY_FRAMES)
        for start, end in reversed(runs):
            if begin - end > MAX_GAP_FRAMES:
                break
            begin = start
        first = self._end - MEMORY_FRAMES
        return (first + begin) * FRAME_SAMPLES, (first + last) * FRAME_SAMPLES

    def _silent_sample(self, number: int | None, until: int) -> int:
        """Return where a track fell silent before `until`, as far as later windows know better."""
        activity = next((one.activity for one in self._tracks if one.number == number), None)
        place = MEMORY_FRAMES - (self._end - until // FRAME_SAMPLES)
        if activity is None or place <= 0:
            return until
        active = np.flatnonzero(activity[:place] >= MIN_ACTIVITY)
        return until if not len(active) else (self._end - MEMORY_FRAMES + int(active[-1]) + 1) * FRAME_SAMPLES

    def _foremost(self) -> int | None:
        """Return the track of the newest frames; who begins while another goes on stays in the background."""
        newest = self._active(slice(MEMORY_FRAMES - NEWEST_FRAMES, MEMORY_FRAMES)).mean(axis=1)
        shares = {one.number: float(share) for one, share in zip(self._tracks, newest, strict=True)}
        before = self._foreground.track
        if before is not None and shares.get(before, 0.0) >= MIN_SHARE_TO_STAY:
            return before
        best = max(shares, key=lambda number: shares[number], default=None)
        if best is not None and shares[best] > 0:
            return best
        return before if before in shares else None

    def _active(self, part: slice) -> NDArray[np.bool_]:
        """Return whether each track is active in each frame (tracks, frames)."""
        if not self._tracks:
            return np.zeros((0, part.stop - part.start), bool)
        return np.stack([one.activity[part] for one in self._tracks]) >= MIN_ACTIVITY

    def _part(self, start_sample: int, end_sample: int) -> slice:
        """Return the places of the frames between two samples, at least one."""
        last = MEMORY_FRAMES - (self._end - end_sample // FRAME_SAMPLES)
        last = min(max(last, 1), MEMORY_FRAMES)
        first = MEMORY_FRAMES - (self._end - start_sample // FRAME_SAMPLES)
        return slice(min(max(first, 0), last - 1), last)

    def _advance(self, end: int) -> None:
        shift = end - self._end
        if shift <= 0:
            return
        for track in self._tracks:
            track.activity = _shifted(track.activity, shift)
        self._several = _shifted(self._several, shift)
        self._end = end

    def _match(self, parts: list[Activity], shared: slice) -> list[SpeakerTrack | None]:
        """Return the track that each local speaker continues; `parts` is their activity in the `shared` frames."""
        options: list[list[tuple[float, SpeakerTrack | None]]] = []
        for part in parts:
            options.append([(0.0, None)])
            for track in self._tracks:
                other = track.activity[shared]
                both = float(np.minimum(part, other).sum())
                if both >= max(MIN_SHARED_FRAMES, MIN_SHARED_PART * min(float(part.sum()), float(other.sum()))):
                    options[-1].append((both, track))
        best, matched = -1.0, list[SpeakerTrack | None]()
        for chosen in product(*options):  # few: a local speaker shares activity with one or two tracks
            tracks = [track for _, track in chosen]
            taken = [track for track in tracks if track is not None]
            total = sum(both for both, _ in chosen)
            if total > best and len(set(taken)) == len(taken):
                best, matched = total, tracks
        return matched


def _several(probabilities: Activity) -> Activity:
    """Return the probability that several people speak in each frame; `probabilities` is (frames, speakers).

    The probabilities of all speakers add up to the expected number of people: beyond one, it is the probability of a
    second, without their names. Two candidates for the second voice do not share it out among them.
    """
    several: Activity = np.clip(probabilities.sum(axis=1) - 1.0, 0.0, 1.0).astype(np.float32)
    return several


def _blend(kept: Activity, newest: Activity, known: int) -> None:
    """Update the frames of a window in place; the first `known` of them were covered by earlier windows."""
    kept[:known] += NEWEST_WEIGHT * (newest[:known] - kept[:known])
    kept[known:] = newest[known:]


def _shifted(frames: Activity, shift: int) -> Activity:
    moved: Activity = np.concatenate((frames, np.zeros(min(shift, MEMORY_FRAMES), np.float32)))[-MEMORY_FRAMES:]
    return moved


def runs_of(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the first place of each run of true flags, and the place after it."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
