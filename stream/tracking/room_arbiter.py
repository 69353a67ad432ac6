"""Room arbitration: in which room a person speaks whom several microphones receive (pure).

Each microphone reports the foremost voice that it receives and its level. Reports of one person are put together by
name, where the voice is enrolled; a voice without a name belongs to the speech that began at the same time. The person
is where the level is highest, smoothed over the turn, after the microphones' known differences are subtracted.

The room is decided with the first report. Within `SETTLE_S` of the onset a better one corrects it, from the onset on;
later a room that is louder by `MOVE_DB` means that the person has moved. An undecided voice whose onset fits nobody's
waits: it is usually someone who walks towards that microphone and is recognised there in a moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stream.events import SpeakerBody

Microphone = tuple[str, str]
"""A node and one of its streams."""

ONSET_S = 1.0
"""Greatest difference of the onsets of one utterance in two microphones."""

SETTLE_S = 3.0
"""Time from the onset within which the room is corrected."""

STALE_S = 2.5
"""Age of a microphone's newest report at which it counts for nothing."""

CLEAR_DB = 6.0
"""Lead over the second room from which a room is certain at once."""

CORRECT_DB, MOVE_DB = 0.5, 2.0
"""Lead that corrects a room, and that moves a person who has been in one."""

SMOOTHING = 0.4
"""Weight of the newest level."""


@dataclass(frozen=True, slots=True)
class VoiceReport:
    """What a microphone receives; `name` only of an enrolled voice, `decided` unless the voice is still tentative."""

    microphone: Microphone
    time_s: float
    onset_s: float
    level_dbfs: float
    name: str | None = None
    decided: bool = True


def report_of(body: SpeakerBody, microphone: Microphone, *, time_s: float) -> VoiceReport | None:
    """Return what a speaker event reports at `time_s`, the time of its `end_s`; None in silence or without a level."""
    if body.state == "silence" or body.level_dbfs is None or not body.speakers:
        return None
    return VoiceReport(
        microphone=microphone,
        time_s=time_s,
        onset_s=time_s - (body.end_s - body.speakers[0].since_s),
        level_dbfs=body.level_dbfs,
        name=body.speaker if body.enrolled else None,
        decided=body.state != "tentative",
    )


@dataclass(frozen=True, slots=True)
class Placement:
    """A person who speaks, and where.

    `name` is None for a voice that is not enrolled. `since_s` is the time since which the room holds: the onset of the
    speech, also where an earlier placement named another room, or the time of a move. `lead_db` is the lead over the
    second room, None if there is one room only; `levels_dbfs` are the smoothed levels, the loudest first.
    """

    name: str | None
    microphone: Microphone
    since_s: float
    certain: bool
    lead_db: float | None
    levels_dbfs: tuple[tuple[Microphone, float], ...]


@dataclass(slots=True)
class _Received:
    """The voice that a microphone receives."""

    report: VoiceReport
    level_dbfs: float


@dataclass(slots=True)
class _Utterance:
    """The speech of one person in all microphones that receive it."""

    name: str | None
    onset_s: float
    members: dict[Microphone, _Received]


@dataclass(slots=True)
class _Place:
    """The room of a person who speaks."""

    microphone: Microphone
    onset_s: float
    since_s: float


