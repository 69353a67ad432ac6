"""Send a WAV file to `tonewatch serve` as if it were heard now, and print what comes back.

    python docs/examples/client.py talk.wav [ws://127.0.0.1:8765/v1/stream] [customer agent]

Needs `pip install websockets`. Name two parties for a stereo call, left and right. A token goes behind the address:
?token=...
"""

import asyncio
import json
import sys
import wave

import websockets


async def send(link, recording, piece_s=0.1):
    while data := recording.readframes(round(piece_s * recording.getframerate())):
        await link.send(data)
        await asyncio.sleep(piece_s)
    await link.send(json.dumps({"type": "stop"}))


async def main(path, url="ws://127.0.0.1:8765/v1/stream", *parties):
    with wave.open(path) as recording:
        start = {"type": "start", "rate_hz": recording.getframerate(), "format": "s16le"}
        start |= {"call": "example", "parties": parties} if parties else {"source": "example"}
        async with websockets.connect(url) as link:
            await link.send(json.dumps(start))
            sending = asyncio.create_task(send(link, recording))
            async for message in link:
                print(message)
            await sending


asyncio.run(main(*sys.argv[1:]))
