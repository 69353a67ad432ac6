"""What Home Assistant shows of each room and person: states of its entities, beside the events (pure).

A `Home` turns events into retained messages: announcements of devices (`Discovery`) always before the states that they
need; one state per room, `SOURCE/home`, which holds from the first second of a stream, before anyone has spoken; and,
only if `mqtt.people` is on, one state and one location per enrolled person, in the room that `rooms` events give them.
Where `set_alert` is allowed, the conditions of alerts are a state of the node.

A location is `home` while a person was heard within `PERSON_S`, and then unknown, never `not_home`: who is silent is
not away. `mqtt.room_topic` publishes whom each room hears, as Home Assistant's `mqtt_room` integration reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

from stream import events
from stream.events import EmotionEvent, Event, RoomsEvent, SpeakerEvent, StreamEvent, TurnEvent
from stream.settings import AlertsSettings, Settings
from stream.sinks.mqtt import topics
from stream.sinks.mqtt.components import NOBODY, SOMEBODY
from stream.sinks.mqtt.homeassistant import Discovery
from stream.sinks.mqtt.presence import AlertConditions, PersonState, RoomState

PERSON_S = 1_800.0
"""Time after which the location of a person who was not heard is unknown."""

ROOM_EXPIRY_S = 60.0
"""Age at which a message for `mqtt_room` expires; its own default timeout is 60 s."""

LEVELS_S = 10.0
"""Period of the levels of rooms."""

LEVEL_STEP_DB = 1.0
"""Smallest change of a room's level that is published."""

REFERENCE_DBFS = -20.0
"""Level that counts as a distance of one metre, for `mqtt_room`."""

DISTANCES_M = 0.1, 20.0
"""Nearest and farthest distance."""

MIN_LEVEL_DBFS = -100.0
"""Level of digital silence."""

UNKNOWN = "None"
"""Payload that resets a location in Home Assistant."""


@dataclass(frozen=True, slots=True)
class State:
    """A retained message; it expires after `expires_after_s` (None: never), or, if lasting, once the node is gone."""

    topic: str
    payload: str
    expires_after_s: float | None = None
    lasting: bool = False


@dataclass(slots=True)
class _Room:
    """State of one room."""

    speaking: bool = False
    speaker: str = NOBODY
    speakers: tuple[str, ...] = ()
    stranger: bool = False
    emotion: str = "silence"
    confidence: float = 0.0
    arousal: float | None = None
    level_dbfs: float | None = None

    def observe(self, event: Event) -> None:
        if isinstance(event, SpeakerEvent):
            self.speaking = event.state != "silence"
            self.speaker = (event.speaker or SOMEBODY) if self.speaking else NOBODY
            self.speakers = tuple(one.speaker or SOMEBODY for one in event.speakers)
            certain = event.state not in ("silence", "tentative")
            self.stranger = certain and any(not one.enrolled for one in event.speakers)
        elif isinstance(event, EmotionEvent):
            self.emotion = event.label
            self.confidence = round(100 * event.confidence, 1)
            self.arousal = None if event.arousal is None else round(100 * event.arousal, 1)


@dataclass(slots=True)
class _Person:
    """Where and when a person was heard last."""

    source: str
    heard: datetime
    heard_s: float
    emotion: str = ""
    speaking: set[str] = field(default_factory=set)


