"""Enrolment at the microphone: what to read, how loud it is, how much is still needed, and what is wrong right now.

It ends by itself when there is enough clean speech, or when that does not come.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stream.app import registry
from stream.errors import SourceError
from stream.profiles.enrolment_audio import EnrolmentAudio
from stream.profiles.quality import faults
from stream.settings import SourceSettings
from stream.tools.enrolment.enrolment import EnrolmentModels, EnrolmentTake
from stream.types import Block

ENOUGH_S = 10.0
"""Clean speech after which it ends: more makes a profile little better."""

LONGEST_S = 60.0
"""Sound after which it ends with what there is."""

RECENT_S = 3.0
"""What is wrong right now is judged by so much sound."""

QUIETEST_DBFS, LOUDEST_DBFS = -60.0, 0.0
"""The ends of the level meter."""

TEXT = (
    "On market days the narrow streets fill early. Bakers carry warm bread past the church, a child chases a yellow "
    "balloon, and somebody always asks whether it will rain. By noon the fish is sold, the boxes are empty, and the "
    "musicians under the old bridge begin to play. Nobody hurries home, because the evening is long, the air is mild, "
    "and there is still so much to talk about."
)
"""Read aloud it takes twenty seconds or so, and holds most sounds of English; any other words would do."""


class MicrophoneEnrolment:
    """One microphone; `target` is its name or number, empty for the default one."""

    def __init__(self, target: str = "", *, console: Console | None = None) -> None:
        self._target = target
        self._console = console or Console(stderr=True)

    async def listen(self, ears: EnrolmentModels) -> list[EnrolmentTake]:
        """Listen until there is enough. Raises `SourceError` when the microphone cannot be had or is lost."""
        source = registry.source(SourceSettings(kind="microphone", target=self._target))
        async with source.blocks() as blocks:
            take = ears.take(source.format.rate_hz)
            self._console.print(f"Read this aloud, in your usual voice, alone:\n\n  {TEXT}\n", highlight=False)
            heard_s = 0.0
            with self._meter(take) as live:
                async for block in blocks:
                    if not isinstance(block, Block):
                        raise SourceError(f"the microphone is gone ({block.reason}); plug it in and begin again")
                    await asyncio.to_thread(take.push, block.samples)
                    heard_s = block.end_frame / source.format.rate_hz
                    if live is not None:
                        live.update(picture(take))
                    if take.speech_s >= ENOUGH_S or heard_s >= LONGEST_S:
                        break
        await asyncio.to_thread(take.finish)
        return [EnrolmentTake(take, "microphone", self._target or "default")]

    def _meter(self, take: EnrolmentAudio) -> Live | nullcontext[None]:
        if not self._console.is_terminal:
            return nullcontext()
        return Live(picture(take), console=self._console, transient=True, refresh_per_second=15)


def picture(take: EnrolmentAudio) -> RenderableType:
    """A level meter, how far it is, and what is wrong right now."""
    level = (take.level_dbfs - QUIETEST_DBFS) / (LOUDEST_DBFS - QUIETEST_DBFS)
    rows = Table.grid(padding=(0, 1))
    rows.add_row("level", ProgressBar(total=1.0, completed=max(0.0, level), width=40), f"{take.level_dbfs:.0f} dBFS")
    done = ProgressBar(total=ENOUGH_S, completed=min(ENOUGH_S, take.speech_s), width=40)
    rows.add_row("clean speech", done, f"{take.speech_s:.1f} of {ENOUGH_S:g} s")
    return Group(rows, advice(take), Text("Ctrl-C stores nothing", style="dim"))


def advice(take: EnrolmentAudio) -> Text:
    """What is wrong right now, in a word; or that all is well."""
    recent = take.sound(recent_s=RECENT_S)
    wrong = [fault.brief for fault in faults(recent)] if take.speech_s else ["speak now"]
    return Text(", ".join(wrong), style="yellow") if wrong else Text("good", style="green")
