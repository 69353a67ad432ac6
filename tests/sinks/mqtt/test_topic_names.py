"""Names in topics: any text, reversibly, without collisions, and as brokers accept it."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream.sinks.mqtt import topics

names = st.text(st.characters(exclude_categories=()), max_size=64)
FORBIDDEN = re.compile("[+#/\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\U0001fffe\U0010ffff]")


@given(name=names)
@example(name="")
@example(name="%")
@example(name="%2F")
@example(name="%u00D800")
@example(name="\ud800")
@example(name="Küche / 1+2 #3 %")
@example(name="👩‍🚒 \U0010ffff\ufffe")
def test_a_name_is_one_level_and_can_be_read_back(name: str) -> None:
    level = topics.topic_level(name)
    assert level
    assert not FORBIDDEN.search(level)
    level.encode()
    assert topics.name_of_level(level) == name


@given(one=names, other=names)
def test_different_names_have_different_topics(one: str, other: str) -> None:
    def all_topics(name: str) -> set[str]:
        rooms = {topics.source_topic("p", "n", name, leaf) for leaf in ("turn", "state", "home")}
        return rooms | {topics.person_topic("p", "n", name, leaf) for leaf in ("state", "location")}

    assert one == other or not all_topics(one) & all_topics(other)


@pytest.mark.parametrize("name", ["person", "response", "health", "command"])
def test_a_stream_called_like_a_topic_of_the_node_collides_with_none(name: str) -> None:
    room = topics.source_topic("p", "n", name, "turn")
    assert room not in {topics.node_topic("p", "n", leaf) for leaf in ("person", "response", "health", "command")}
    assert room != topics.person_topic("p", "n", "turn", "state")
