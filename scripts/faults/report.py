"""The result of a fault-injection script."""

from __future__ import annotations

import json
import sys
from typing import Any


def print_result(name: str, *, held: bool, **figures: Any) -> None:
    """Print one line of JSON and exit: 0 if the guarantee held, else 1."""
    print(json.dumps({"fault": name, "held": held, **figures}))
    sys.exit(0 if held else 1)
