"""Types of settings that are text of a certain form, with error messages that say which."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from stream.events.text import checked_name

CHANNELS = r"^(mix|split|[1-9][0-9]?(,[1-9][0-9]?)*|customer-agent|agent-customer|customer|agent)$"
NODE = r"^[A-Za-z0-9_.-]{1,64}$"
TOPIC = r"^[^+#\x00-\x1f]{0,200}$"


def _matching(pattern: str, expected: str) -> Callable[[str], str]:
    """Return a validator of text that matches `pattern`; `expected` says what that is."""

    def check(text: str) -> str:
        if not re.search(pattern, text):
            raise ValueError(f"use {expected}")
        return text

    return check


def _joined(value: Any) -> Any:
    """Return a list of channel numbers as text."""
    is_list = isinstance(value, list | tuple) and value and all(type(number) is int for number in value)
    return ",".join(map(str, value)) if is_list else value


def _without_password(address: str) -> str:
    """Refuse an address with a password: addresses are shown in messages, in the log and by `ps`."""
    scheme, _, rest = address.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    if at and ":" in user:
        setting = "WEBHOOK__TOKEN" if scheme in ("http", "https") else "MQTT__PASSWORD"
        setting = "APPRISE__URL" if scheme.startswith("apprise") else setting
        raise ValueError(
            "an address must not contain a password, which others can read; "
            f"set the environment variable TONEWATCH__{setting} instead"
        )
    return address


Channels = Annotated[
    str,
    BeforeValidator(_joined),
    AfterValidator(
        _matching(CHANNELS, "mix, split, numbers such as 3 or 1,2, customer-agent, agent-customer, customer or agent")
    ),
    WithJsonSchema({"type": "string", "pattern": CHANNELS}),
]
NodeName = Annotated[
    str,
    AfterValidator(_matching(NODE, "1 to 64 of the characters A-Z, a-z, 0-9, '_', '.' and '-'")),
    WithJsonSchema({"type": "string", "pattern": NODE}),
]
TopicPrefix = Annotated[
    str,
    AfterValidator(_matching(TOPIC, "at most 200 characters without '+', '#' and control characters")),
    WithJsonSchema({"type": "string", "pattern": TOPIC}),
]
UrlPath = Annotated[
    str, AfterValidator(_matching("^/", "a path that starts with '/'")), WithJsonSchema({"type": "string"})
]
SinkAddress = Annotated[str, AfterValidator(_without_password)]
PersonName = Annotated[str, AfterValidator(checked_name)]
SourceName = Annotated[str, AfterValidator(lambda name: checked_name(name) if name else name)]
"""A name; empty: derived from something else."""


def shown_sink(target: str) -> str:
    """Return the target of a sink without what may be secret in it: of a webhook or a notification, also the path."""
    scheme, separator, rest = target.partition("://")
    if scheme in ("http", "https") and separator:
        return f"{scheme}://{re.split(r'[/?#]', rest, maxsplit=1)[0].rpartition('@')[2]}/…"
    return f"{scheme}://…" if scheme.startswith("apprise+") else target
