"""Check what is installed: licences against the list, and versions against the advisories of pip-audit's database.

The database is a service on the network. Where it cannot be reached, nothing is checked against it; that is said, it is
no all-clear, and with TONEWATCH_REQUIRE_AUDIT=1 it is an error. No database of advisories comes as a package that is
free and kept up to date, so there is none offline.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from scripts import licences


def main() -> int:
    """Check licences and advisories, and return the exit code."""
    return max(licences.main(write=False), _advisories())


def _advisories() -> int:
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
    if not checked:
        print("advisories: NOT CHECKED, the database is unreachable; this is no all-clear", file=sys.stderr)
        return int(os.environ.get("TONEWATCH_REQUIRE_AUDIT") == "1")
    print(f"advisories: {len(checked)} of {len(rows)} packages checked, {len(vulnerable)} known vulnerabilities")
    return int(bool(vulnerable))


if __name__ == "__main__":
    sys.exit(main())
