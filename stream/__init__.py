"""tonewatch: live speaker recognition and speech emotion recognition.

`Session` and its synchronous twin `listen` run recordings, microphones and samples of a program's own, and yield
events (docs/api.md). Names are imported on first use, so that the command line starts quickly; importing `stream` never
imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream.app.assembly import assemble
    from stream.app.feed import AudioFeed
    from stream.app.frames import to_frame
    from stream.app.listening import listen
    from stream.app.session import Embedding, Session
    from stream.errors import TonewatchError
    from stream.events import (
        SCHEMA_VERSION,
        AlertEvent,
        CallEvent,
        EmotionEvent,
        Event,
        HealthEvent,
        SpeakerEvent,
        SpeakerResolvedEvent,
        StreamEvent,
        TurnEvent,
        from_json,
        to_json,
    )
    from stream.settings import Settings
    from stream.settings import load as load_settings

__version__ = "0.1.0"

__all__ = [
    "SCHEMA_VERSION",
    "AlertEvent",
    "AudioFeed",
    "CallEvent",
    "Embedding",
    "EmotionEvent",
    "Event",
    "HealthEvent",
    "Session",
    "Settings",
    "SpeakerEvent",
    "SpeakerResolvedEvent",
    "StreamEvent",
    "TonewatchError",
    "TurnEvent",
    "__version__",
    "assemble",
    "from_json",
    "listen",
    "load_settings",
    "to_frame",
    "to_json",
]

_HOMES = {
    "AlertEvent": ("stream.events", "AlertEvent"),
    "CallEvent": ("stream.events", "CallEvent"),
    "Embedding": ("stream.app.session", "Embedding"),
    "EmotionEvent": ("stream.events", "EmotionEvent"),
    "Event": ("stream.events", "Event"),
    "AudioFeed": ("stream.app.feed", "AudioFeed"),
    "HealthEvent": ("stream.events", "HealthEvent"),
    "SCHEMA_VERSION": ("stream.events", "SCHEMA_VERSION"),
    "Session": ("stream.app.session", "Session"),
    "Settings": ("stream.settings", "Settings"),
    "SpeakerEvent": ("stream.events", "SpeakerEvent"),
    "SpeakerResolvedEvent": ("stream.events", "SpeakerResolvedEvent"),
    "StreamEvent": ("stream.events", "StreamEvent"),
    "TonewatchError": ("stream.errors", "TonewatchError"),
    "TurnEvent": ("stream.events", "TurnEvent"),
    "assemble": ("stream.app.assembly", "assemble"),
    "from_json": ("stream.events", "from_json"),
    "listen": ("stream.app.listening", "listen"),
    "load_settings": ("stream.settings", "load"),
    "to_frame": ("stream.app.frames", "to_frame"),
    "to_json": ("stream.events", "to_json"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'stream' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
