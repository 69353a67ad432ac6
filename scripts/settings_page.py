"""Write docs/settings.md from the descriptions in the settings classes."""

from __future__ import annotations

import sys
from pathlib import Path

from stream.settings.base import MIN_TOKEN_CHARACTERS
from stream.settings.reference import rows

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"

INTRODUCTION = f"""# Settings

Layers, each on top of the one before: `config/default.toml`, a preset (`--preset compact`, the default, `tiny`,
`pretrained` or `wav2vec2`), a TOML file (`--config FILE`), the environment (`TONEWATCH__POOL__WORKERS=2`), the command
line (`--set pool.workers=2`, and the options that stand for a setting). `tonewatch config show` prints the result,
`tonewatch config check FILE` validates a file, `tonewatch config schema` prints a JSON Schema. This page is generated
by `scripts/settings_page.py`.

Passwords, tokens and keys belong in the environment (`TONEWATCH__MQTT__PASSWORD`), in a file of their own
(`serve.token_file`), or in a TOML file; a file with secrets that other users can read is refused, except in
`/run/secrets` and `/run/credentials`, and so is a secret on the command line. A token of this node (`serve.token`,
`service.token`, `dashboard.token`) has at least {MIN_TOKEN_CHARACTERS} characters, or is empty.

"""


def page() -> str:
    """Return the page as Markdown."""
    lines = ["| setting | type | default | what it does |", "|---|---|---|---|"]
    lines += [f"| `{row.key}` | {row.kind} | `{row.default}` | {row.description} |" for row in rows()]
    return INTRODUCTION + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.name}\n")
