"""Write docs/settings.md from the settings' own descriptions, so that none is ever undocumented."""

from __future__ import annotations

import sys
from pathlib import Path

from stream.settings.reference import rows

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"

INTRODUCTION = """# Settings

Layers, each on top of the one before: `config/default.toml`, a preset (`--preset compact`, `pretrained` or
`wav2vec2`), a TOML file (`--config FILE`), the environment (`TONEWATCH__POOL__WORKERS=2`), the command line (`--set
pool.workers=2`, and the flags that stand for a setting). `tonewatch config show` prints the outcome, `tonewatch
config check FILE` judges a file, `tonewatch config schema` prints a JSON Schema. Written by
`scripts/settings_page.py`.

A password belongs into the environment (`TONEWATCH__MQTT__PASSWORD`) or into a file that only you can read.

"""


def page() -> str:
    """The whole page."""
    lines = ["| setting | type | default | what it does |", "|---|---|---|---|"]
    lines += [f"| `{row.key}` | {row.kind} | `{row.default}` | {row.description} |" for row in rows()]
    return INTRODUCTION + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
