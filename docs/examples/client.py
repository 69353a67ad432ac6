"""Send a WAV file to `tonewatch serve` in real time, and print the events.

    python docs/examples/client.py speech.wav [ws://127.0.0.1:8765/v1/stream] [customer agent]

Requires `pip install websockets`. For a stereo call, name the parties of the left and the right channel. Append a token
to the address: ?token=...
"""

import asyncio
import json
import sys
import wave

import websockets


async def send(websocket, recording, chunk_s=0.1):
    while data := recording.readframes(round(chunk_s * recording.getframerate())):
        await websocket.send(data)
        await asyncio.sleep(chunk_s)
    await websocket.send(json.dumps({"type": "stop"}))


async def main(path, url="ws://127.0.0.1:8765/v1/stream", *parties):
    with wave.open(path) as recording:
        start = {"type": "start", "rate_hz": recording.getframerate(), "format": "s16le"}
        start |= {"call": "example", "parties": parties} if parties else {"source": "example"}
        async with websockets.connect(url) as websocket:
            await websocket.send(json.dumps(start))
            sending = asyncio.create_task(send(websocket, recording))
            async for message in websocket:
                print(message)
            await sending


asyncio.run(main(*sys.argv[1:]))
