"""Guided enrolment at a microphone: text to read, level meter, progress, and the current defects of the audio.

It ends by itself once there is enough clean speech, or after `MAX_RECORDING_S`.
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
from stream.profiles.quality import audio_issues
from stream.settings import SourceSettings
from stream.tools.enrolment.enrolment import EnrolmentModels, EnrolmentTake
from stream.types import Block

WANTED_SPEECH_S = 10.0
"""Clean speech after which the recording ends; more improves a profile little."""

MAX_RECORDING_S = 60.0
"""Length after which the recording ends with what there is."""

RECENT_S = 3.0
"""Length of the newest audio whose defects are shown."""

MIN_METER_DBFS, MAX_METER_DBFS = -60.0, 0.0
"""The ends of the level meter."""

TEXT = (
    "On market days the narrow streets fill early. Bakers carry warm bread past the church, a child chases a yellow "
    "balloon, and somebody always asks whether it will rain. By noon the fish is sold, the boxes are empty, and the "
    "musicians under the old bridge begin to play. Nobody hurries home, because the evening is long, the air is mild, "
    "and there is still so much to talk about."
)
"""About twenty seconds of speech with most sounds of English; any other text would do."""


class MicrophoneEnrolment:
    """One microphone; `target` is its name or number, empty for the default one."""

    def __init__(self, target: str = "", *, console: Console | None = None) -> None:
        self._target = target
        self._console = console or Console(stderr=True)

    async def record(self, models: EnrolmentModels) -> list[EnrolmentTake]:
        """Record until there is enough speech. Raises `SourceError` if the microphone cannot be opened or is lost."""
        source = registry.source(SourceSettings(kind="microphone", target=self._target))
        async with source.blocks() as blocks:
            audio = models.new_audio(source.format.rate_hz)
            self._console.print(f"Read this aloud, alone and in your usual voice:\n\n  {TEXT}\n", highlight=False)
            with self._meter(audio) as live:
                async for block in blocks:
                    if not isinstance(block, Block):
                        raise SourceError(f"the microphone is gone ({block.reason}); reconnect it and start again")
                    await asyncio.to_thread(audio.push, block.samples)
                    if live is not None:
                        live.update(render(audio))
                    recorded_s = block.end_frame / source.format.rate_hz
                    if audio.speech_s >= WANTED_SPEECH_S or recorded_s >= MAX_RECORDING_S:
                        break
        await asyncio.to_thread(audio.finish)
        return [EnrolmentTake(audio, "microphone", self._target or "default")]

    def _meter(self, audio: EnrolmentAudio) -> Live | nullcontext[None]:
        if not self._console.is_terminal:
            return nullcontext()
        return Live(render(audio), console=self._console, transient=True, refresh_per_second=15)


def render(audio: EnrolmentAudio) -> RenderableType:
    """Return the level meter, the progress and the current defects."""
    level = (audio.level_dbfs - MIN_METER_DBFS) / (MAX_METER_DBFS - MIN_METER_DBFS)
    rows = Table.grid(padding=(0, 1))
    rows.add_row("level", ProgressBar(total=1.0, completed=max(0.0, level), width=40), f"{audio.level_dbfs:.0f} dBFS")
    progress = ProgressBar(total=WANTED_SPEECH_S, completed=min(WANTED_SPEECH_S, audio.speech_s), width=40)
    rows.add_row("clean speech", progress, f"{audio.speech_s:.1f} of {WANTED_SPEECH_S:g} s")
    return Group(rows, current_issues(audio), Text("Ctrl-C cancels, nothing is stored", style="dim"))


def current_issues(audio: EnrolmentAudio) -> Text:
    """Return the labels of the current defects, or `ok`."""
    recent = audio.quality(recent_s=RECENT_S)
    labels = [issue.label for issue in audio_issues(recent)] if audio.speech_s else ["speak now"]
    return Text(", ".join(labels), style="yellow") if labels else Text("ok", style="green")
