"""Our own process killed with SIGKILL at twenty random moments.

    python -m scripts.faults.crash --times 20

A child sends turns to a broker that comes and goes, and prints the id of each when `send` has returned: accepted. When
it has been killed another takes over. At the end every accepted turn must have arrived, first arrivals of each session
in order, and the database must be whole after every kill.
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

from scripts.faults.broker import Ear
from scripts.faults.report import say
from stream.errors import BrokerUnreachable
from stream.settings import Settings
from stream.sinks.mqtt.sink import MqttSink
from tests.support import examples
from tests.support.mosquitto import Broker


async def _child(port: int, folder: str, session: str, count: int) -> None:
    settings = Settings.model_validate({"node": "n", "mqtt": {"outbox": folder, "reconnect_max_s": 0.5}})
    with suppress(BrokerUnreachable):
        async with MqttSink(target=f"mqtt://127.0.0.1:{port}/home", settings=settings) as sink:
            for number in range(count):
                event = examples.event(examples.turn(number), seq=number)
                await sink.send(event.model_copy(update={"id": f"{session}/{number}", "session": session}))
                print(f"{session}/{number}", flush=True)
                await asyncio.sleep(0.001)
            async with asyncio.timeout(60):
                while sink.statistics().waiting:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)


async def _suffer(*, times: int, folder: Path) -> None:
    chance = random.Random(7)  # noqa: S311 - the same moments for whoever runs it
    box = folder / "box"
    accepted: list[str] = []
    corrupt = 0
    with Broker(folder) as broker:
        ear = Ear(broker.port)
        hearing = asyncio.create_task(ear.hear(expiry_s=300), name="ear")
        await ear.listening.wait()
        for number in range(times + 1):
            last = number == times
            away = not last and chance.random() < 0.5  # noqa: PLR2004 - half of the time there is no broker
            if away:
                broker.kill()
            words = [
                sys.executable,
                "-m",
                "scripts.faults.crash",
                "--child",
                str(broker.port),
                str(box),
                f"s{number:02}",
            ]
            with subprocess.Popen([*words, "20" if last else "100000"], stdout=subprocess.PIPE, text=True) as child:  # noqa: ASYNC220
                if not last:
                    assert child.stdout is not None  # noqa: S101 - asked for above
                    accepted.append((await asyncio.to_thread(child.stdout.readline)).strip())
                    await asyncio.sleep(chance.uniform(0.0, 0.6))
                    child.send_signal(signal.SIGKILL)
                said, _ = await asyncio.to_thread(child.communicate)
                accepted += [line for line in said.split("\n")[:-1] if line]
            for file in box.glob("*.sqlite"):
                with closing(sqlite3.connect(file)) as database:
                    corrupt += database.execute("PRAGMA integrity_check").fetchone()[0] != "ok"
            if away:
                ear.listening.clear()
                await asyncio.to_thread(broker.start)
                await ear.listening.wait()
        deadline = time.monotonic() + 20
        while set(accepted) - set(ear.turns) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        hearing.cancel()
    lost = set(accepted) - set(ear.turns)
    firsts = list(dict.fromkeys(ear.turns))
    in_order = all(
        (own := [int(turn.partition("/")[2]) for turn in firsts if turn.startswith(session)]) == sorted(own)
        for session in {turn.partition("/")[0] for turn in firsts}
    )
    say(
        "crash",
        held=not lost and not corrupt and in_order,
        kills=times,
        accepted=len(accepted),
        lost=len(lost),
        twice=len(ear.turns) - len(firsts),
        in_order=in_order,
        corrupt=corrupt,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    if asked.child:
        port, box, session, count = asked.child
        asyncio.run(_child(int(port), box, session, int(count)))
    else:
        with tempfile.TemporaryDirectory() as place:
            asyncio.run(_suffer(times=asked.times, folder=Path(place)))
