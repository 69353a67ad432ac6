"""docs/asyncapi.yaml is AsyncAPI, is what the models say, and is what goes over the wire."""

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
from tests.sinks import examples
from tests.sinks.mqtt.wires import sink, subscriber, until
from tests.support.mosquitto import Broker

HOME = Path(__file__).parents[2]
HERE = Path(__file__).parent
DOCUMENT: dict[str, Any] = yaml.safe_load(asyncapi_page.PAGE.read_text(encoding="utf-8"))
ADDRESSES = {name: channel["address"] for name, channel in DOCUMENT["channels"].items()}


def test_the_document_is_what_the_models_say() -> None:
    assert asyncapi_page.PAGE.read_text(encoding="utf-8") == asyncapi_page.page(), "run scripts.asyncapi_page"


def test_the_document_is_valid_asyncapi() -> None:
    with gzip.open(HERE / "schemas" / "asyncapi-3.0.0.json.gz") as file:
        schema = json.load(file)
    faults = sorted(Draft7Validator(schema).iter_errors(DOCUMENT), key=lambda fault: list(fault.absolute_path))
    assert not faults, [f"{list(fault.absolute_path)}: {fault.message[:200]}" for fault in faults[:3]]
    broken = {**DOCUMENT, "channels": {"turn": {"address": 3}}}
    assert list(Draft7Validator(schema).iter_errors(broken)), "the validator sees what is wrong"


def test_every_reference_leads_somewhere() -> None:
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


def fits(name: str, payload: str) -> None:
    """Raises if a payload is not what the channel promises."""
    message = DOCUMENT["components"]["messages"][name]
    home = Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
    schema = message["payload"]
    if "$ref" in schema:
        schema = {"$ref": f"urn:document{schema['$ref']}"}
    made = payload if message["contentType"] == "text/plain" else json.loads(payload)
    Draft202012Validator(schema, registry=Registry().with_resource("urn:document", home)).validate(made)


def test_what_is_published_is_what_is_promised(tmp_path: Path) -> None:
    async def talk() -> None:
        bodies: tuple[Body, ...] = (
            examples.stream("started"),
            examples.turn(1),
            examples.emotion(),
            examples.speaker(),
            examples.stream("gap"),
        )
        async with subscriber(broker.port) as heard:
            async with sink(broker.port, commands=["status"], queue_events=1) as out:
                for number, body in enumerate(bodies):
                    await out.send(examples.event(body, seq=number))
                await out.send(examples.event(examples.health(), source="node"))
                await heard.until(lambda: bool(heard.payloads("home/kitchen/info")))
                await until(lambda: out.statistics().waiting == 0)
            await heard.until(lambda: heard.payloads("home/kitchen/availability")[-1:] == ["offline"])
        seen = set()
        for message in heard.messages:
            name = channel_of(str(message.topic))
            assert name is not None, f"{message.topic} is not in the document"
            assert isinstance(message.payload, bytes)
            fits(name, message.payload.decode())
            seen.add(name)
        assert seen >= {"availability", "info", "sourceState", "sourceAvailability", "emotion", "speaker", "health"}

    with Broker(tmp_path) as broker:
        asyncio.run(talk())


@pytest.mark.parametrize("name", sorted(path.stem for path in (HERE / "golden").glob("*.json")))
def test_every_golden_event_is_promised(name: str) -> None:
    if name != "schema":
        fits(name, (HERE / "golden" / f"{name}.json").read_text())


def test_the_page_on_topics_names_every_channel() -> None:
    page = (HOME / "docs" / "mqtt.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `(PREFIX/[^`]+)`", page, flags=re.MULTILINE))
    promised = {
        address.replace("{prefix}", "PREFIX").replace("{node}", "NODE").replace("{source}", "SOURCE")
        for address in ADDRESSES.values()
    }
    assert rows == promised
    layout = set(re.findall(r"^(PREFIX/\S+)", topics.__doc__ or "", flags=re.MULTILINE))
    assert layout <= promised
