"""The node's process killed with SIGKILL at twenty random moments.

    python -m scripts.faults.crash --times 20

A child process sends turns of a stream of its own to a broker that is up half of the time, and prints the id of each
turn that `send` has accepted. After each kill another child continues. At the end every accepted turn must have
arrived, first arrivals in order, the database must be intact after every kill, and nothing may be retained of a stream
whose process was killed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

import aiomqtt

from scripts.faults.broker import TurnSubscriber
from scripts.faults.report import print_result
from stream.errors import BrokerUnreachable
from stream.settings import Settings
from stream.sinks.mqtt.sink import MqttSink
from tests.support import examples
from tests.support.mosquitto import Broker


async def _child(port: int, folder: str, session: str, count: int) -> None:
    settings = Settings.model_validate({"node": "n", "mqtt": {"outbox": folder, "reconnect_max_s": 0.5}})
    with suppress(BrokerUnreachable):
        async with MqttSink(target=f"mqtt://127.0.0.1:{port}/home", settings=settings) as sink:
            await sink.send(examples.event(examples.stream("started"), source=session))
            for number in range(count):
                if number % 10 == 0:
                    await sink.send(examples.event(examples.speaker("Al"), source=session))
                event = examples.event(examples.turn(number), seq=number, source=session)
                await sink.send(event.model_copy(update={"id": f"{session}/{number}", "session": session}))
                print(f"{session}/{number}", flush=True)
                await asyncio.sleep(0.001)
            async with asyncio.timeout(60):
                while sink.statistics().waiting:  # noqa: ASYNC110 - the sink signals nothing
                    await asyncio.sleep(0.05)


async def _retained_topics(port: int) -> set[str]:
    """Return the topics on which the broker retains a message."""
    topics = set()
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe("home/#")
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(1.0):
                    topics.add(str((await anext(client.messages)).topic))
    return topics


async def _measure(*, times: int, folder: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - the same moments in every run
    box = folder / "box"
    accepted: list[str] = []
    corrupt = 0
    with Broker(folder) as broker:
        subscriber = TurnSubscriber(broker.port)
        receiving = asyncio.create_task(subscriber.receive(expiry_s=300), name="subscriber")
        await subscriber.subscribed.wait()
        for number in range(times + 1):
            is_last = number == times
            is_down = not is_last and chance.random() < 0.5  # noqa: PLR2004 - half of the time there is no broker
            if is_down:
                broker.kill()
            command = [
                sys.executable,
                "-m",
                "scripts.faults.crash",
                "--child",
                str(broker.port),
                str(box),
                f"s{number:02}",
            ]
            command.append("20" if is_last else "100000")
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: ASYNC220
                if not is_last:
                    assert child.stdout is not None  # noqa: S101 - requested above
                    accepted.append((await asyncio.to_thread(child.stdout.readline)).strip())
                    await asyncio.sleep(chance.uniform(0.0, 0.6))
                    child.send_signal(signal.SIGKILL)
                output, _ = await asyncio.to_thread(child.communicate)
                accepted += [line for line in output.split("\n")[:-1] if line]
            for file in box.glob("*.sqlite"):
                with closing(sqlite3.connect(file)) as database:
                    corrupt += database.execute("PRAGMA integrity_check").fetchone()[0] != "ok"
            if is_down:
                subscriber.subscribed.clear()
                await asyncio.to_thread(broker.start)
                await subscriber.subscribed.wait()
        deadline = time.monotonic() + 20
        while set(accepted) - set(subscriber.turns) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        receiving.cancel()
        streams = {topic.split("/")[2] for topic in await _retained_topics(broker.port) if topic.count("/") == 3}  # noqa: PLR2004
    lies = streams - {f"s{times:02}"}
    lost = set(accepted) - set(subscriber.turns)
    firsts = list(dict.fromkeys(subscriber.turns))
    numbers: dict[str, list[int]] = {}
    for turn in firsts:
        stream, _, index = turn.partition("/")
        numbers.setdefault(stream, []).append(int(index))
    in_order = all(own == sorted(own) for own in numbers.values())
    print_result(
        "crash",
        held=not lost and not corrupt and in_order and not lies,
        kills=times,
        accepted=len(accepted),
        lost=len(lost),
        twice=len(subscriber.turns) - len(firsts),
        in_order=in_order,
        corrupt=corrupt,
        retained_of_killed=len(lies),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    if arguments.child:
        port, box, session, count = arguments.child
        asyncio.run(_child(int(port), box, session, int(count)))
    else:
        with tempfile.TemporaryDirectory() as place:
            asyncio.run(_measure(times=arguments.times, folder=Path(place)))
