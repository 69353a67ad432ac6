"""Refused messages on disk: the bounds hold, and a broken disk costs one line in the log."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from stream.settings.outbox import OutboxSettings
from stream.sinks.outbox.journal import Journal
from stream.sinks.outbox.set_aside import TRIMMED_EACH, SetAsideStore
from tests.sinks.outbox.journals import NAME, message


def _numbers(store: SetAsideStore) -> list[str]:
    return [one.payload for one in store.read()]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (OutboxSettings(queue_events=3), 3),
        (OutboxSettings(outbox_mb=50e-6), 3),  # of 16 bytes each
        (OutboxSettings(), TRIMMED_EACH + 2),
    ],
)
def test_beyond_a_bound_the_oldest_are_deleted(limits: OutboxSettings, kept: int, tmp_path: Path) -> None:
    store = SetAsideStore(tmp_path / "box.sqlite", limits)
    for number in range(10, TRIMMED_EACH + 12):
        store.add([(message(number), "404")])
    assert _numbers(store) == [message(number).payload for number in range(10, TRIMMED_EACH + 12)][-kept:]
    store.close()


def test_old_messages_are_deleted(tmp_path: Path) -> None:
    path, limits = tmp_path / "box.sqlite", OutboxSettings(outbox_age_s=60)
    for number, wall_s in enumerate((1_800_000_000.0, 1_800_000_061.0)):
        store = SetAsideStore(path, limits, time_of_day=lambda wall_s=wall_s: wall_s)  # type: ignore[misc]
        store.add([(message(number), "404")])
        found = _numbers(store)
        store.close()
    assert found == [message(1).payload]


def test_a_disk_that_fails_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        (tmp_path / f"{NAME}.set-aside.sqlite").mkdir()
        set_aside = SetAsideStore.of(tmp_path, NAME, OutboxSettings())
        journal = Journal(folder=tmp_path, name=NAME, clock=lambda: 0.0, set_aside=set_aside)
        await journal.open()
        for number in range(3):
            await journal.write([message(number)])
            journal.mark_refused(message(number), "404")
            journal.mark_acknowledged(message(number))
            await journal.write()
        await journal.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(check())
    assert caplog.text.count("refused events are not kept") == 1
