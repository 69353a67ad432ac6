"""Run pip-audit on the installed packages, and report how many of them could be checked.

If the database of advisories is unreachable, nothing is checked; that is reported, and an error only with
TONEWATCH_REQUIRE_AUDIT=1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys


def main() -> int:
    """Audit and return the exit code."""
    words = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        rows = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        rows = []
    checked = [row for row in rows if "vulns" in row]
    vulnerable = [(row["name"], row["version"], advisory["id"]) for row in checked for advisory in row["vulns"]]
    for name, version, advisory in vulnerable:
        print(f"{name} {version}: {advisory}")
    print(f"{len(checked)} of {len(rows)} packages checked, {len(vulnerable)} known vulnerabilities")
    if vulnerable:
        return 1
    if checked:
        return 0
    print("the database of advisories is unreachable; nothing was checked", file=sys.stderr)
    return int(os.environ.get("TONEWATCH_REQUIRE_AUDIT") == "1")


if __name__ == "__main__":
    sys.exit(main())
