"""Every value of the contract has a display name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest

from stream.events import AlertKind, FloorState, Reason, SpeakerState, StreamBody, labels


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (labels.ALERT_LABELS, AlertKind),
        (labels.REASON_LABELS, Reason),
        (labels.SPEAKER_STATE_LABELS, SpeakerState),
        (labels.STREAM_STATE_LABELS, StreamBody.model_fields["state"].annotation),
        (labels.FLOOR_LABELS, FloorState),
    ],
)
def test_every_value_has_a_label(table: Mapping[str, str], values: Any) -> None:
    assert set(table) == set(get_args(values))
