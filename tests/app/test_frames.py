"""Events as data frames."""

from __future__ import annotations

import pandas as pd
import pytest

import stream
from stream.errors import SettingsError
from tests.support import examples


def test_events_become_rows_with_a_column_per_field() -> None:
    events = [
        examples.event(examples.turn(1, "start"), seq=0),
        examples.event(examples.turn(1, end_s=2.5), seq=1),
        examples.event(examples.speaker("Alice", end_s=3.0), seq=2),
    ]
    frame = stream.to_frame(events)
    assert list(frame["type"]) == ["turn", "turn", "speaker"]
    assert frame["emotions.happy"].tolist()[1] == 0.75
    assert pd.isna(frame["emotions.happy"].iloc[2])
    assert frame["schema"].tolist() == [2, 2, 2]
    assert str(frame["time"].dt.tz) == "UTC"
    turns = stream.to_frame(iter(events), type="turn")
    assert turns["end_s"].tolist() == [2.0, 2.5]
    assert "probability" not in turns


def test_no_events_and_unknown_types() -> None:
    assert stream.to_frame([]).empty
    with pytest.raises(SettingsError, match="no event type 'turns'; available: alert, call"):
        stream.to_frame([], type="turns")
