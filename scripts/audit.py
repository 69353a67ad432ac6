"""Ask pip-audit about what is installed, and say how much of it could be judged.

Where the database of advisories cannot be reached, nothing can be: that is said, and fails only under
TONEWATCH_REQUIRE_AUDIT=1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys


def main() -> int:
    """The exit code."""
    words = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    try:
        rows = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        rows = []
    judged = [row for row in rows if "vulns" in row]
    bad = [(row["name"], row["version"], fault["id"]) for row in judged for fault in row["vulns"]]
    for name, version, fault in bad:
        print(f"{name} {version}: {fault}")
    print(f"{len(judged)} of {len(rows)} packages could be judged, {len(bad)} known vulnerabilities")
    if bad:
        return 1
    if judged:
        return 0
    print("the database of advisories cannot be reached from here: nothing was audited", file=sys.stderr)
    return int(os.environ.get("TONEWATCH_REQUIRE_AUDIT") == "1")


if __name__ == "__main__":
    sys.exit(main())
