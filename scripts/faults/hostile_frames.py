"""Hostile input over every door of a listener, beside a healthy call: nothing ends, nothing hangs, the log stays small.

    python -m scripts.faults.hostile_frames --count 200000

Messages made from valid exchanges of each protocol with defects, random bytes and text, WebSocket frames and HTTP
requests out of grammars: over five WebSocket endpoints, the dashboard's, AudioSocket, and plain HTTP. Half of the
connections have the token. Each input may end its own connection only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import struct
import time
from collections.abc import Iterator

import websockets

from scripts.faults.attacked_node import TOKEN, AttackedNode, HealthyCall, attacked_node, can_call
from scripts.faults.report import print_result
from tests.server.protocols.corruption import corrupted
from tests.server.protocols.messages import EXCHANGES

PAGE_MESSAGES: list[str | bytes] = [
    '{"watch": "floor/healthy"}',
    '{"command": "pause", "source": "none", "id": "1"}',
    "null",
]
DOORS = {
    "/v1/stream": EXCHANGES["generic"][1],
    "/v1/twilio": EXCHANGES["twilio"][1],
    "/v1/asterisk": EXCHANGES["asterisk"][1],
    "/v1/audiohook": EXCHANGES["audiohook"][1],
    "/v1/freeswitch": EXCHANGES["freeswitch"][1],
    "/v1/jambonz": EXCHANGES["jambonz"][1],
    "/v1/vonage": EXCHANGES["vonage"][1],
    "/v1/plivo": EXCHANGES["plivo"][1],
    "/v1/exotel": EXCHANGES["exotel"][1],
    "/live": PAGE_MESSAGES,
}
MAX_MESSAGES = 200
"""Messages of one connection."""

MAX_HANG_MS = 1_000
MAX_WAITED_SHARE = 0.1
MAX_LOG_BYTES_PER_MINUTE = 1_000_000
PROBE_EVERY_S = 0.5

METHODS = ("GET", "POST", "HEAD", "PUT", "\xff", "", "GET" * 3_000)
PATHS = (
    "/",
    "/enter",
    "/live",
    "/static/index.html",
    "/static/../../etc/passwd",
    "/%00",
    "/%ff",
    "//",
    "*",
    "/v1/stream",
)
NAMES = (
    "Host",
    "Origin",
    "Cookie",
    "Authorization",
    "X-Forwarded-For",
    "X-Twilio-Signature",
    "Signature-Input",
    "Signature",
    "Content-Length",
    "Transfer-Encoding",
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "X-API-KEY",
    "Range",
    "Expect",
)
VALUES = (
    "localhost",
    "[::1",
    "\xe9",
    "9" * 5_000,
    "",
    "upgrade",
    "websocket",
    "13",
    "chunked",
    "-1",
    "0",
    "tonewatch=" + '"\\' * 3_000,
    "Bearer " + TOKEN,
    "MDAwMDAwMDAwMDAwMDAwMA==",
    'sig=("a");created=' + "1" * 400,
    "a" * 9_000,
    "bytes=" + "0-1," * 500,
    "null",
    "a\x00b",
    "1" * 30,
)


def http_request(chance: random.Random) -> bytes:
    """Return a request out of the grammar, whole or cut off."""
    method = chance.choice((*METHODS[:2] * 20, *METHODS))
    lines = [f"{method} {chance.choice(PATHS)} HTTP/1.{chance.choice('1110')}"]
    if chance.randrange(3):
        lines.append("Host: localhost")
    lines += [f"{chance.choice(NAMES)}: {chance.choice(VALUES)}" for _ in range(chance.choice((0, 1, 3, 6, 90)))]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + chance.randbytes(chance.choice((0, 0, 20)))
    return request if chance.randrange(10) else request[: chance.randrange(len(request))]


def frame(chance: random.Random, payload: bytes) -> bytes:
    """Return a masked WebSocket frame, mostly with an odd opcode, reserved bits, length or continuation."""
    first = chance.choice((0x81, 0x82, 0x01, 0x00, 0x80, 0x88, 0x89, 0x8A, 0xC1, 0xFF, 0x83))
    length = len(payload) if chance.randrange(10) else chance.choice((0, 126, 70_000, 1 << 40))
    if length < 126:  # noqa: PLR2004 - RFC 6455
        header = bytes((first, 0x80 | length))
    elif length < 1 << 16:
        header = bytes((first, 0x80 | 126)) + struct.pack(">H", length)
    else:
        header = bytes((first, 0x80 | 127)) + struct.pack(">Q", length)
    return header + bytes(4) + payload  # the mask 0


class Attack:
    """Workers that share a number of inputs."""

    def __init__(self, node: AttackedNode, count: int) -> None:
        self._node, self.count, self.sent = node, count, 0

    def inputs(self) -> Iterator[int]:
        """Yield numbers, at most `MAX_MESSAGES`, until all inputs are sent."""
        for _ in range(MAX_MESSAGES):
            if self.sent >= self.count:
                return
            self.sent += 1
            yield self.sent

    async def websocket(self, path: str, chance: random.Random) -> None:
        """Send messages and frames to one endpoint."""
        messages = corrupted(DOORS[path], chance)
        while self.sent < self.count:
            with contextlib.suppress(OSError, TimeoutError, websockets.WebSocketException):
                async with (
                    asyncio.timeout(10),
                    websockets.connect(self._node.url(path), compression=None, proxy=None) as link,
                ):
                    for opening in DOORS[path][: chance.randrange(2)]:
                        await link.send(opening)
                    for _ in self.inputs():
                        message = next(messages)
                        if not chance.randrange(10):
                            data = message if isinstance(message, bytes) else message.encode(errors="replace")
                            link.transport.write(frame(chance, data))
                            await asyncio.sleep(0)
                        else:
                            await link.send(
                                message if isinstance(message, bytes) else message.encode(errors="replace").decode()
                            )
                        if link.state is not websockets.State.OPEN:
                            break

    async def socket(self, port: int, data: Iterator[bytes]) -> None:
        """Send pieces of data to a port, several to each connection."""
        while self.sent < self.count:
            with contextlib.suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    async with asyncio.timeout(10):
                        for number in self.inputs():
                            writer.write(next(data))
                            await writer.drain()
                            if number % 8 == 0 or reader.at_eof():
                                break
                        writer.write_eof()
                        while await reader.read(65_536):
                            pass
                finally:
                    writer.close()

    async def run(self) -> None:
        """Attack all doors at once."""
        packets = (
            message if isinstance(message, bytes) else message.encode(errors="replace")
            for message in corrupted(EXCHANGES["audiosocket"][1], random.Random(1))  # noqa: S311
        )
        chance = random.Random(2)  # noqa: S311
        requests = (http_request(chance) for _ in iter(int, 1))
        await asyncio.gather(
            *(self.websocket(path, random.Random(number)) for number, path in enumerate(DOORS)),  # noqa: S311
            self.socket(self._node.audiosocket_port, packets),
            *(self.socket(self._node.port, requests) for _ in range(2)),
        )


async def main(count: int) -> None:
    """Attack a node with a call, and try a new call from time to time."""
    async with attacked_node("--set", 'serve.audiosocket_peers=["127.0.0.0/8"]') as node:
        call, attack = HealthyCall(node), Attack(node, count)
        calling = asyncio.create_task(call.run())
        await asyncio.sleep(3)
        before, began_s, opened = node.usage, time.monotonic(), list[float | None]()
        attacking = asyncio.create_task(attack.run())
        while not attacking.done():
            await asyncio.wait([attacking], timeout=PROBE_EVERY_S)
            opened.append(await can_call(node, 30.0))
        await attacking
        took_s = time.monotonic() - began_s
        usage, alive, trace, log_rate = node.usage, node.is_alive, node.first_trace, node.log_bytes_per_minute
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
    succeeded = [duration_s for duration_s in opened if duration_s is not None]
    slowest_ms = round(1_000 * max(succeeded, default=0.0))
    waited_share = (usage.waited_s - before.waited_s) / took_s
    print_result(
        "hostile_frames",
        held=alive
        and not trace
        and not call.lost
        and len(succeeded) == len(opened)
        and (slowest_ms <= MAX_HANG_MS or waited_share > MAX_WAITED_SHARE)
        and log_rate <= MAX_LOG_BYTES_PER_MINUTE,
        inputs=attack.sent,
        per_s=round(attack.sent / took_s),
        new_calls=f"{len(succeeded)} of {len(opened)}",
        slowest_new_call_ms=slowest_ms,
        waited_for_a_core=round(waited_share, 2),
        log_bytes_per_minute=log_rate,
        first_trace=trace,
        lost=call.lost,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200_000)
    asyncio.run(main(parser.parse_args().count))
