"""The outbox: ordered messages at least once and in order, only the newest rolling state."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.sinks.outbox.messages import Message, Outbox


@given(st.lists(st.sampled_from(["ordered", "rolling", "take", "acknowledge", "lose"]), max_size=60))
def test_no_ordered_message_is_lost_or_reordered(script: list[str]) -> None:
    outbox, in_flight, put, arrived = Outbox(capacity=1_000), [], [], []
    for number, step in enumerate(script):
        if step in ("ordered", "rolling"):
            (outbox.put if step == "ordered" else outbox.put_state)(
                "turn" if step == "ordered" else "state", str(number)
            )
            if step == "ordered":
                put.append(str(number))
        elif step == "take" and (message := outbox.take()) is not None:
            in_flight.append(message)
        elif step == "acknowledge" and in_flight:
            message = in_flight.pop(0)
            outbox.acknowledge(message)
            arrived.append(message)
        elif step == "lose":
            in_flight.clear()
            outbox.requeue_unacknowledged()
    outbox.requeue_unacknowledged()
    while (message := outbox.take()) is not None:
        outbox.acknowledge(message)
        arrived.append(message)
    first_seen = list(dict.fromkeys(m.payload for m in arrived if not m.rolling))
    assert first_seen == put
    assert outbox.empty


def test_the_newest_state_of_a_topic_wins() -> None:
    outbox = Outbox(capacity=10)
    for payload in "abc":
        outbox.put_state("emotion", payload)
    assert outbox.take() == Message("emotion", "c", rolling=True)
    assert outbox.take() is None
    assert outbox.statistics().conflated == 2


def test_all_state_is_published_again_after_a_lost_connection() -> None:
    outbox = Outbox(capacity=10)
    outbox.put_state("emotion", "a")
    message = outbox.take()
    assert message is not None
    outbox.acknowledge(message)
    assert outbox.empty
    outbox.requeue_unacknowledged()
    assert outbox.take() == message


def test_beyond_its_capacity_the_oldest_is_dropped_and_counted() -> None:
    outbox = Outbox(capacity=3)
    for number in range(5):
        outbox.put("turn", str(number))
    assert outbox.statistics().dropped == 2
    kept = [outbox.take() for _ in range(3)]
    assert [message.payload for message in kept if message] == ["2", "3", "4"]


@given(st.permutations(range(6)))
def test_acknowledgements_can_arrive_in_any_order(order: list[int]) -> None:
    outbox = Outbox(capacity=10)
    for number in range(6):
        outbox.put("turn", str(number))
    in_flight = [outbox.take() for _ in range(6)]
    for index in order[:3]:
        message = in_flight[index]
        assert message is not None
        outbox.acknowledge(message)
    outbox.requeue_unacknowledged()
    remaining = [message.payload for message in iter(outbox.take, None)]
    assert remaining == [str(number) for number in range(6) if number not in order[:3]]


@given(st.lists(st.sampled_from(["put", "take", "acknowledge", "lose"]), max_size=60), st.integers(1, 5))
def test_every_message_is_sent_dropped_or_waiting(script: list[str], capacity: int) -> None:
    outbox, in_flight, put = Outbox(capacity=capacity), [], 0
    for step in script:
        if step == "put":
            outbox.put("turn", str(put))
            put += 1
        elif step == "take" and (message := outbox.take()) is not None:
            in_flight.append(message)
        elif step == "acknowledge" and in_flight:
            outbox.acknowledge(in_flight.pop(0))
        elif step == "lose":
            in_flight.clear()
            outbox.requeue_unacknowledged()
        counts = outbox.statistics()
        assert counts.sent + counts.dropped + counts.waiting == put
        assert counts.waiting <= capacity


def test_cleared_state_is_removed_at_the_broker_and_forgotten() -> None:
    outbox = Outbox(capacity=10)
    outbox.put_state("a", "1")
    first = outbox.take()
    assert first is not None
    outbox.acknowledge(first)
    outbox.clear("a")
    outbox.requeue_unacknowledged()
    cleared = outbox.take()
    assert cleared is not None
    assert cleared.payload == ""
    outbox.requeue_unacknowledged()
    assert outbox.take() == cleared, "until the broker has acknowledged it"
    outbox.acknowledge(cleared)
    outbox.requeue_unacknowledged()
    assert outbox.empty
    outbox.clear("a")
    assert outbox.empty, "no state is left to clear"


def test_unpublished_state_is_only_forgotten() -> None:
    outbox = Outbox(capacity=10)
    outbox.put_state("a", "1")
    outbox.clear("a")
    assert outbox.empty
    outbox.requeue_unacknowledged()
    assert outbox.empty


def test_a_cleared_topic_with_new_state_keeps_it() -> None:
    outbox = Outbox(capacity=10)
    outbox.put_state("a", "1")
    outbox.take()
    outbox.clear("a")
    cleared = outbox.take()
    assert cleared is not None
    outbox.put_state("a", "2")
    outbox.acknowledge(cleared)
    outbox.requeue_unacknowledged()
    assert outbox.take() == Message("a", "2", rolling=True)


def test_state_waits_until_its_topic_is_recorded() -> None:
    outbox = Outbox(capacity=10, recorded=True)
    outbox.put_state("room/speaker", "Al")
    assert outbox.take() is None
    assert outbox.unrecorded() == {"room/speaker"}
    outbox.put_state("hall/speaker", "Bob")
    outbox.mark_recorded({"hall/speaker"})
    message = outbox.take()
    assert message is not None
    assert (message.topic, outbox.take()) == ("hall/speaker", None)
    outbox.mark_recorded(outbox.unrecorded())
    taken = outbox.take()
    assert taken is not None
    outbox.clear("room/speaker")
    cleared = outbox.take()
    assert cleared is not None
    assert (outbox.acknowledge(taken), outbox.acknowledge(cleared)) == (False, True)
    outbox.put_state("room/speaker", "Al")
    assert outbox.unrecorded() == {"room/speaker"}, "a cleared topic is forgotten"


def test_what_an_earlier_process_left_is_cleared_or_replaced() -> None:
    outbox = Outbox(capacity=10, recorded=True)
    outbox.restore_published({"room/speaker", "hall/speaker"})
    outbox.clear("room/speaker")
    outbox.clear("hall/speaker")
    outbox.put_state("hall/speaker", "Bob")
    assert [(m.topic, m.payload) for m in iter(outbox.take, None)] == [("room/speaker", ""), ("hall/speaker", "Bob")]


def test_lasting_state_is_renewed_while_the_process_lives() -> None:
    outbox = Outbox(capacity=10)
    outbox.put_state("room/state", "listening", now_s=0.0, expires_after_s=100.0, lasting=True)
    outbox.put_state("room/speaker", "Al", now_s=0.0, expires_after_s=100.0)
    assert [outbox.take(now_s=1.0) is not None for _ in range(3)] == [True, True, False]
    assert not outbox.renew(now_s=49.0)
    assert outbox.renew(now_s=50.0)
    message = outbox.take(now_s=50.0)
    assert message is not None
    assert (message.topic, message.expires_at_s) == ("room/state", 150.0)
    outbox.requeue_unacknowledged()
    assert outbox.renew(now_s=400.0), "also after an outage that is longer than its expiry"
    assert [one.topic for one in iter(lambda: outbox.take(now_s=400.0), None)] == ["room/state"]