class Home:
    """The states of rooms and people; times of `now_s` are of one monotonic clock."""

    def __init__(self, *, settings: Settings, prefix: str) -> None:
        self._settings = settings.mqtt
        self._enrolled = tuple(settings.speakers.enrolled)
        self._node = settings.node
        self._prefix = prefix
        self._discovery = Discovery(settings=settings, prefix=prefix) if settings.mqtt.discovery_prefix else None
        self._rooms: dict[str, _Room] = {}
        self._published: dict[str, str] = {}
        self._people: dict[str, _Person] = {}
        self._located: set[str] = set()
        self._nearest: Mapping[str, str] = {}  # people who speak, and their rooms
        self._levels: Callable[[], Mapping[str, float]] | None = None
        self._levels_s = float("-inf")  # when they were published
        self._alerts: Callable[[], AlertsSettings] = lambda: settings.alerts
        self._published_alerts: AlertsSettings | None = None

    @property
    def status_topic(self) -> str:
        """Topic on which Home Assistant says that it has started; "" without discovery."""
        return self._discovery.status_topic if self._discovery is not None else ""

    def start(self) -> list[State]:
        """Return the announcements of the node and of the people whom the settings enrol, and states of the node."""
        if self._discovery is None:
            return [*self._conditions()]
        people = self._enrolled if self._settings.people else ()
        announced = [State(*self._discovery.node()), *(State(*self._discovery.person(name)) for name in people)]
        return [*announced, *self._conditions()]

    def attach_levels(self, levels: Callable[[], Mapping[str, float]]) -> None:
        """Set the function that returns the current level of each stream in dBFS."""
        self._levels = levels

    def attach_alerts(self, alerts: Callable[[], AlertsSettings]) -> None:
        """Set the function that returns the current conditions of alerts."""
        self._alerts = alerts

    def update(self, *, now_s: float) -> Iterator[State]:
        """Return what has changed without an event: levels, locations, conditions of alerts."""
        if self._levels is not None and now_s - self._levels_s >= LEVELS_S:
            self._levels_s = now_s
            yield from self.update_levels(self._levels())
        yield from self.forget_locations(now_s=now_s)
        yield from self._conditions()

    def observe(self, event: Event, *, now_s: float) -> Iterator[State]:
        """Return what must be published before an event, in this order."""
        if isinstance(event, RoomsEvent):
            yield from self._observe_rooms(event)
        if event.source == events.NODE:
            return
        if self._discovery is not None and (announcement := self._discovery.observe(event)) is not None:
            yield State(*announcement)
        if event.call is None or event.party is not None:
            yield from self._room(event)
        if event.call is None:
            yield from self._observe_people(event, now_s)
            yield from self._whom_the_room_hears(event)

    def update_levels(self, levels_dbfs: Mapping[str, float]) -> Iterator[State]:
        """Take the current level of each stream."""
        for source, room in self._rooms.items():
            level = max(MIN_LEVEL_DBFS, levels_dbfs[source]) if source in levels_dbfs else None
            before = room.level_dbfs
            if level is None or before is None or abs(level - before) >= LEVEL_STEP_DB:
                room.level_dbfs = None if level is None else round(level, 1)
                yield from self._changed(source, room)

    def forget_locations(self, *, now_s: float) -> Iterator[State]:
        """Reset the location of people who have been silent for a while."""
        for name in sorted(self._located):
            person = self._people[name]
            if not person.speaking and now_s - person.heard_s > PERSON_S:
                self._located.discard(name)
                yield State(self._person_topic(name, "location"), UNKNOWN, lasting=True)

    def forget(self, source: str) -> list[str]:
        """Forget an ended stream or call; returns the topics to clear."""
        self._rooms.pop(source, None)
        self._published.pop(source, None)
        for person in self._people.values():
            person.speaking.discard(source)
        announced = self._discovery.forget(source) if self._discovery is not None else None
        cleared = [announced] if announced is not None else []
        if self._settings.room_topic:
            cleared.append(self._room_topic(source))
        return cleared

    def is_lasting_device(self, topic: str) -> bool:
        """Return whether an announcement of an earlier run is kept: that of a person, who may speak at any time."""
        return self._settings.people and self._discovery is not None and self._discovery.is_person_topic(topic)

    def topics(self) -> list[str]:
        """Return the retained topics that belong to no stream: of the node, and of people."""
        names = {*self._people, *self._enrolled}
        people = [self._person_topic(name, leaf) for name in names for leaf in ("state", "location")]
        if self._discovery is None:
            return people
        return [*map(self._discovery.person_topic, names), self._discovery.node()[0], *people]

    def _room(self, event: Event) -> Iterator[State]:
        room = self._rooms.setdefault(event.source, _Room())
        if isinstance(event, StreamEvent) and event.state != "gap":  # the state holds until the next window
            room = self._rooms[event.source] = _Room(level_dbfs=room.level_dbfs)
        room.observe(event)
        yield from self._changed(event.source, room)

    def _changed(self, source: str, room: _Room) -> Iterator[State]:
        payload = RoomState(**asdict(room)).model_dump_json()
        if self._discovery is not None and self._published.get(source) != payload:
            self._published[source] = payload
            yield State(topics.source_topic(self._prefix, self._node, source, "home"), payload, lasting=True)

    def _observe_people(self, event: Event, now_s: float) -> Iterator[State]:
        if not self._settings.people or not isinstance(event, SpeakerEvent | TurnEvent | StreamEvent):
            return
        speaking_now: set[str] = set()
        if isinstance(event, SpeakerEvent):
            speaking_now = {one.speaker for one in event.speakers if one.enrolled and one.speaker is not None}
            for name in sorted(speaking_now):
                yield from self._observe_person(name, event, now_s)
        elif isinstance(event, TurnEvent):
            person = self._people.get(event.speaker or "")
            if person is not None and event.phase == "end" and event.emotion:
                person.emotion = event.emotion
                yield self._person_state(event.speaker or "")
            return
        for name, person in self._people.items():  # who has fallen silent here
            if name not in speaking_now and event.source in person.speaking:
                person.speaking.discard(event.source)
                yield self._person_state(name)

    def _observe_person(self, name: str, event: SpeakerEvent, now_s: float) -> Iterator[State]:
        person = self._people.get(name)
        if person is None:
            person = self._people[name] = _Person(event.source, event.time, now_s)
            if self._discovery is not None:
                yield State(*self._discovery.person(name))
        began = event.source not in person.speaking
        person.heard, person.heard_s = event.time, now_s
        person.source = self._nearest.get(name, event.source)
        person.speaking.add(event.source)
        if began:
            yield self._person_state(name)
        if name not in self._located:
            self._located.add(name)
            yield State(self._person_topic(name, "location"), "home", lasting=True)

    def _observe_rooms(self, event: RoomsEvent) -> Iterator[State]:
        """Move people to the rooms that several microphones have found; who falls silent stays in the last one."""
        self._nearest = {one.speaker: one.source for one in event.people if one.speaker is not None}
        for name, source in self._nearest.items():
            person = self._people.get(name)
            if person is not None and person.source != source:
                person.source = source
                yield self._person_state(name)

    def _conditions(self) -> Iterator[State]:
        alerts = self._alerts()
        if "set_alert" in self._settings.commands and alerts is not self._published_alerts:
            self._published_alerts = alerts
            topic = topics.node_topic(self._prefix, self._node, "conditions")
            yield State(topic, AlertConditions.of(alerts).model_dump_json(), lasting=True)

    def _person_state(self, name: str) -> State:
        person = self._people[name]
        state = PersonState(
            name=name,
            speaking=bool(person.speaking),
            source=person.source,
            heard=person.heard.isoformat(timespec="seconds").replace("+00:00", "Z"),
            emotion=person.emotion or None,
        )
        return State(self._person_topic(name, "state"), state.model_dump_json(), lasting=True)

    def _whom_the_room_hears(self, event: Event) -> Iterator[State]:
        if not self._settings.room_topic or not isinstance(event, SpeakerEvent) or not event.enrolled:
            return
        room = self._rooms.get(event.source)
        level = room.level_dbfs if room is not None else None
        nearest, farthest = DISTANCES_M
        distance_m = 1.0 if level is None else 10 ** ((REFERENCE_DBFS - level) / 20)
        location = {
            "id": event.speaker,
            "name": event.speaker,
            "distance": round(min(farthest, max(nearest, distance_m)), 2),
        }
        yield State(self._room_topic(event.source), json.dumps(location, ensure_ascii=False), ROOM_EXPIRY_S)

    def _room_topic(self, source: str) -> str:
        return f"{self._settings.room_topic.strip('/')}/{topics.topic_level(source)}"

    def _person_topic(self, name: str, leaf: str) -> str:
        return topics.person_topic(self._prefix, self._node, name, leaf)
