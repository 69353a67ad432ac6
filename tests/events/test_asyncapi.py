"""docs/asyncapi.yaml is valid AsyncAPI, matches the models, and matches the messages published."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from scripts import asyncapi_page
from stream.events import Body
from stream.sinks.mqtt import topics
from tests.support import examples
from tests.support.mosquitto import Broker
from tests.support.mqtt import mqtt_sink, subscriber
from tests.support.waiting import wait_until

HOME = Path(__file__).parents[2]
HERE = Path(__file__).parent
DOCUMENT: dict[str, Any] = yaml.safe_load(asyncapi_page.PAGE.read_text(encoding="utf-8"))
ADDRESSES = {name: channel["address"] for name, channel in DOCUMENT["channels"].items()}


def test_the_document_matches_the_models() -> None:
    assert asyncapi_page.PAGE.read_text(encoding="utf-8") == asyncapi_page.page(), "run scripts.asyncapi_page"


@pytest.mark.slow
def test_the_document_is_valid_asyncapi() -> None:
    with gzip.open(HERE / "schemas" / "asyncapi-3.0.0.json.gz") as file:
        schema = json.load(file)
    faults = sorted(Draft7Validator(schema).iter_errors(DOCUMENT), key=lambda fault: list(fault.absolute_path))
    assert not faults, [f"{list(fault.absolute_path)}: {fault.message[:200]}" for fault in faults[:3]]
    broken = {**DOCUMENT, "channels": {"turn": {"address": 3}}}
    assert list(Draft7Validator(schema).iter_errors(broken)), "the validator detects an invalid document"


def test_every_reference_resolves() -> None:
    for reference in set(re.findall(r"'?\$ref'?: '?(#[^'\s]+)", asyncapi_page.PAGE.read_text(encoding="utf-8"))):
        place: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def channel_of(topic: str) -> str | None:
    name: str
    for name, address in ADDRESSES.items():
        pattern = "/".join("[^/]+" if level.startswith("{") else re.escape(level) for level in address.split("/"))
        if re.fullmatch(pattern, topic):
            return name
    return None


def validate(name: str, payload: str) -> None:
    """Validate a payload against its channel. Raises `ValidationError`."""
    message = DOCUMENT["components"]["messages"][name]
    home = Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
    schema = message["payload"]
    if "$ref" in schema:
        schema = {"$ref": f"urn:document{schema['$ref']}"}
    made = payload if message["contentType"] == "text/plain" else json.loads(payload)
    Draft202012Validator(schema, registry=Registry().with_resource("urn:document", home)).validate(made)


def test_published_messages_match_the_document(tmp_path: Path) -> None:
    async def publish() -> None:
        bodies: tuple[Body, ...] = (
            examples.stream("started"),
            examples.turn(1),
            examples.emotion(),
            examples.speaker(),
            examples.stream("gap"),
        )
        async with subscriber(broker.port) as received:
            async with mqtt_sink(broker.port, commands=["status"], queue_events=1) as out:
                for number, body in enumerate(bodies):
                    await out.send(examples.event(body, seq=number))
                await out.send(examples.event(examples.health(), source="node"))
                await received.until(lambda: bool(received.payloads("home/kitchen/info")))
                await wait_until(lambda: out.statistics().waiting == 0)
            await received.until(lambda: received.payloads("home/kitchen/availability")[-1:] == ["offline"])
        seen = set()
        for message in received.messages:
            name = channel_of(str(message.topic))
            assert name is not None, f"{message.topic} is not in the document"
            assert isinstance(message.payload, bytes)
            validate(name, message.payload.decode())
            seen.add(name)
        assert seen >= {"availability", "info", "sourceState", "sourceAvailability", "emotion", "speaker", "health"}

    with Broker(tmp_path) as broker:
        asyncio.run(publish())


GOLDEN = sorted(path.stem for path in (HERE / "golden").glob("*.json"))
assert GOLDEN, "an empty parameter set would be skipped"


@pytest.mark.parametrize("name", GOLDEN)
def test_every_golden_event_matches_the_document(name: str) -> None:
    if name != "schema":
        validate(name, (HERE / "golden" / f"{name}.json").read_text())


def test_the_mqtt_page_lists_every_channel() -> None:
    page = (HOME / "docs" / "mqtt.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(PREFIX/[^`]+)`", page, flags=re.MULTILINE))
    documented = {
        address.replace("{prefix}", "PREFIX")
        .replace("{node}", "NODE")
        .replace("{source}", "SOURCE")
        .replace("{name}", "NAME")
        for address in ADDRESSES.values()
    }
    assert rows == documented
    layout = set(re.findall(r"^(PREFIX/\S+)", topics.__doc__ or "", flags=re.MULTILINE))
    assert layout <= documented
