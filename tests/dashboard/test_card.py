"""Cards: events in, views out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.dashboard.attention import attention
from stream.dashboard.card import Card
from stream.dashboard.history import MAX_TURNS
from stream.dashboard.speech_totals import MAX_SHARES
from stream.dashboard.views import AlertNoteView, AlertView, CorrectionNoteView, EmotionView, ShareView, SpeakerView
from stream.events import Event
from tests.dashboard.scenes import Scene, conversation, phone_call
from tests.support import examples


def card_of(*events: Event, name: str = "room") -> Card:
    card = Card(key=f"floor/{name}", name=name, node="floor")
    for event in events:
        card.apply(event)
    return card


def shares(card: Card) -> dict[str, float]:
    return {share.name: share.seconds for share in card.view().shares}


def test_current_speaker_and_since_when() -> None:
    scene = Scene("room")
    card = card_of(
        scene.stream(), scene.speaker("S1", 2.0), scene.speaker("S1", 2.5), scene.speaker("Alice", 3.0, enrolled=True)
    )
    assert card.view().speaker == SpeakerView(state="confirmed", name="Alice", enrolled=True, since_s=3.0)
    assert card.view().silent_since_s is None


def test_silence_starts_where_speech_ended() -> None:
    scene = Scene("room")
    card = card_of(scene.speaker("S1", 2.0), scene.speaker(None, 4.0), scene.speaker(None, 4.5))
    assert card.view().speaker.state == "silence"
    assert card.view().silent_since_s == 4.0


def test_shares_of_a_stream_include_the_open_turn() -> None:
    scene = Scene("room")
    events = [*scene.turn(1, "S1", 0.0, 4.0, label="happy"), *scene.turn(2, "S2", 4.0, 9.0), scene.speaker("S2", 6.0)]
    assert card_of(*events).view().shares == (ShareView(name="S1", seconds=4.0), ShareView(name="S2", seconds=2.0))


def test_shares_are_the_largest_ones() -> None:
    scene = Scene("room")
    events = [
        event
        for number in range(MAX_SHARES + 3)
        for event in scene.turn(number, f"S{number}", 20.0 * number, 20.0 * number + number + 1, label="sad")
    ]
    assert list(shares(card_of(*events)).values()) == [float(MAX_SHARES + 3 - rank) for rank in range(MAX_SHARES)]


def test_parts_of_a_call_add_up_to_its_length() -> None:
    view = card_of(Scene("desk", call=True).call_figures(60.0)).view()
    assert view.kind == "call"
    assert abs(sum(share.seconds for share in view.shares) - 60.0) < 0.05


def test_two_speaking_tracks_are_shown_as_overlap() -> None:
    scene = Scene("desk", call=True)
    card = card_of(scene.speaker("customer", 2.0, party="customer"), scene.speaker("agent", 2.5, party="agent"))
    speaker = card.view().speaker
    assert (speaker.state, speaker.name, [one.name for one in speaker.others]) == ("overlap", "agent", ["customer"])
    card.apply(scene.speaker(None, 3.0, party="agent"))
    assert card.view().speaker.name == "customer"


def test_everyone_who_speaks_on_a_stream_is_shown_and_counted() -> None:
    scene = Scene("room")
    alice, alice_end = scene.turn(1, "Alice", 1.0, 6.0, label="neutral")
    bob, bob_end = scene.turn(2, "Bob", 4.0, 9.0, label="neutral")
    card = card_of(scene.stream(), alice, bob, scene.speaker("Alice", 5.0, others=("Bob", None)))
    speaker = card.view().speaker
    assert (speaker.state, speaker.name, [one.name for one in speaker.others]) == ("overlap", "Alice", ["Bob", None])
    assert shares(card) == {"Alice": 4.0, "Bob": 1.0}
    for event in (alice_end, bob_end, scene.speaker("Bob", 9.0)):
        card.apply(event)
    assert shares(card) == {"Alice": 5.0, "Bob": 5.0}
    assert card.view().speaker.others == ()


def test_emotion_of_a_call_is_the_customers() -> None:
    scene = Scene("desk", call=True)
    card = card_of(
        scene.emotion("happy", 4.0, speaker="agent", party="agent"),
        scene.emotion("angry", 3.0, speaker="customer", party="customer"),
    )
    emotion = card.view().emotion
    assert emotion is not None
    assert emotion.label == "angry"


def test_figures_of_a_call_give_emotion_and_alerts_to_late_pages() -> None:
    figures = Scene("desk", call=True).call_figures(
        60.0, label="angry", trend=0.2, alerts=(("a1", "anger", "customer", 50.0),)
    )
    view = card_of(figures).view()
    assert view.emotion is not None
    assert (view.emotion.label, view.anger_trend) == ("angry", 0.2)
    assert [alert.label for alert in view.alerts] == ["sustained anger"]


def test_alert_is_shown_while_active_and_noted_twice() -> None:
    scene = Scene("desk", call=True)
    card = card_of(scene.alert("a1", "dead_air", 20.0, speaker=None))
    assert card.view().reason == "dead air"
    card.apply(scene.alert("a1", "dead_air", 24.0, phase="end", speaker=None))
    assert card.view().reason == ""
    notes = [note for note in card.detail().notes if isinstance(note, AlertNoteView)]
    assert [(note.label, note.phase) for note in notes] == [("dead air", "start"), ("dead air", "end")]


def test_alerts_of_rules_stay_beside_those_of_the_call() -> None:
    scene = Scene("desk", call=True)
    body = examples.alert().model_copy(update={"kind": "rule", "rule": "loud", "alert": "r1"})
    card = card_of(scene.event(body), scene.call_figures(20.0))
    assert card.view().reason == "loud"
    card.apply(scene.event(body.model_copy(update={"phase": "end"})))
    assert card.view().reason == ""


def test_call_ends_with_its_final_figures_and_keeps_them() -> None:
    scene = Scene("desk", call=True)
    card = card_of(
        scene.stream(party="customer"),
        scene.alert("a1", "anger", 70.0),
        scene.call_figures(80.0, phase="final", state="silence"),
    )
    assert card.view().state == "ended"
    assert card.view().alerts == ()
    call = card.detail().call
    assert call is not None
    assert call.phase == "final"


def test_paused_audio_does_not_count_as_lost() -> None:
    scene = Scene("room")
    card = card_of(scene.stream(), scene.stream("paused", 3.0))
    assert card.view().state == "paused"
    card.apply(scene.stream("resumed", 3.0))
    card.apply(scene.stream("gap", 9.0, start_s=3.0, lost_s=6.0, detail="paused"))
    assert (card.view().state, card.view().gaps, card.view().reason) == ("live", 0, "")
    card.apply(scene.stream("gap", 12.0, start_s=11.0, lost_s=1.0))
    assert (card.view().gaps, card.view().lost_s, card.view().reason) == (1, 1.0, "audio lost")


def test_paused_stalled_and_ended_streams_have_no_speaker() -> None:
    scene = Scene("room")
    for state in ("paused", "stalled", "ended"):
        view = card_of(scene.speaker("S1", 2.0), scene.emotion("angry", 2.0), scene.stream(state, 3.0)).view()
        assert (view.speaker.name, view.emotion) == (None, None), state


def test_correction_counts_from_its_start() -> None:
    """Turns that end later, and their seconds, get the new name; earlier ones keep theirs."""
    scene = Scene("room")
    card = card_of(
        *scene.turn(1, "S1", 0.0, 4.0, label="happy"),
        *scene.turn(2, "S2", 4.0, 5.0, label="happy"),
        *scene.turn(3, "S1", 5.0, 8.0, label="sad"),
        *scene.turn(4, "S1", 8.5, 10.0),
    )
    serial = card.serial
    card.apply(scene.resolved("S1", "Alice", 10.0, since_s=4.5))
    assert [turn.speaker for turn in card.detail().turns] == ["S1", "S2", "Alice", "Alice"]
    assert [turn.previous for turn in card.detail(serial).turns] == ["S1", "S1"]
    assert shares(card) == {"Alice": 4.5, "S1": 4.0, "S2": 1.0}
    (note,) = card.detail(serial).notes
    assert isinstance(note, CorrectionNoteView)
    assert (note.previous, note.speaker, note.since_s) == ("S1", "Alice", 4.5)


def test_correction_of_everything_moves_all_seconds() -> None:
    """Also those of turns that the bounded history no longer holds, and of an open turn once it ends."""
    scene = Scene("room")
    turns = [scene.turn(number, "S1", number, number + 0.5, label="sad") for number in range(MAX_TURNS + 20)]
    card = card_of(*(event for turn in turns for event in turn))
    card.apply(scene.resolved("S1", "Alice", 400.0))
    assert shares(card) == {"Alice": (MAX_TURNS + 20) / 2}
    assert {turn.speaker for turn in card.detail().turns} == {"Alice"}


def test_correction_of_an_open_turn_counts_once() -> None:
    scene = Scene("room")
    card = card_of(*scene.turn(1, "S1", 0.0, 4.0), scene.resolved("S1", "Alice", 3.0))
    assert shares(card) == {"Alice": 3.0}
    card.apply(scene.turn(1, "Alice", 0.0, 4.0, label="sad")[1])
    assert shares(card) == {"Alice": 4.0}


def test_correction_of_an_unknown_name_changes_no_turn() -> None:
    scene = Scene("room")
    card = card_of(*scene.turn(1, "S1", 0.0, 4.0, label="sad"), scene.resolved("S7", "Alice", 5.0))
    assert shares(card) == {"S1": 4.0}


def test_new_session_replaces_the_state() -> None:
    scene = Scene("room")
    card = card_of(*scene.turn(1, "S1", 0.0, 40.0, label="happy"))
    serial = card.serial
    card.apply(scene.speaker("S1", 2.0).model_copy(update={"session": "t"}))
    assert card.view().end_s == 2.0
    assert card.serial > serial  # pages that have the old history receive the change
    assert card.detail().turns == ()


def test_rolling_events_after_the_end_are_ignored() -> None:
    """A broker may deliver retained rolling state after the end that it is older than."""
    scene = Scene("room")
    card = card_of(scene.stream(), scene.speaker("S1", 2.0), scene.stream("ended", 3.0), scene.speaker(None, 3.0))
    assert card.view().state == "ended"


def test_restarted_source_replaces_the_state() -> None:
    scene = Scene("room")
    card = card_of(*scene.turn(1, "S1", 0.0, 9.0, label="sad"), scene.stream("ended", 9.0), scene.stream(at_s=0.0))
    assert (card.view().state, card.view().end_s, card.view().shares) == ("live", 0.0, ())


def test_health_of_a_stream_name_changes_no_card() -> None:
    card = card_of(Scene("room").speaker("S1", 2.0))
    before = card.view()
    card.apply(examples.event(examples.health(), source="room"))
    assert card.view() == before


def test_history_is_bounded() -> None:
    scene = Scene("room")
    turns = [scene.turn(number, "S1", number, number + 0.5, label="sad") for number in range(MAX_TURNS + 20)]
    card = card_of(*(event for turn in turns for event in turn))
    assert len(card.detail().turns) == MAX_TURNS


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 40), reads=st.lists(st.integers(0, 400), max_size=6), call=st.booleans())
def test_history_read_in_pieces_equals_the_whole(seed: int, reads: list[int], call: bool) -> None:  # noqa: FBT001
    events = list(phone_call("desk", seed, length_s=90) if call else conversation("desk", seed, length_s=60))
    card, turns, serial = card_of(name="desk"), dict[str, Any](), 0
    for number, event in enumerate(events):
        card.apply(event)
        if number in reads:
            piece = card.detail(serial)
            turns |= {turn.id: turn for turn in piece.turns}
            serial = piece.serial
    turns |= {turn.id: turn for turn in card.detail(serial).turns}
    assert turns == {turn.id: turn for turn in card.detail().turns}


def alert_view(kind: str) -> AlertView:
    return AlertView(alert="a1", kind=kind, label=kind, speaker=None, since_s=0.0)


def emotion_view(label: str) -> EmotionView:
    return EmotionView(label=label, confidence=0.9, since_s=0.0, speaker=None, probabilities={}, party=None)


def test_order_of_attention() -> None:
    """Alerts come before stalls, stalls before emotions, ended streams last."""

    def points(**given: Any) -> int:
        return attention(**({"state": "live", "alerts": [], "emotion": None, "recent_loss": False} | given))[0]

    order = [
        points(alerts=[alert_view("anger"), alert_view("dead_air")]),
        points(alerts=[alert_view("anger")]),
        points(alerts=[alert_view("dead_air")]),
        points(state="stalled"),
        points(emotion=emotion_view("angry")),
        points(emotion=emotion_view("sad")),
        points(recent_loss=True),
        points(),
        points(state="ended"),
    ]
    assert order == sorted(order, reverse=True)
    assert len(set(order)) == len(order)
