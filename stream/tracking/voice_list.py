"""The voices of one stream: the enrolled ones, then session voices in order of discovery (pure).

At most `max_speakers` session voices are kept. A new one replaces the voice with the longest silence relative to its
evidence, if that silence lasts `forget_s`. Names are not used again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from stream.clock import samples
from stream.settings import SpeakersSettings
from stream.tracking.voice import Voice

_MIN_EVIDENCE_S = 0.5


class VoiceList(Sequence[Voice]):
    """Enrolled voices, then session voices; the order is that of beliefs about them."""

    def __init__(self, *, settings: SpeakersSettings, enrolled: Sequence[Voice]) -> None:
        self._settings = settings
        self._voices = list(enrolled)
        self._since: dict[str, int] = {}  # first sample of each session voice
        self._last_number = 0  # of session voices

    def __len__(self) -> int:
        return len(self._voices)

    def __iter__(self) -> Iterator[Voice]:
        return iter(self._voices)

    def __getitem__(self, place: int) -> Voice:  # type: ignore[override]  # no slices
        return self._voices[place]

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        return [voice.name for voice in self._voices]

    def find(self, name: str) -> Voice | None:
        """Return the voice called `name`."""
        return next((voice for voice in self._voices if voice.name == name), None)

    def set_enrolled(self, enrolled: Sequence[Voice], *, without: str | None) -> None:
        """Replace the enrolled voices; the session voice `without`, if any, has become one of them."""
        kept = [voice for voice in self._voices if not voice.enrolled and voice.name != without]
        self._voices = [*enrolled, *kept]

    def add(self, voice: Voice, *, since_sample: int) -> None:
        """Add a session voice that began to speak at `since_sample`."""
        self._voices.append(voice)
        self._since[voice.name] = since_sample

    def remove(self, voice: Voice) -> int:
        """Remove a voice; returns the place it had."""
        place = self._voices.index(voice)
        del self._voices[place]
        self._since.pop(voice.name, None)
        return place

    def since(self, name: str, default: int) -> int:
        """Return the first sample of a session voice."""
        return self._since.get(name, default)

    def new_name(self) -> str:
        """Return the next of S1, S2 … that is no voice's name."""
        for number in count(self._last_number + 1):
            self._last_number = number
            if self.find(name := f"S{number}") is None:
                return name
        raise AssertionError

    def silent(self, sample: int) -> list[Voice]:
        """Return the session voices that have not spoken for `forget_s`."""
        limit = samples(self._settings.forget_s)
        return [voice for voice in self._voices if not voice.enrolled and sample - voice.last_speech_sample >= limit]

    @property
    def is_full(self) -> bool:
        """Whether there are `max_speakers` session voices."""
        return sum(not voice.enrolled for voice in self._voices) >= self._settings.max_speakers

    def most_dispensable(self, sample: int) -> Voice | None:
        """Return the voice with the longest silence relative to its evidence, if one has been silent for `forget_s`."""
        return max(
            self.silent(sample),
            key=lambda voice: (sample - voice.last_speech_sample) / max(voice.evidence_s, _MIN_EVIDENCE_S),
            default=None,
        )
