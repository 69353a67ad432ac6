"""Time that the node adds to a transcript of Home Assistant's speech-to-text (Wyoming).

    python -m scripts.wyoming_latency --utterances 60 --answer 0.3

The turns of the bundled conversation are spoken in real time, as a microphone would send them, to an unmodified
`tonewatch serve` in front of a service that answers after `--answer` seconds, and at the same time to that service
alone. What is added is the time from the end of the audio to the transcript through the node minus the median without
it. The two enrolled people of the conversation are known to the node, its two others are strangers. It takes as long as
the utterances are, 3.3 s each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice

import numpy as np
import soundfile
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient

from stream.demo.conversation import AUDIO, ENROLMENTS, turns
from tests.support.speech_to_text import TEXT, SpeechToText, speech_to_text

CHUNK_S = 0.03
MIN_UTTERANCE_S, MAX_UTTERANCE_S = 1.5, 4.0


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance, 16-bit PCM."""

    person: str
    pcm: bytes = field(repr=False)
    rate_hz: int


def utterances() -> list[Spoken]:
    """Return the turns of the conversation that are as long as a spoken command, cut to `MAX_UTTERANCE_S`."""
    samples, rate_hz = soundfile.read(AUDIO, dtype="int16")
    return [
        Spoken(
            turn.speaker,
            samples[
                round(turn.start_s * rate_hz) : round(min(turn.end_s, turn.start_s + MAX_UTTERANCE_S) * rate_hz)
            ].tobytes(),
            rate_hz,
        )
        for turn in turns()
        if turn.end_s - turn.start_s >= MIN_UTTERANCE_S
    ]


async def say(port: int, spoken: Spoken) -> tuple[float, Transcript]:
    """Return the seconds from the end of the audio to the transcript, and the transcript."""
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Transcribe().event())
        await client.write_event(AudioStart(rate=spoken.rate_hz, width=2, channels=1).event())
        size, began_s = round(CHUNK_S * spoken.rate_hz) * 2, time.monotonic()
        for number, start in enumerate(range(0, len(spoken.pcm), size)):
            await asyncio.sleep(began_s + (number + 1) * CHUNK_S - time.monotonic())
            await client.write_event(AudioChunk(spoken.rate_hz, 2, 1, spoken.pcm[start : start + size]).event())
        ended_s = time.monotonic()
        await client.write_event(AudioStop().event())
        while (event := await client.read_event()) is not None:
            if Transcript.is_type(event.type):
                return time.monotonic() - ended_s, Transcript.from_event(event)
        raise SystemExit("the connection ended without a transcript; run `tonewatch serve` to see why")


@asynccontextmanager
async def proxy_node(service: SpeechToText, *settings: str) -> AsyncIterator[int]:
    """Run a node, which knows the enrolled people of the conversation, before a service; yields its Wyoming port."""
    command = [sys.executable, "-m", "stream", "serve", "--port", "0", "--quiet", "--wyoming-port", "0"]
    command += ["--wyoming-upstream", service.address, "--set", 'serve.wyoming_tell=["context"]']
    command += ["--set", "speakers.enrolled=" + json.dumps({name: str(at) for name, at in ENROLMENTS.items()})]
    for setting in settings:
        command += ["--set", setting]
    node = await asyncio.create_subprocess_exec(
        *command, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield await _port(node)
    finally:
        node.terminate()
        await node.communicate()


async def measure(arguments: argparse.Namespace) -> None:
    """Start service and node, speak, print the figures."""
    async with (
        speech_to_text(delay_s=arguments.answer) as service,
        proxy_node(service, *arguments.set or ()) as port,
    ):
        spoken = list(islice(cycle(utterances()), arguments.utterances))
        await say(port, spoken[0])  # the models' first windows
        alone, through = [], []
        length_s = sum(len(one.pcm) / 2 / one.rate_hz + arguments.answer for one in spoken)
        print(f"{len(spoken)} utterances are spoken in real time, {length_s:.0f} s", file=sys.stderr)
        for one in spoken:
            direct, proxied = await asyncio.gather(say(service.port, one), say(port, one))
            alone.append(direct[0])
            through.append(proxied)
    added_ms = np.array([took_s - statistics.median(alone) for took_s, _ in through]) * 1_000
    told = [
        (one.person, (transcript.context or {})["speaker"])
        for one, (_, transcript) in zip(spoken, through, strict=True)
    ]
    known = [name for person, name in told if person in ENROLMENTS]
    strangers = [name for person, name in told if person not in ENROLMENTS]
    print(f"utterances                 {len(spoken)}, answered after {arguments.answer:g} s")
    p50_ms, p95_ms = np.percentile(added_ms, (50, 95))
    print(f"added to the transcript    p50 {p50_ms:.1f} ms, p95 {p95_ms:.1f} ms")
    print(f"transcripts changed        {sum(transcript.text != TEXT for _, transcript in through)}")
    right = sum(person == name for person, name in told)
    print(f"enrolled people            {right} of {len(known)} named right, {known.count(None)} unknown")
    print(f"strangers                  {strangers.count(None)} of {len(strangers)} unknown")


async def _port(node: asyncio.subprocess.Process) -> int:
    """Return the node's Wyoming port once it listens and its models are loaded."""
    assert node.stderr is not None  # noqa: S101 - it was asked for
    while line := (await node.stderr.readline()).decode():
        if found := re.search(r"Wyoming on [\w.]+:(\d+)", line):
            return int(found[1])
    raise SystemExit("the node did not start; run `tonewatch serve` to see why")


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=60)
    parser.add_argument("--answer", type=float, default=0.3, help="seconds that the service takes for a transcript")
    parser.add_argument("--set", action="append", help="a setting of the node, KEY=VALUE")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
