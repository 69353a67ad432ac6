"""How many people speak in enrolment audio (pure).

Segmentation separates people into tracks, and x-vectors say which tracks are of the same person. Segmentation may also
miss that another person goes on; then the x-vectors of one track fall into two halves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream.profiles.quality import (
    QualityIssue,
    WindowEmbedding,
    different_halves,
    same_speaker_probability,
    speaker_issue,
)
from stream.tracking.scoring import Scorer
from stream.tracking.voice import Voice

MIN_SAME_PERSON_PROBABILITY = 0.5
"""Probability below which two tracks are two people."""

MIN_PERSON_S = 1.0
MIN_PERSON_SHARE = 0.1
"""Speech alone, in seconds or as a share of all, from which a further person is in the way."""


@dataclass(frozen=True, slots=True)
class TrackSpeech:
    """What one track of segmentation says alone: its seconds, and the x-vectors of their windows."""

    number: int
    solo_s: float
    embeddings: tuple[WindowEmbedding, ...]


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
        vectors = [one.vector for track in self.tracks for one in track.embeddings]
        return Voice(name="", exemplars=vectors, enrolled=False, evidence_s=self.solo_s)


def people_of(tracks: Sequence[TrackSpeech], scorer: Scorer) -> list[PersonSpeech]:
    """Return the people, who speaks longest first. A track too short for an x-vector is left out.

    Each track, longest first, is of the most probable person found so far, or of a further one.
    """
    people: list[PersonSpeech] = []
    parts = [part for track in tracks if track.embeddings for part in _of_one_voice(track, scorer)]
    for track in sorted(parts, key=lambda part: -part.solo_s):
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
        TrackSpeech(number, length_s, tuple(one for one in embeddings if one.track == number))
        for number, length_s in solo_s.items()
    ]


def _of_one_voice(track: TrackSpeech, scorer: Scorer) -> list[TrackSpeech]:
    """Return a track, or its halves if they are two voices; each half gets its share of the seconds."""
    halves = different_halves(track.embeddings)
    if halves is None or speaker_issue(same_speaker_probability(track.embeddings, scorer)) is None:
        return [track]
    whole_s = sum(one.new_speech_s for one in track.embeddings)
    return [
        TrackSpeech(track.number, track.solo_s * sum(one.new_speech_s for one in half) / whole_s, tuple(half))
        for half in halves
    ]
