"""Turns of people who speak while another one is in the foreground (pure).

Segmentation says when: the newest run of a track that is not in the foreground. Whose it is is known if the track was
in the foreground before. Such a turn is published while it goes on, if its voice is known, and at its end if it is not:
then a person who takes the floor soon after gets one turn from where they began. Who loses the floor while still
speaking goes on here, and ends where later windows see the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream.clock import samples
from stream.events import TurnBody
from stream.tracking.activity import TrackRun
from stream.tracking.open_turn import OpenTurn, SpeechSpan

MIN_UNKNOWN_S = 0.5
"""Minimum length of an interjection by a voice that is not known; shorter ones are no turn."""


MIN_SHARED_PART = 0.5
"""Share of the speech in the background during which another one speaks."""


@dataclass(frozen=True, slots=True)
class BackgroundSpeech:
    """The newest speech of a track in the background; `speaker` is None if it is not known whose it is."""

    run: TrackRun
    speaker: str | None

    @property
    def is_plausible(self) -> bool:
        """Whether another one speaks meanwhile: who speaks alone gets into the foreground or is a torn track."""
        return self.run.shared_samples >= MIN_SHARED_PART * self.run.active_samples


class BackgroundTurns:
    """The turns in the background, at most one of a track and one of a speaker."""

    def __init__(self, *, pause_samples: int, minimum_samples: int, new_name: Callable[[], str]) -> None:
        self._pause = pause_samples
        self._minimum = minimum_samples
        self._new_name = new_name
        self._turns: dict[int, OpenTurn] = {}
        self._published_until: dict[int, int] = {}  # up to where turns tell the speech of a track

    def observe(
        self,
        speech: Sequence[BackgroundSpeech],
        end_sample: int,
        *,
        foreground: int | None = None,
        foremost: str | None = None,
    ) -> list[TurnBody]:
        """Add the newest speech of all tracks in the background.

        The turn of the track `foreground` waits for `take`; the speaker `foremost` has no turn here.
        """
        bodies: list[TurnBody] = []
        for one in speech:
            run = one.run
            turn = self._turns.get(run.track)
            start_sample = max(run.start_sample, self._published_until.get(run.track, 0))
            if turn is None or turn.name is None:
                self._turns.pop(run.track, None)
                taken = {turn.speaker for turn in self._turns.values()} | {foremost}
                if one.speaker is None:
                    taken = {None} if self._turns else set()
                if one.speaker in taken or run.end_sample <= start_sample or not one.is_plausible:
                    continue
                turn = turn or OpenTurn(one.speaker, SpeechSpan(0, 0), track=run.track)
                turn.speaker, turn.speech = one.speaker, SpeechSpan(start_sample, start_sample)
                self._turns[run.track] = turn
            before, end = turn.speech.end_sample, max(run.end_sample, turn.speech.start_sample)
            turn.speech.end_sample = end
            turn.speech.speech_samples = max(0, turn.speech.speech_samples + end - before)
            if turn.speaker is not None:
                bodies += turn.start_body(self._new_name, minimum_samples=self._minimum)
        present = {one.run.track for one in speech}
        self._published_until = {
            track: end for track, end in self._published_until.items() if track in present or track == foreground
        }
        for track, turn in list(self._turns.items()):
            if track == foreground:
                continue
            if track not in present or end_sample - turn.speech.end_sample >= self._pause:
                bodies += self._end(track)
        return bodies

    def turn_of(self, track: int | None) -> OpenTurn | None:
        """Return the turn of a track."""
        return None if track is None else self._turns.get(track)

    def add(self, turn: OpenTurn, track: int) -> None:
        """Take over the turn of a person who lost the floor to another one."""
        self._turns[track] = turn

    def tell(self, track: int | None, end_sample: int) -> None:
        """Note up to where a turn in the foreground holds the speech of a track."""
        if track is not None:
            self._published_until[track] = max(end_sample, self._published_until.get(track, 0))

    def published_until(self, track: int | None) -> int:
        """Return up to where turns hold the speech of a track."""
        return 0 if track is None else self._published_until.get(track, 0)

    def take(self, track: int | None, speaker: str | None) -> tuple[OpenTurn | None, list[TurnBody]]:
        """Return the published turn that goes on in the foreground, if there is one; other turns of both end."""
        taken, bodies = None, list[TurnBody]()
        for number, turn in list(self._turns.items()):
            if number == track and turn.name is not None and turn.speaker == speaker:
                taken = self._turns.pop(number)
            elif number == track and turn.name is None:
                del self._turns[number]
            elif number == track or (speaker is not None and turn.speaker == speaker):
                bodies += self._end(number)
        return taken, bodies

    def rename(self, previous: str, speaker: str) -> None:
        """Apply a speaker correction."""
        for turn in self._turns.values():
            turn.speaker = speaker if turn.speaker == previous else turn.speaker

    def finish(self) -> list[TurnBody]:
        """End all turns."""
        bodies = [body for track in list(self._turns) for body in self._end(track)]
        self._published_until.clear()
        return bodies

    def _end(self, track: int) -> list[TurnBody]:
        turn = self._turns.pop(track)
        self._published_until[track] = turn.speech.end_sample
        start = []
        if turn.speaker is None:
            start = turn.start_body(self._new_name, minimum_samples=max(self._minimum, samples(MIN_UNKNOWN_S)))
        return start + turn.end_body()
