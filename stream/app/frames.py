"""Events as a pandas data frame. pandas is an extra, imported when it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stream.errors import SettingsError
from stream.events import EVENT_TYPE_NAMES, Event

if TYPE_CHECKING:
    import pandas as pd


def to_frame(events: Iterable[Event], type: str | None = None) -> pd.DataFrame:  # noqa: A002 - the field's name
    """Return events as a data frame, a row for each, in order; with `type` only those of that type.

    Columns are the fields in the order of the first event that has them. A table becomes columns of its own
    (`probabilities.happy`), a list stays one cell, and `time` is a date in UTC. Raises `SettingsError` without pandas
    or for an unknown type.
    """
    if type is not None and type not in EVENT_TYPE_NAMES:
        raise SettingsError(f"there is no event type {type!r}; available: {', '.join(sorted(EVENT_TYPE_NAMES))}")
    try:
        import pandas as pd  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError("to_frame needs pandas; run `pip install '.[pandas]'` in a checkout of tonewatch") from None
    rows = [dict(_cells(event.model_dump(by_alias=True))) for event in events if type is None or event.type == type]
    columns = dict.fromkeys(name for row in rows for name in row)
    frame = pd.DataFrame(rows, columns=list(columns))
    if "time" in frame:
        frame["time"] = pd.to_datetime(frame["time"], utc=True)
    return frame


def _cells(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _cells(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
