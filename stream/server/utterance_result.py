"""Who spoke an utterance and how, from the events of its stream (pure).

The ends of turns have the last word; before them it is what `speaker` and `emotion` events said last. A voice that is
not enrolled is unknown here: the names S1, S2 … mean nothing beyond their stream.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from stream.events import EmotionEvent, Event, SpeakerEvent, SpeakerResolvedEvent, TurnEvent


class UtteranceSpeaker:
    """What is known so far."""

    def __init__(self) -> None:
        self._enrolled: set[str] = set()
        self._latest: str | None = None  # enrolled, by the newest decision in speech
        self._turn_s: defaultdict[str | None, float] = defaultdict(float)  # speech by speaker
        self._turn_emotion_s: defaultdict[str, float] = defaultdict(float)
        self._probabilities: dict[str, float] = {}
        self._emotion: str | None = None
        self.arousal: float | None = None

    @property
    def speaker(self) -> str | None:
        """Name of the enrolled person who spoke most; None for a stranger, and while it is undecided."""
        if not self._turn_s:
            return self._latest
        name = max(self._turn_s, key=self._turn_s.__getitem__)
        return name if name in self._enrolled else None

    @property
    def emotion(self) -> str | None:
        """Label with the most speech; None if there is none."""
        if self._turn_emotion_s:
            return max(self._turn_emotion_s, key=self._turn_emotion_s.__getitem__)
        return self._emotion

    def apply(self, event: Event) -> None:
        """Take the next event of the stream."""
        match event:
            case SpeakerEvent():
                self._apply_speaker(event)
            case SpeakerResolvedEvent():
                if event.enrolled:
                    self._enrolled.add(event.speaker)
                    self._probabilities[event.speaker] = event.probability
                    self._latest = event.speaker
                if event.previous in self._turn_s:
                    self._turn_s[event.speaker] += self._turn_s.pop(event.previous)
            case EmotionEvent() if event.label != "silence":
                self._emotion, self.arousal = event.label, event.arousal
            case TurnEvent(phase="end"):
                self._turn_s[event.speaker] += event.speech_s
                if event.emotion is not None:
                    self._turn_emotion_s[event.emotion] += event.speech_s
            case _:
                pass

    def context(self) -> dict[str, Any]:
        """Return the result for a client: `speaker`, `probability`, `emotion` and `arousal`, null where unknown."""
        speaker = self.speaker
        return {
            "speaker": speaker,
            "probability": self._probabilities.get(speaker) if speaker is not None else None,
            "emotion": self.emotion,
            "arousal": self.arousal,
        }

    def _apply_speaker(self, event: SpeakerEvent) -> None:
        if event.speaker is not None and event.enrolled:
            self._enrolled.add(event.speaker)
            if event.probability is not None:
                self._probabilities[event.speaker] = event.probability
        if event.state != "silence":
            self._latest = event.speaker if event.enrolled else None
