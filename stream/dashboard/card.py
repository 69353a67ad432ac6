"""One card of the wall and what its page shows: the events of one stream, or of one call's tracks, taken in (pure).

A `Card` keeps the newest of what is rolling, and a bounded `History` of what is not.

Events are the JSON objects of the wire contract. A field or type that this version does not know is passed over: nodes
that are newer may be watched, too.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stream.dashboard.attention import attention
from stream.dashboard.history import History, Json
from stream.events.labels import ALERT_LABELS

TREND = 32
"""Columns of its trend."""

RECENT_S = 30.0
"""For how long a loss of sound counts as fresh."""

PARTIES = ("customer", "agent")


@dataclass(slots=True)
class _Track:
    """What is known of one source of the card: the newest speaker and emotion, and how the sound is."""

    state: str = "live"
    who: Json | None = None
    mood: Json | None = None
    latency_ms: float = 0.0


class Card:
    """A stream, or a call with its tracks."""

    def __init__(self, *, key: str, name: str, node: str) -> None:
        self.key, self.name, self.node = key, name, node
        self.version = 0
        self._serial = 0
        self._tracks: dict[str, _Track] = {}
        self._began_ms: float | None = None
        self._end_s = 0.0
        self._silent_since: float | None = None
        self._call: Json | None = None
        self._final = False
        self._talk: dict[str, float] = {}  # speech of ended turns, by who
        self._open: dict[str, Json] = {}  # turns that go on
        self._alerts: OrderedDict[str, Json] = OrderedDict()
        self._trend: deque[tuple[str, int]] = deque(maxlen=TREND)
        self._labels: list[str] = []
        self._gaps, self._lost_s, self._lost_at_s = 0, 0.0, -RECENT_S
        self._models: dict[str, str] = {}
        self._session = ""
        self.history = History()

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""
        return self._final or (bool(self._tracks) and all(track.state == "ended" for track in self._tracks.values()))

    @property
    def sources(self) -> tuple[str, ...]:
        """The streams it is made of."""
        return tuple(self._tracks)

    @property
    def serial(self) -> int:
        """The newest serial of the history."""
        return self._serial

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take one event in."""
        again = self.ended and event.get("type") == "stream" and event.get("state") == "started"
        if again or event.get("session", "") != self._session:
            self._begin_anew(event)
        self._serial += 1
        source = str(event["source"])
        kind = event.get("type")
        if kind in ("call", "alert"):
            self._hear_of(event)
            (self._on_call if kind == "call" else self._on_alert)(event)
            return
        take = {
            "speaker": self._on_speaker,
            "emotion": self._on_emotion,
            "turn": self._on_turn,
            "stream": self._on_stream,
            "speaker_resolved": self._on_resolved,
        }.get(str(kind))
        if take is None:
            return
        track = self._tracks.setdefault(source, _Track())
        if kind in ("speaker", "emotion") and track.state == "ended":
            return  # a broker gives rolling state its own way: this is older than the end
        self._hear_of(event)
        for model in event.get("models", ()):
            self._models[str(model["name"])] = str(model["revision"])
        take(track, event)

    def view(self, *, offline: bool = False) -> Json:
        """What the wall shows, as plain JSON."""
        state = "offline" if offline and not self.ended else self.state
        mood, alerts = self._mood(), list(self._alerts.values())
        points, why = attention(
            state=state, alerts=alerts, mood=mood, lost_lately=self._end_s - self._lost_at_s < RECENT_S
        )
        return {
            "key": self.key,
            "name": self.name,
            "node": self.node,
            "kind": "call" if self._call is not None or self._parties() else "stream",
            "state": state,
            "began_ms": self._began_ms,
            "end_s": round(self._end_s, 2),
            "who": self._who(),
            "mood": mood,
            "trend": [list(column) for column in self._trend],
            "anger": self._anger(),
            "shares": self._shares(),
            "silent_s": self._silent_since,
            "alerts": alerts,
            "lag_ms": max((track.latency_ms for track in self._tracks.values()), default=0.0),
            "gaps": self._gaps,
            "lost_s": round(self._lost_s, 2),
            "attention": points,
            "why": why,
        }

    def detail(self, after: int = 0) -> Json:
        """What the stream's page shows beside the card: the history that changed after a serial."""
        return {
            "key": self.key,
            "serial": self._serial,
            "labels": self._labels,
            "models": self._models,
            "sources": list(self._tracks),
            "call": self._call,
            **self.history.since(after),
        }

    @property
    def state(self) -> str:
        """`live`, `paused`, `stalled` or `ended`: the best of its tracks, but a stall of any is told."""
        states = {track.state for track in self._tracks.values()} or {"live"}
        if self.ended:
            return "ended"
        return next(state for state in ("stalled", "paused", "live", "ended") if state in states)

    def _begin_anew(self, event: Mapping[str, Any]) -> None:
        """Another run, or a source that came again: media time starts at 0, so that nothing of before may stay."""
        if self._session:
            serial, version = self._serial, self.version
            Card.__init__(self, key=self.key, name=self.name, node=self.node)
            self._serial, self.version = serial, version
        self._session = str(event.get("session", ""))

    def _hear_of(self, event: Mapping[str, Any]) -> None:
        end_s = float(event["end_s"])
        self._end_s = max(self._end_s, end_s)
        self._began_ms = datetime.fromisoformat(event["time"]).timestamp() * 1000 - end_s * 1000

    def _on_speaker(self, track: _Track, event: Mapping[str, Any]) -> None:
        track.latency_ms = float(event["latency_ms"])
        before = track.who
        same = before is not None and (before["state"], before["name"]) == (event["state"], event["speaker"])
        since = before["since_s"] if same and before is not None else event["end_s"]
        track.who = {"state": event["state"], "name": event["speaker"], "enrolled": event["enrolled"], "since_s": since}
        speaking = any(other.who is not None and other.who["state"] != "silence" for other in self._tracks.values())
        if speaking:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = float(event["end_s"])
        if event["reason"] != "track":
            asked = (
                "end_s",
                "state",
                "speaker",
                "enrolled",
                "best",
                "score",
                "runner_up",
                "margin",
                "threshold",
                "evidence_s",
                "reason",
                "identity",
                "mixed",
                "probability",
            )
            decision = {name: event[name] for name in asked if name in event}
            self.history.decisions.put(f"{event['source']}/{event['end_s']}", self._serial, decision)

    def _on_emotion(self, track: _Track, event: Mapping[str, Any]) -> None:
        track.latency_ms = float(event["latency_ms"])
        names = ("label", "confidence", "since_s", "speaker", "probabilities")
        track.mood = {name: event[name] for name in names} | {"party": event.get("party")}
        self._labels = list(event["probabilities"]) or self._labels
        at_s = float(event["end_s"])
        if event["label"] != "silence":
            self._trend.append((event["label"], round(100 * event["confidence"])))
        values = [round(float(value), 3) for value in event["probabilities"].values()] or None
        point = {"t": at_s, "p": values, "label": event["label"], "who": event.get("party") or event["speaker"]}
        self.history.points.put(f"{event['source']}/{at_s}", self._serial, point)

    def _on_turn(self, track: _Track, event: Mapping[str, Any]) -> None:  # noqa: ARG002 - all takers are called alike
        who = event.get("party") or event["speaker"]
        turn = {
            "id": f"{event['source']}/{event['turn']}",
            "open": event["phase"] == "start",
            "who": who,
            "start_s": event["start_s"],
            "end_s": event["end_s"],
            "emotion": event.get("emotion"),
            "emotions": event.get("emotions", {}),
        }
        if turn["open"]:
            self._open[turn["id"]] = turn
        else:
            self._open.pop(turn["id"], None)
            name = str(who or "")
            self._talk[name] = self._talk.get(name, 0.0) + float(event["end_s"]) - float(event["start_s"])
        self.history.turns.put(turn["id"], self._serial, turn)

    def _on_stream(self, track: _Track, event: Mapping[str, Any]) -> None:
        state, lost_s = str(event["state"]), float(event.get("lost_s", 0.0))
        paused = event.get("detail") == "paused"
        if state == "gap" and not paused:  # what was thrown away on purpose is not lost
            self._gaps, self._lost_s, self._lost_at_s = self._gaps + 1, self._lost_s + lost_s, float(event["end_s"])
        elif state != "gap":
            track.state = {"started": "live", "resumed": "live"}.get(state, state)
        if track.state in ("ended", "paused", "stalled"):
            track.who = track.mood = None
        self._note(event, "stream", {"state": state, "lost_s": lost_s, "detail": event.get("detail", "")})

    def _on_resolved(self, track: _Track, event: Mapping[str, Any]) -> None:  # noqa: ARG002
        """A voice turned out to be somebody: what was said of it before is put right."""
        was, now = event.get("was") or event.get("previous"), event.get("speaker")
        since = float(event.get("since_s", 0.0))
        for name, entry in list(self.history.turns.entries.items()):
            if entry.value["who"] == was and entry.value["end_s"] > since:
                entry.value = {**entry.value, "who": now, "corrected": was}
                entry.serial = self._serial
                if name in self._open:
                    self._open[name] = entry.value
        if since == 0.0 and was in self._talk:
            self._talk[str(now or "")] = self._talk.get(str(now or ""), 0.0) + self._talk.pop(str(was))
        self._note(event, "correction", {"was": was, "now": now, "since_s": since})

    def _on_call(self, event: Mapping[str, Any]) -> None:
        envelope = ("schema", "id", "session", "seq", "source", "models", "type", "call", "party")
        self._call = {name: value for name, value in event.items() if name not in envelope}
        silent = float(event["current_silence_s"])
        self._silent_since = float(event["end_s"]) - silent if event["state"] == "silence" else None
        self._alerts = OrderedDict(
            (str(alert["alert"]), {**alert, "words": _words(alert["kind"])}) for alert in event["alerts"]
        )
        if event["phase"] == "final":
            self._final = True
            self._alerts.clear()

    def _on_alert(self, event: Mapping[str, Any]) -> None:
        name = str(event["alert"])
        shown = {"alert": name, "kind": event["kind"], "speaker": event.get("speaker"), "since_s": event["start_s"]}
        if event["phase"] == "start":
            self._alerts[name] = {**shown, "words": _words(event["kind"])}
        else:
            self._alerts.pop(name, None)
        self._note(event, "alert", {"kind": event["kind"], "phase": event["phase"], "who": event.get("speaker")})

    def _note(self, event: Mapping[str, Any], kind: str, what: Json) -> None:
        name = f"{event.get('id', self._serial)}"
        note = {"note": kind, "t": event["end_s"], "time": event["time"], "source": event["source"], **what}
        self.history.notes.put(name, self._serial, note)

    def _parties(self) -> list[Json]:
        return list(self._call["parties"]) if self._call is not None else []

    def _who(self) -> Json:
        """Who speaks now, in one: of a call's two parties both may."""
        if self.ended:
            return {"state": "silence", "name": None, "enrolled": False, "since_s": self._end_s}
        talking = [track.who for track in self._tracks.values() if track.who and track.who["state"] != "silence"]
        if len(talking) > 1:
            names = " + ".join(sorted(str(one["name"] or "?") for one in talking))
            return {**talking[0], "state": "overlap", "name": names}
        if talking:
            return talking[0]
        return {"state": "silence", "name": None, "enrolled": False, "since_s": self._silent_since or 0.0}

    def _mood(self) -> Json | None:
        """The customer's emotion on a call; on a stream that of whoever speaks."""
        moods = [track.mood for track in self._tracks.values() if track.mood is not None]
        found = next((mood for mood in moods if mood["party"] == "customer"), moods[0] if moods else None)
        if found is not None or self.ended:
            return found
        for party in self._parties():
            if party["emotion"] is not None:  # a page that came late knows the call's figures only
                told = party["emotion"]
                return {
                    **{n: told[n] for n in ("label", "confidence", "since_s", "probabilities")},
                    "speaker": party["party"],
                    "party": party["party"],
                }
        return None

    def _anger(self) -> float | None:
        """Whether the customer gets angrier: the call's own trend."""
        trends = [party["emotion"]["trend"] for party in self._parties() if party["emotion"] is not None]
        return max(trends) if trends else None

    def _shares(self) -> list[Json]:
        """Who talked how long, in seconds; on a call also silence and crosstalk, to the sample."""
        if self._call is not None:
            parts = ((name, self._call[f"{name}_s"]) for name in ("customer", "agent", "crosstalk", "silence"))
            return [{"who": name, "s": round(float(s), 2)} for name, s in parts]
        talk = dict(self._talk)
        for turn in self._open.values():
            name = str(turn["who"] or "")
            talk[name] = talk.get(name, 0.0) + max(0.0, self._end_s - turn["start_s"])
        return [{"who": name, "s": round(s, 2)} for name, s in _largest(talk.items())]


def _largest(talk: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    return sorted(talk, key=lambda one: -one[1])[:8]


def _words(kind: str) -> str:
    return ALERT_LABELS.get(kind, kind.replace("_", " "))