class RoomArbiter:
    """The rooms of all who speak; times are of one clock.

    `offsets_db` are how much louder a microphone is than the others, by its stream.
    """

    def __init__(self, *, offsets_db: Mapping[str, float] | None = None) -> None:
        self._offsets_db = dict(offsets_db or {})
        self._received: dict[Microphone, _Received] = {}
        self._places: dict[object, _Place] = {}  # by name, or by the microphone and onset that found a stranger

    def __contains__(self, microphone: Microphone) -> bool:
        return microphone in self._received

    def remote_of(self, node: str) -> int:
        """Count the microphones of other nodes that receive a voice."""
        return sum(one != node for one, _ in self._received)

    def observe(self, report: VoiceReport) -> None:
        """Take what a microphone receives now."""
        level_dbfs = report.level_dbfs - self._offsets_db.get(report.microphone[1], 0.0)
        before = self._received.get(report.microphone)
        if before is not None and _continues(before.report, report):
            level_dbfs = before.level_dbfs + SMOOTHING * (level_dbfs - before.level_dbfs)
        self._received[report.microphone] = _Received(report, level_dbfs)

    def silence(self, microphone: Microphone) -> None:
        """Note that a microphone receives no voice."""
        self._received.pop(microphone, None)

    def placements(self, now_s: float) -> tuple[Placement, ...]:
        """Return the room of everyone who speaks, in the order of their onsets."""
        for microphone, received in tuple(self._received.items()):
            if now_s - received.report.time_s > STALE_S:
                del self._received[microphone]
        placed: dict[object, _Place] = {}
        placements = []
        for utterance in self._utterances():
            key, before = self._known(utterance)
            place, placement = _placed(utterance, before, now_s)
            placed[key] = place
            placements.append(placement)
        self._places = placed
        return tuple(placements)

    def _utterances(self) -> Iterator[_Utterance]:
        """Put together what several microphones receive of one person."""
        found: list[_Utterance] = []
        for microphone, received in sorted(self._received.items(), key=_order):
            report = received.report
            matching = None
            if report.name is not None:
                matching = next((one for one in found if one.name == report.name), None)
            else:
                near = [one for one in found if abs(one.onset_s - report.onset_s) <= ONSET_S]
                matching = min(near, key=lambda one: abs(one.onset_s - report.onset_s), default=None)
            if matching is not None:
                matching.members[microphone] = received
                matching.onset_s = min(matching.onset_s, report.onset_s)
            elif report.decided or not found:
                found.append(_Utterance(report.name, report.onset_s, {microphone: received}))
        yield from sorted(found, key=lambda one: one.onset_s)

    def _known(self, utterance: _Utterance) -> tuple[object, _Place | None]:
        """Return the key of a person, and the place so far; a stranger's goes to the name found meanwhile."""
        anonymous = (None, round(utterance.onset_s, 1))
        key = utterance.name if utterance.name is not None else anonymous
        place = self._places.get(key)
        if place is None:
            near = (
                (known, one)
                for known, one in self._places.items()
                if not isinstance(known, str) and abs(one.onset_s - utterance.onset_s) <= ONSET_S
            )
            earlier = next((known for known, one in near if one.microphone in utterance.members), None)
            place = self._places.get(earlier) if earlier is not None else None
        return key, place


def _order(item: tuple[Microphone, _Received]) -> tuple[bool, bool, float, Microphone]:
    """Order reports so that names come first, then decided voices, each by their onsets."""
    microphone, received = item
    return received.report.name is None, not received.report.decided, received.report.onset_s, microphone


def _continues(before: VoiceReport, report: VoiceReport) -> bool:
    """Whether two reports of a microphone are of one voice."""
    if report.time_s - before.time_s > STALE_S:
        return False
    if before.name is not None and report.name is not None:
        return before.name == report.name
    return abs(report.onset_s - before.onset_s) <= ONSET_S


def _placed(utterance: _Utterance, before: _Place | None, now_s: float) -> tuple[_Place, Placement]:
    """Decide the room of an utterance."""
    levels = sorted(
        ((microphone, received.level_dbfs) for microphone, received in utterance.members.items()),
        key=lambda pair: (-pair[1], utterance.members[pair[0]].report.onset_s, pair[0]),
    )
    best, level_dbfs = levels[0]
    lead_db = level_dbfs - levels[1][1] if len(levels) > 1 else None
    settled = before is not None and now_s - before.onset_s > SETTLE_S
    if before is None:
        place = _Place(best, utterance.onset_s, utterance.onset_s)
    else:
        place = _Place(before.microphone, before.onset_s, before.since_s)
        held_dbfs = dict(levels).get(before.microphone)
        needed_db = MOVE_DB if settled else CORRECT_DB
        if best != before.microphone and (held_dbfs is None or level_dbfs - held_dbfs >= needed_db):
            place = _Place(best, before.onset_s, now_s if settled else before.onset_s)
    clear = lead_db is not None and lead_db >= CLEAR_DB and place.microphone == best
    return place, Placement(
        name=utterance.name,
        microphone=place.microphone,
        since_s=place.since_s,
        certain=clear or settled,
        lead_db=None if lead_db is None else round(lead_db, 1),
        levels_dbfs=tuple((microphone, round(level, 1)) for microphone, level in levels),
    )
