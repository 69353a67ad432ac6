"""What a card makes of events."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from stream.dashboard.attention import attention
from stream.dashboard.card import Card
from stream.dashboard.history import TURNS
from stream.events import Event
from tests.dashboard.scenes import Scene, meeting, telephone


def card(*told: Event, name: str = "room") -> Card:
    made = Card(key=f"floor/{name}", name=name, node="floor")
    for event in told:
        made.apply(event.model_dump(mode="json", by_alias=True))
    return made


def test_who_speaks_and_since_when() -> None:
    scene = Scene("room")
    made = card(
        scene.stream(), scene.speaker("S1", 2.0), scene.speaker("S1", 2.5), scene.speaker("Alice", 3.0, enrolled=True)
    )
    assert made.view()["who"] == {"state": "confirmed", "name": "Alice", "enrolled": True, "since_s": 3.0}
    assert made.view()["silent_s"] is None


def test_silence_begins_where_the_speech_ended() -> None:
    scene = Scene("room")
    made = card(scene.speaker("S1", 2.0), scene.speaker(None, 4.0), scene.speaker(None, 4.5))
    assert made.view()["who"]["state"] == "silence"
    assert made.view()["silent_s"] == 4.0


def test_the_shares_of_a_stream_are_its_turns_the_open_one_too() -> None:
    scene = Scene("room")
    told = [*scene.turn(1, "S1", 0.0, 4.0, label="happy"), *scene.turn(2, "S2", 4.0, 9.0), scene.speaker("S2", 6.0)]
    assert card(*told).view()["shares"] == [{"who": "S1", "s": 4.0}, {"who": "S2", "s": 2.0}]


def test_the_parts_of_a_call_add_up_to_its_time() -> None:
    view = card(Scene("desk", call=True).so_far(60.0)).view()
    assert view["kind"] == "call"
    assert abs(sum(part["s"] for part in view["shares"]) - 60.0) < 0.05


def test_both_tracks_speaking_is_told_as_both() -> None:
    scene = Scene("desk", call=True)
    made = card(scene.speaker("customer", 2.0, party="customer"), scene.speaker("agent", 2.5, party="agent"))
    who = made.view()["who"]
    assert (who["state"], who["name"]) == ("overlap", "agent + customer")
    made.apply(scene.speaker(None, 3.0, party="agent").model_dump(mode="json", by_alias=True))
    assert made.view()["who"]["name"] == "customer"


def test_the_mood_of_a_call_is_the_customers() -> None:
    scene = Scene("desk", call=True)
    made = card(
        scene.emotion("angry", 3.0, who="customer", party="customer"),
        scene.emotion("happy", 4.0, who="agent", party="agent"),
    )
    assert made.view()["mood"]["label"] == "angry"


def test_a_page_that_comes_late_knows_mood_and_alerts_from_the_calls_figures_alone() -> None:
    view = card(
        Scene("desk", call=True).so_far(60.0, label="angry", alerts=(("a1", "anger", "customer", 50.0),))
    ).view()
    assert view["mood"]["label"] == "angry"
    assert [alert["words"] for alert in view["alerts"]] == ["sustained anger"]


def test_an_alert_comes_and_goes_and_is_noted_twice() -> None:
    scene = Scene("desk", call=True)
    made = card(scene.alert("a1", "dead_air", 20.0, who=None))
    assert made.view()["why"] == "dead air"
    made.apply(scene.alert("a1", "dead_air", 24.0, phase="end", who=None).model_dump(mode="json", by_alias=True))
    assert made.view()["why"] == ""
    assert [(note["kind"], note["phase"]) for note in made.detail()["notes"]] == [
        ("dead_air", "start"),
        ("dead_air", "end"),
    ]


def test_a_call_ends_with_its_summary_and_keeps_it() -> None:
    scene = Scene("desk", call=True)
    made = card(scene.stream(party="customer"), scene.so_far(80.0, phase="final", state="silence"))
    assert made.ended
    assert made.view()["state"] == "ended"
    assert made.detail()["call"]["phase"] == "final"


def test_sound_thrown_away_on_purpose_is_not_lost() -> None:
    scene = Scene("room")
    made = card(scene.stream(), scene.stream("paused", 3.0))
    assert made.view()["state"] == "paused"
    for event in (scene.stream("resumed", 3.0), scene.stream("gap", 9.0, start_s=3.0, lost_s=6.0, detail="paused")):
        made.apply(event.model_dump(mode="json", by_alias=True))
    assert (made.view()["state"], made.view()["gaps"], made.view()["why"]) == ("live", 0, "")
    made.apply(scene.stream("gap", 12.0, start_s=11.0, lost_s=1.0).model_dump(mode="json", by_alias=True))
    assert (made.view()["gaps"], made.view()["lost_s"], made.view()["why"]) == (1, 1.0, "sound was lost")


def test_nobody_speaks_while_a_stream_is_paused_or_stalled() -> None:
    scene = Scene("room")
    for state in ("paused", "stalled", "ended"):
        view = card(scene.speaker("S1", 2.0), scene.emotion("angry", 2.0), scene.stream(state, 3.0)).view()
        assert (view["who"]["name"], view["mood"]) == (None, None), state


def test_a_correction_renames_turns_and_talk() -> None:
    scene = Scene("room")
    made = card(*scene.turn(1, "S1", 0.0, 4.0, label="happy"))
    known = made.detail()["serial"]
    made.apply(scene.resolved("S1", "Alice", 5.0))
    assert [(turn["who"], turn["corrected"]) for turn in made.detail(known)["turns"]] == [("Alice", "S1")]
    assert made.view()["shares"] == [{"who": "Alice", "s": 4.0}]


def test_another_run_of_the_node_begins_anew() -> None:
    scene = Scene("room")
    made = card(*scene.turn(1, "S1", 0.0, 40.0, label="happy"))
    serial = made.serial
    again = scene.speaker("S1", 2.0).model_copy(update={"session": "t"})
    made.apply(again.model_dump(mode="json", by_alias=True))
    assert made.view()["end_s"] == 2.0
    assert made.serial > serial  # so that pages which know the old history are told that something changed
    assert made.detail()["turns"] == []


def test_what_comes_late_does_not_bring_a_stream_back() -> None:
    """A broker tells rolling state after the end it is older than."""
    scene = Scene("room")
    made = card(scene.stream(), scene.speaker("S1", 2.0), scene.stream("ended", 3.0), scene.speaker(None, 3.0))
    assert made.view()["state"] == "ended"


def test_a_source_that_comes_again_begins_anew() -> None:
    scene = Scene("room")
    made = card(*scene.turn(1, "S1", 0.0, 9.0, label="sad"), scene.stream("ended", 9.0), scene.stream(at_s=0.0))
    assert (made.view()["state"], made.view()["end_s"], made.view()["shares"]) == ("live", 0.0, [])


def test_what_this_version_does_not_know_is_passed_over() -> None:
    made = card(Scene("room").speaker("S1", 2.0))
    before = made.view()
    made.apply({"type": "weather", "id": "s/room/1", "session": "s", "source": "room", "time": "?", "end_s": 3.0})
    assert made.view() == before


def test_history_is_bounded() -> None:
    scene = Scene("room")
    made = card(
        *(
            event
            for number in range(TURNS + 20)
            for event in scene.turn(number, "S1", number, number + 0.5, label="sad")
        )
    )
    assert len(made.detail()["turns"]) == TURNS


@settings(max_examples=25, deadline=None)
@given(seed=some.integers(0, 40), cuts=some.lists(some.integers(0, 400), max_size=6), call=some.booleans())
def test_whoever_takes_the_history_in_pieces_ends_with_the_whole(seed: int, cuts: list[int], call: bool) -> None:  # noqa: FBT001
    told = list(telephone("desk", seed, length_s=90) if call else meeting("desk", seed, length_s=60))
    made, known, serial = card(name="desk"), dict[str, Any](), 0
    for number, event in enumerate(told):
        made.apply(event.model_dump(mode="json", by_alias=True))
        if number in cuts:
            piece = made.detail(serial)
            known |= {turn["id"]: turn for turn in piece["turns"]}
            serial = piece["serial"]
    known |= {turn["id"]: turn for turn in made.detail(serial)["turns"]}
    assert known == {turn["id"]: turn for turn in made.detail()["turns"]}


def test_alerts_come_before_stalls_before_moods_and_ended_last() -> None:
    def points(**more: Any) -> int:
        given = {"state": "live", "alerts": [], "mood": None, "lost_lately": False} | more
        return attention(**given)[0]

    angry = {"label": "angry", "confidence": 0.9}
    order = [
        points(alerts=[{"kind": "anger"}]),
        points(alerts=[{"kind": "dead_air"}]),
        points(state="stalled"),
        points(mood=angry),
        points(mood={"label": "sad", "confidence": 0.9}),
        points(lost_lately=True),
        points(),
        points(state="ended"),
    ]
    assert order == sorted(order, reverse=True)
    assert len(set(order)) == len(order)
