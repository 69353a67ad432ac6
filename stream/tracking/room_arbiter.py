"""Room arbitration: in which room a person speaks whom several microphones receive (pure).

Each microphone reports the foremost voice that it receives and its level. Reports of one person are put together by
name, where the voice is enrolled; a voice without a name belongs to the speech that began at the same time, or is the
echo of a much louder one. The person is where the level is highest, smoothed over the turn, after the microphones'
known differences are subtracted.

The room is decided with the first report. Within `SETTLE_S` of the onset a better one corrects it, from the onset on;
later a room that is louder by `MOVE_DB` means that the person has moved. A microphone that falls silent keeps its place
for `GRACE_S`: far ones report a reverberant voice for longer, or again before it does. An undecided voice whose onset
fits no voice waits: it is usually someone who walks towards that microphone and is recognised there in a moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stream.events import SpeakerBody

Microphone = tuple[str, str]
"""A node and one of its streams."""

ONSET_S = 1.0
"""Greatest difference of the onsets of one utterance in two microphones."""

SETTLE_S = 1.5
"""Time from the onset within which the room is corrected."""

STALE_S = 2.5
"""Age of a microphone's newest report at which it counts for nothing."""

GRACE_S = 1.0
"""Time for which a microphone that fell silent counts, while others go on."""

ECHO_DB = 10.0
"""A voice without a name that is so much softer than somebody's loudest microphone is that person."""

CLEAR_DB = 6.0
"""Lead over the second room from which a room is certain at once."""

LAG_S = 1.5
"""Time for which a new room must have been louder before that shows: levels are those of a second, smoothed."""

CORRECT_DB, MOVE_DB = 0.5, 2.0
"""Lead that corrects a room, and that moves a person who has been in one."""

SILENCE_S = 600.0
"""Time for which the last silence of a microphone is remembered."""

SMOOTHING = 0.6
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
    onset_s: float  # after the microphone's last silence
    silent_s: float | None = None


@dataclass(slots=True)
class _Utterance:
    """The speech of one person in all microphones that receive it."""

    name: str | None
    onset_s: float
    members: dict[Microphone, _Received]
    is_speaking: bool = False  # in a microphone that has not fallen silent

    @property
    def level_dbfs(self) -> float:
        """Level in the loudest microphone."""
        return max(received.level_dbfs for received in self.members.values())


@dataclass(slots=True)
class _Place:
    """The room of a person who speaks."""

    microphone: Microphone
    onset_s: float
    since_s: float
    certain: bool = False


