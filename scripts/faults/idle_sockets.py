"""A thousand sockets that say nothing and five hundred that say it slowly: calls go on, and new ones get in.

    python -m scripts.faults.idle_sockets --idle 1000 --slow 500 --seconds 30 --descriptors 1024

A process of its own holds the sockets, and opens them again some seconds after the node has closed them. A call that
was there before must get its events as soon as without them, a new call must get in each time, and the log must stay
small. `--descriptors` is the node's hard limit of open files (`ulimit -Hn`). Latency is judged only where the node's
event loop got a core when it needed one: on a machine that is busy with other work it says nothing about the node.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import time

from scripts.faults.attacked_node import HealthyCall, attacked_node, attacker, can_call
from scripts.faults.report import print_result

CALM_S = 12.0
REOPEN_S = 4.0
SLOW_REQUEST = b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nX-Padding: "

MAX_ADDED_MS = 100
MAX_WAITED_SHARE = 0.1
"""Share of the time in which the event loop waits for a core, up to which latency is judged."""

MAX_LOG_BYTES_PER_MINUTE = 1_000_000


async def hold(port: int, *, is_slow: bool, delay_s: float) -> None:
    """Keep one socket open, again after the node has closed it, until cancelled."""
    await asyncio.sleep(delay_s)
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                for letter in SLOW_REQUEST if is_slow else b"":
                    writer.write(bytes((letter,)))
                    await asyncio.sleep(0.5)
                    if reader.at_eof() or writer.is_closing():
                        break
                await reader.read()
            finally:
                writer.close()
        await asyncio.sleep(REOPEN_S)


async def attack(port: int, idle: int, slow: int) -> None:
    """Hold all sockets until this process is ended."""
    total = idle + slow
    await asyncio.gather(
        *(hold(port, is_slow=number >= idle, delay_s=number / total * REOPEN_S) for number in range(total))
    )


async def main(idle: int, slow: int, seconds: float, descriptors: int | None) -> None:
    """Measure a call without and with the sockets."""
    async with attacked_node(descriptors=descriptors) as node:
        call = HealthyCall(node)
        calling = asyncio.create_task(call.run())
        await asyncio.sleep(CALM_S)
        calm_usage = node.usage
        attack_s, opened = time.monotonic(), list[float | None]()
        async with attacker("scripts.faults.idle_sockets", "--port", node.port, "--idle", idle, "--slow", slow):
            while time.monotonic() < attack_s + seconds:
                await asyncio.sleep(1)
                opened.append(await can_call(node))
            end_s, usage = time.monotonic(), node.usage
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
        alive, trace, log_rate = node.is_alive, node.first_trace, node.log_bytes_per_minute
        before, under = call.latencies_ms(attack_s - CALM_S * 2 / 3, attack_s), call.latencies_ms(attack_s, end_s)
    added_ms = under["p95"] - before["p95"] if before and under else MAX_ADDED_MS + 1
    took_s = end_s - attack_s
    waited_share = (usage.waited_s - calm_usage.waited_s) / took_s
    is_judged = waited_share <= MAX_WAITED_SHARE
    succeeded = [duration_s for duration_s in opened if duration_s is not None]
    print_result(
        "idle_sockets",
        held=alive
        and not trace
        and not call.lost
        and (added_ms <= MAX_ADDED_MS or not is_judged)
        and len(succeeded) == len(opened)
        and log_rate <= MAX_LOG_BYTES_PER_MINUTE,
        idle=idle,
        slow=slow,
        descriptors=descriptors,
        latency_before_ms=before,
        latency_ms=under,
        added_p95_ms=added_ms,
        latency_is_judged=is_judged,
        waited_for_a_core=round(waited_share, 2),
        event_loop_cores=round((usage.loop_s - calm_usage.loop_s) / took_s, 3),
        new_calls=f"{len(succeeded)} of {len(opened)}",
        slowest_new_call_s=round(max(succeeded, default=0.0), 2),
        log_bytes_per_minute=log_rate,
        first_trace=trace,
        lost=call.lost,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, default=1_000)
    parser.add_argument("--slow", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--descriptors", type=int, default=None)
    parser.add_argument("--port", type=int, default=0, help="Only hold the sockets, to this port.")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if given.port:
        asyncio.run(attack(given.port, given.idle, given.slow))
    asyncio.run(main(given.idle, given.slow, given.seconds, given.descriptors))
