"""A day of a node in a real Home Assistant: what its log says about it, and what is left at the end.

    HA_PYTHON=/path/to/python python -m scripts.homeassistant_day

Starts a mosquitto and Home Assistant (`HA_PYTHON` has it, as `scripts/check_homeassistant` installs it) with its MQTT
integration. Then: a node with four streams, six people and a call; a restart of the broker; the node killed, and
started again; a file that ends; the streams end. No warning may be about the node, and no device, entity or retained
message of what has ended may be left.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.faults.report import print_result
from stream import events
from stream.settings import Settings
from stream.sinks.mqtt.limits import DeliveryLimits
from stream.sinks.mqtt.sink import MqttSink
from tests.support import examples
from tests.support.mosquitto import Broker

ROOMS = ("kitchen", "hall", "study", "nursery")
PEOPLE = ("Alice", "Bob", "Chloë", "D'Arcy", "{{ Eve }}", "Łukasz / 2")
START_TIMEOUT_S, STEP_TIMEOUT_S = 120.0, 20.0
KILLED = "killed"

OF_ENTITIES = "components.mqtt", "helpers.template"
"""Marks of log lines about MQTT entities …"""

OF_BROKER = "mqtt.client"
"""… and of those about the connection to the broker."""

OBSERVER = '''
"""Writes the states and devices of the MQTT integration to a file once a second."""
import json
from datetime import timedelta
from homeassistant.helpers import device_registry, entity_registry
from homeassistant.helpers.event import async_track_time_interval

async def async_setup(hass, config):
    def write(path, text):
        with open(path + ".new", "w") as file:
            file.write(text)
        import os
        os.replace(path + ".new", path)

    async def observe(now):
        known = entity_registry.async_get(hass).entities.values()
        entities = [one.entity_id for one in known if one.platform == "mqtt"]
        states = {entity: state.state for entity in entities if (state := hass.states.get(entity))}
        devices = [
            one.name for one in device_registry.async_get(hass).devices.values() if one.manufacturer == "tonewatch"
        ]
        text = json.dumps({"states": states, "devices": devices})
        await hass.async_add_executor_job(write, hass.config.path("observed.json"), text)

    async_track_time_interval(hass, observe, timedelta(seconds=1))
    return True
'''


def _configure(folder: Path, port: int) -> None:
    """Write a configuration with the MQTT integration and the observer."""
    component = folder / "custom_components" / "observer"
    component.mkdir(parents=True)
    (component / "__init__.py").write_text(OBSERVER)
    manifest = {"domain": "observer", "name": "observer", "version": "1.0.0", "documentation": "", "codeowners": []}
    (component / "manifest.json").write_text(json.dumps({**manifest, "requirements": [], "dependencies": ["mqtt"]}))
    stub = folder / "stub" / "hass_frontend"  # Home Assistant does not start without its web page's files
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("from pathlib import Path\nwhere = lambda: Path(__file__).parent\n")
    (folder / "configuration.yaml").write_text("observer:\nlogger:\n  default: warning\n")
    storage = folder / ".storage"
    storage.mkdir()
    entry: dict[str, Any] = {
        "created_at": "2026-01-01T00:00:00+00:00",
        "modified_at": "2026-01-01T00:00:00+00:00",
        "data": {"broker": "127.0.0.1", "port": port},
        "disabled_by": None,
        "discovery_keys": {},
        "domain": "mqtt",
        "entry_id": "01JG00000000000000000000MQ",
        "minor_version": 2,
        "options": {},
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "subentries": [],
        "title": "mosquitto",
        "unique_id": None,
        "version": 1,
    }
    (storage / "core.config_entries").write_text(
        json.dumps({"version": 1, "minor_version": 5, "key": "core.config_entries", "data": {"entries": [entry]}})
    )


class _Watch:
    """What Home Assistant shows."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "observed.json"

    @property
    def is_running(self) -> bool:
        """Whether Home Assistant has started."""
        return self._path.exists()

    def seen(self) -> dict[str, Any]:
        """Return the newest states and devices."""
        found: dict[str, Any] = json.loads(self._path.read_text())
        return found

    async def until(self, what: str, condition: Callable[[dict[str, str]], bool], timeout_s: float) -> bool:
        """Wait for a condition on the states; returns whether it came."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition(self.seen()["states"]):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.5)
        except TimeoutError:
            sys.stderr.write(f"not seen: {what}\n")
            return False
        return True


def _sink(port: int, node: str, folder: Path) -> MqttSink:
    settings = Settings.model_validate(
        {
            "node": node,
            "speakers": {"enrolled": dict.fromkeys(PEOPLE, "voice.wav")},
            "alerts": {"rules": [{"name": "loud", "field": "emotion.arousal", "comparison": ">", "value": 0.8}]},
            "mqtt": {
                "outbox": str(folder / "outbox"),
                "discovery_prefix": "homeassistant",
                "commands": ["pause", "resume", "enroll", "reload", "set_alert"],
                "people": True,
                "reconnect_max_s": 1,
            },
        }
    )
    return MqttSink(target=f"mqtt://127.0.0.1:{port}/tonewatch", settings=settings, limits=DeliveryLimits())


async def _scene(sink: MqttSink, rooms: tuple[str, ...] = ROOMS) -> None:
    """Everyone speaks in every room."""
    for room in rooms:
        await sink.send(examples.event(examples.stream("started"), source=room))
        for number, name in enumerate((*PEOPLE, "S1", "S2")):
            is_enrolled = name in PEOPLE
            await sink.send(examples.event(examples.turn(number, "start", name=name), source=room, seq=2 * number))
            await sink.send(examples.event(examples.speaker(name, enrolled=is_enrolled), source=room))
            await sink.send(examples.event(examples.emotion("happy"), source=room))
            await sink.send(examples.event(examples.turn(number, name=name), source=room, seq=2 * number + 1))
            await asyncio.sleep(0.05)
    await sink.send(examples.event(examples.health(), source=events.NODE))


async def _end(sink: MqttSink, rooms: tuple[str, ...], outcome: str) -> None:
    for room in rooms:
        body = examples.stream("ended").model_copy(update={"outcome": outcome})
        await sink.send(examples.event(body, source=room, seq=99))


async def _day(port: int, broker: Broker, watch: _Watch, folder: Path) -> list[str]:
    """Play the day; returns what was not seen."""
    failures: list[str] = []

    async def expect(what: str, condition: Callable[[dict[str, str]], bool]) -> None:
        if not await watch.until(what, condition, STEP_TIMEOUT_S):
            failures.append(what)

    heard = lambda states: states.get("sensor.home_kitchen_speaker") == "S2"  # noqa: E731
    async with _sink(port, "home", folder) as sink:
        await _scene(sink)
        await expect("speakers", heard)
        await expect("people", lambda states: states.get("sensor.alice_last_heard_in") == "nursery")
        await expect("an alert rule", lambda states: any("loud" in key and states[key] == "on" for key in states))
        await expect("its value", lambda states: any("loud" in key and states[key] == "0.8" for key in states))
        await sink.send(examples.event(examples.call(), source="c7", call="c7"))
        await sink.send(examples.event(examples.alert(), source="c7", call="c7"))
        await expect("a call", lambda states: any("c7" in entity for entity in states))
        await sink.send(examples.event(examples.call("final"), source="c7", call="c7"))
        await expect("the end of the call", lambda states: not any("c7" in entity for entity in states))
        broker.kill()
        await asyncio.sleep(2)
        await asyncio.to_thread(broker.start)
        await expect("no broker", lambda states: states.get("sensor.home_kitchen_speaker") in ("unavailable", "S2"))
        await expect("the broker's return", heard)
        await _end(sink, ROOMS[3:], "finished")
        await expect("a removed room", lambda states: "sensor.home_nursery_speaker" not in states)
        await _end(sink, ROOMS[:3], "stopped")
    await expect("a stopped node", lambda states: states.get("sensor.home_kitchen_speaker") == "unavailable")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scripts.homeassistant_day", KILLED, str(port), str(folder)
    )
    await expect("the next start", heard)
    process.kill()
    await process.wait()
    await expect("a killed node", lambda states: states.get("sensor.home_kitchen_speaker") == "unavailable")
    async with _sink(port, "home", folder) as sink:
        await _scene(sink)
        await expect("the start after the kill", heard)
        await _end(sink, ROOMS, "finished")
    async with _sink(port, "file", folder) as sink:
        await _scene(sink, ("demo",))
        await expect("a file", lambda states: "sensor.file_demo_speaker" in states)
        await _end(sink, ("demo",), "finished")
    await expect("nothing", lambda states: not states)
    return failures


async def _run_until_killed(port: int, folder: Path) -> None:
    async with _sink(port, "home", folder) as sink:
        await _scene(sink)
        await asyncio.Event().wait()


async def _measure(folder: Path) -> None:
    program = [os.environ.get("HA_PYTHON", f"{tempfile.gettempdir()}/tonewatch-homeassistant/bin/python"), "-m"]
    (folder / "broker").mkdir()
    (folder / "home").mkdir()
    with Broker(folder / "broker") as broker:
        _configure(folder / "home", broker.port)
        watch = _Watch(folder / "home")
        process = await asyncio.create_subprocess_exec(
            *program,
            "homeassistant",
            "-c",
            str(folder / "home"),
            "--skip-pip",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(folder / "home" / "stub")},
        )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not watch.is_running:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.5)
            failures = await _day(broker.port, broker, watch, folder)
            seen = watch.seen()
        finally:
            process.terminate()
            await process.wait()
    lines = (folder / "home" / "home-assistant.log").read_text().splitlines()
    about_us = [line for line in lines if any(mark in line for mark in OF_ENTITIES) and OF_BROKER not in line]
    for line in about_us:
        sys.stderr.write(f"{line[:400]}\n")
    ghosts = [*seen["states"], *seen["devices"]]
    print_result(
        "homeassistant",
        held=not failures and not about_us and not ghosts,
        not_seen=failures,
        log_lines=len(about_us),
        ghosts=ghosts,
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    if sys.argv[1:2] == [KILLED]:
        asyncio.run(_run_until_killed(int(sys.argv[2]), Path(sys.argv[3])))
    else:
        with tempfile.TemporaryDirectory() as place:
            asyncio.run(_measure(Path(place)))
