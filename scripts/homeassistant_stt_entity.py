"""Home Assistant's own entity of a Wyoming speech-to-text service, given utterances; runs in its Python.

Reads `{"ports": [...], "utterances": [base64 of 16-bit PCM, ...]}` on standard input, speaks each utterance in real
time to the service on every port, and writes `[[{"text", "state", "seconds"}, ... per port], ... per utterance]`.
Nothing of tonewatch is imported here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from homeassistant.components import stt
from homeassistant.components.wyoming.data import WyomingService
from homeassistant.components.wyoming.stt import WyomingSttProvider
from homeassistant.config_entries import ConfigEntry

CHUNK_S, RATE_HZ = 0.03, 16_000
METADATA = stt.SpeechMetadata(
    language="en",
    format=stt.AudioFormats.WAV,
    codec=stt.AudioCodecs.PCM,
    bit_rate=stt.AudioBitRates.BITRATE_16,
    sample_rate=stt.AudioSampleRates.SAMPLERATE_16000,
    channel=stt.AudioChannels.CHANNEL_MONO,
)


async def _entity(port: int) -> WyomingSttProvider:
    """Set up the entity as the integration does: from what the service says about itself."""
    service = await WyomingService.create("127.0.0.1", port)
    if service is None or not service.has_services():
        raise SystemExit(f"Home Assistant finds no speech-to-text service on port {port}")
    entry: ConfigEntry[Any] = object.__new__(ConfigEntry)
    object.__setattr__(entry, "entry_id", str(port))
    return WyomingSttProvider(entry, service)


async def _say(entity: WyomingSttProvider, pcm: bytes) -> dict[str, Any]:
    ended_s = 0.0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal ended_s
        size, began_s = round(CHUNK_S * RATE_HZ) * 2, time.monotonic()
        for number, start in enumerate(range(0, len(pcm), size)):
            await asyncio.sleep(began_s + (number + 1) * CHUNK_S - time.monotonic())
            yield pcm[start : start + size]
        ended_s = time.monotonic()

    result = await entity.async_process_audio_stream(METADATA, stream())
    return {"text": result.text, "state": result.result.value, "seconds": time.monotonic() - ended_s}


async def _main() -> None:
    given = json.load(sys.stdin)
    entities = [await _entity(port) for port in given["ports"]]
    spoken = [base64.b64decode(one) for one in given["utterances"]]
    print(json.dumps([[await _say(entity, pcm) for entity in entities] for pcm in spoken]))


if __name__ == "__main__":
    asyncio.run(_main())
