"""Who spoke an utterance and how, from the events of its stream (pure).

Turns that have ended and those that have not count by their length; before any, it is what `speaker` and `emotion`
events said last. A voice that is not enrolled is unknown here: the names S1, S2 … mean nothing beyond their stream.
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
        self._is_latest_decided = False
        self._open: dict[str, tuple[str | None, float]] = {}  # speaker and start of turns that have not ended
        self._end_s = 0.0  # of the newest decision
        self._turn_s: defaultdict[str | None, float] = defaultdict(float)  # speech by speaker
        self._turn_emotion_s: defaultdict[str, float] = defaultdict(float)
        self._probabilities: dict[str, float] = {}
        self._emotion: str | None = None
        self.arousal: float | None = None

    @property
    def speaker(self) -> str | None:
        """Name of the enrolled person who spoke most; None for a stranger, and while it is undecided."""
        seconds = self._turn_s.copy()
        for name, start_s in self._open.values():
            seconds[name] += self._end_s - start_s
        if not seconds:
            return self._latest
        foremost = max(seconds, key=seconds.__getitem__)
        return foremost if foremost in self._enrolled else None

    @property
    def is_decided(self) -> bool:
        """Whether a person was recognised, or the newest decision is that no enrolled person speaks."""
        return self.speaker is not None or self._is_latest_decided

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
                self._apply_correction(event)
            case EmotionEvent() if event.label != "silence":
                self._emotion, self.arousal = event.label, event.arousal
            case TurnEvent():
                self._apply_turn(event)
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
        self._end_s = max(self._end_s, event.end_s)
        if event.state != "silence":
            self._latest = event.speaker if event.enrolled else None
            self._is_latest_decided = event.state in ("confirmed", "unknown")

    def _apply_turn(self, event: TurnEvent) -> None:
        self._end_s = max(self._end_s, event.end_s)
        if event.phase == "start":
            self._open[event.turn] = event.speaker, event.start_s
            return
        self._open.pop(event.turn, None)
        self._turn_s[event.speaker] += event.speech_s
        if event.emotion is not None:
            self._turn_emotion_s[event.emotion] += event.speech_s

    def _apply_correction(self, event: SpeakerResolvedEvent) -> None:
        if event.enrolled:
            self._enrolled.add(event.speaker)
            self._probabilities[event.speaker] = event.probability
            self._latest = event.speaker
        if event.previous in self._turn_s:
            self._turn_s[event.speaker] += self._turn_s.pop(event.previous)
        for turn, (name, start_s) in self._open.items():
            if name == event.previous:
                self._open[turn] = event.speaker, start_s