class RoomArbiter:
    """The rooms of all who speak; times are of one clock.

    `offsets_db` are how much louder a microphone is than the others, by its stream.
    """

    def __init__(self, *, offsets_db: Mapping[str, float] | None = None) -> None:
        self._offsets_db = dict(offsets_db or {})
        self._received: dict[Microphone, _Received] = {}
        self._silences: dict[Microphone, float] = {}  # the newest one
        self._places: dict[object, _Place] = {}  # by name, or by the microphone and onset that found a stranger

    def __contains__(self, microphone: Microphone) -> bool:
        return microphone in self._received

    def remote_of(self, node: str) -> int:
        """Count the microphones of other nodes that receive a voice."""
        return sum(one != node for one, _ in self._received)

    def observe(self, report: VoiceReport) -> None:
        """Take what a microphone receives now."""
        level_dbfs = report.level_dbfs - self._offsets_db.get(report.microphone[1], 0.0)
        onset_s = max(report.onset_s, self._silences.get(report.microphone, report.onset_s))
        before = self._received.get(report.microphone)
        if before is not None and _continues(before, report):
            level_dbfs = before.level_dbfs + SMOOTHING * (level_dbfs - before.level_dbfs)
        self._received[report.microphone] = _Received(report, level_dbfs, min(onset_s, report.time_s))

    def silence(self, microphone: Microphone, *, time_s: float) -> None:
        """Note that a microphone receives no voice."""
        self._silences[microphone] = time_s
        received = self._received.get(microphone)
        if received is not None and received.silent_s is None:
            received.silent_s = time_s

    def placements(self, now_s: float) -> tuple[Placement, ...]:
        """Return the room of everyone who speaks, in the order of their onsets."""
        self._forget(now_s)
        placed: dict[object, _Place] = {}
        placements = []
        for utterance in self._utterances():
            key, before = self._known(utterance)
            place, placement = _placed(utterance, before, now_s)
            placed[key] = place
            placements.append(placement)
        self._places = placed
        return tuple(placements)

    def _forget(self, now_s: float) -> None:
        for microphone, received in tuple(self._received.items()):
            is_silent = received.silent_s is not None and now_s - received.silent_s > GRACE_S
            if is_silent or now_s - received.report.time_s > STALE_S:
                del self._received[microphone]
        for microphone, silent_s in tuple(self._silences.items()):
            if now_s - silent_s > SILENCE_S:
                del self._silences[microphone]

    def _utterances(self) -> Iterator[_Utterance]:
        """Put together what several microphones receive of one person."""
        found: list[_Utterance] = []
        for microphone, received in sorted(self._received.items(), key=_order):
            report = received.report
            matching = None
            if report.name is not None:
                matching = next((one for one in found if one.name == report.name), None)
            else:
                near = [one for one in found if abs(one.onset_s - received.onset_s) <= ONSET_S]
                louder = (one for one in found if one.level_dbfs >= received.level_dbfs + ECHO_DB)
                matching = min(near, key=lambda one: abs(one.onset_s - received.onset_s), default=next(louder, None))
            if matching is not None:
                matching.members[microphone] = received
            elif report.decided or not found:
                matching = _Utterance(report.name, received.onset_s, {microphone: received})
                found.append(matching)
            if matching is not None and received.silent_s is None:
                before_s = matching.onset_s if matching.is_speaking else received.onset_s
                matching.onset_s, matching.is_speaking = min(before_s, received.onset_s), True
        yield from sorted((one for one in found if one.is_speaking), key=lambda one: one.onset_s)

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
    return received.report.name is None, not received.report.decided, received.onset_s, microphone


def _continues(before: _Received, report: VoiceReport) -> bool:
    """Whether a microphone's next report is of the same voice."""
    if report.time_s - before.report.time_s > STALE_S:
        return False
    if before.report.name is not None and report.name is not None:
        return before.report.name == report.name
    return abs(report.onset_s - before.report.onset_s) <= ONSET_S


def _placed(utterance: _Utterance, before: _Place | None, now_s: float) -> tuple[_Place, Placement]:
    """Decide the room of an utterance."""
    members = utterance.members
    levels = sorted(
        ((microphone, received.level_dbfs) for microphone, received in members.items()),
        key=lambda pair: (-pair[1], members[pair[0]].onset_s, pair[0]),
    )
    lead_db = levels[0][1] - levels[1][1] if len(levels) > 1 else None
    settled = before is not None and now_s - before.onset_s > SETTLE_S
    if before is None:
        onset_s = max(utterance.onset_s, now_s - SETTLE_S)
        place = _Place(levels[0][0], onset_s, onset_s)
    else:
        place = _held_or_changed(utterance, before, levels, now_s)
    clear = lead_db is not None and lead_db >= CLEAR_DB and place.microphone == levels[0][0]
    place.certain = place.certain or clear or settled
    return place, Placement(
        name=utterance.name,
        microphone=place.microphone,
        since_s=place.since_s,
        certain=place.certain,
        lead_db=None if lead_db is None else round(lead_db, 1),
        levels_dbfs=tuple((microphone, round(level, 1)) for microphone, level in levels),
    )


def _held_or_changed(
    utterance: _Utterance, before: _Place, levels: Sequence[tuple[Microphone, float]], now_s: float
) -> _Place:
    """Return the place of someone who has one: the same, a corrected one, or another after a move."""
    held = utterance.members.get(before.microphone)
    if held is not None and held.silent_s is not None:
        return before
    best, level_dbfs = next(pair for pair in levels if utterance.members[pair[0]].silent_s is None)
    if best == before.microphone:
        return before
    if held is None:
        return _Place(best, before.onset_s, max(before.since_s, now_s - LAG_S))
    settled = now_s - before.onset_s > SETTLE_S
    if level_dbfs - held.level_dbfs < (MOVE_DB if settled else CORRECT_DB):
        return before
    return _Place(best, before.onset_s, max(before.since_s, now_s - LAG_S) if settled else before.since_s)
