"""tonewatch: live speaker recognition and speech emotion recognition.

Public names: `Settings`, `load_settings` and `assemble` to embed the pipeline, `Event`, `from_json` and
`to_json` to read its events, `TonewatchError` to catch its errors. Names are imported on first use, so that the
command line starts quickly; importing `stream` never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stream.app.assembly import assemble
    from stream.errors import TonewatchError
    from stream.events import SCHEMA_VERSION, Event, from_json, to_json
    from stream.settings import Settings
    from stream.settings import load as load_settings

__version__ = "0.1.0"

__all__ = [
    "SCHEMA_VERSION",
    "Event",
    "Settings",
    "TonewatchError",
    "__version__",
    "assemble",
    "from_json",
    "load_settings",
    "to_json",
]

_HOMES = {
    "SCHEMA_VERSION": ("stream.events", "SCHEMA_VERSION"),
    "Event": ("stream.events", "Event"),
    "Settings": ("stream.settings", "Settings"),
    "TonewatchError": ("stream.errors", "TonewatchError"),
    "assemble": ("stream.app.assembly", "assemble"),
    "from_json": ("stream.events", "from_json"),
    "load_settings": ("stream.settings", "load"),
    "to_json": ("stream.events", "to_json"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'stream' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
