"""How many people speak in enrolment audio: segmentation separates them, x-vectors say who is the same (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stream.profiles.quality import QualityIssue, WindowEmbedding
from stream.tracking.scoring import Scorer
from stream.tracking.voice import Vector, Voice

MIN_SAME_PERSON_PROBABILITY = 0.5
"""Probability below which two tracks are two people."""

MIN_PERSON_S = 1.0
MIN_PERSON_SHARE = 0.1
"""Speech alone, in seconds or as a share of all, from which a further person is in the way."""


@dataclass(frozen=True, slots=True)
class TrackSpeech:
    """What one track of segmentation says alone: its seconds, and the x-vectors of its parts."""

    number: int
    solo_s: float
    vectors: tuple[Vector, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PersonSpeech:
    """The tracks of one person."""

    tracks: tuple[TrackSpeech, ...]

    @property
    def solo_s(self) -> float:
        """Speech of this person alone."""
        return sum(track.solo_s for track in self.tracks)

    @property
    def voice(self) -> Voice:
        """The voice of all tracks."""
        vectors = [vector for track in self.tracks for vector in track.vectors]
        return Voice(name="", exemplars=vectors, enrolled=False, evidence_s=self.solo_s)


def people_of(tracks: Sequence[TrackSpeech], scorer: Scorer) -> list[PersonSpeech]:
    """Return who speaks, the one who speaks longest first. A track too short for an x-vector is nobody's.

    Each track, longest first, is of the most probable person found so far, or of a further one.
    """
    people: list[PersonSpeech] = []
    for track in sorted(tracks, key=lambda one: -one.solo_s):
        if not track.vectors:
            continue
        alone = PersonSpeech((track,))
        probabilities = [scorer.probability(alone.voice, person.voice) for person in people]
        best = max(range(len(people)), key=probabilities.__getitem__, default=None)
        if best is None or probabilities[best] < MIN_SAME_PERSON_PROBABILITY:
            people.append(alone)
        else:
            people[best] = PersonSpeech((*people[best].tracks, track))
    return sorted(people, key=lambda person: -person.solo_s)


def people_issue(people: Sequence[PersonSpeech]) -> QualityIssue | None:
    """Return the defect if more than one person speaks long enough to matter."""
    speech_s = sum(person.solo_s for person in people)
    enough_s = min(MIN_PERSON_S, MIN_PERSON_SHARE * speech_s)
    lengths = [f"{person.solo_s:.1f} s" for person in people if person.solo_s >= enough_s]
    if len(lengths) < 2:  # noqa: PLR2004
        return None
    return QualityIssue(
        "several voices",
        f"{len(lengths)} people speak, for {', '.join(lengths[:-1])} and {lengths[-1]}; record one person alone",
    )


def tracks_of(embeddings: Sequence[WindowEmbedding], solo_s: dict[int, float]) -> list[TrackSpeech]:
    """Group x-vectors by their tracks."""
    return [
        TrackSpeech(number, length_s, tuple(one.vector for one in embeddings if one.track == number))
        for number, length_s in solo_s.items()
    ]
