"""Licences of everything that is shipped or installed: checked against a list of allowed ones, and written as a page.

    python -m scripts.licences            # check, and write docs/licences.md

A licence that is not on the list, or none at all, is an error: the list grows by decision, not by accident. Licences
are those that the packages themselves declare, or whose text they bring.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
PAGE = Path(__file__).parents[1] / "docs" / "licences.md"
CONSTRAINTS = Path(__file__).parents[1] / "config" / "constraints.txt"

PERMISSIVE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "CNRI-Python",
        "HPND",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "NCSA",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
        "Zlib",
    }
)
"""Licences that ask for no more than to be named."""

WEAK_COPYLEFT = frozenset({"EPL-2.0", "LGPL-2.1-or-later", "LGPL-2.1", "LGPL-3.0", "MPL-2.0"})
"""Licences of separate packages that are used unchanged, and that users can replace."""

TOOLS_ONLY = frozenset({"GPL-3.0", "GPL-3.0-only", "GPL-3.0-or-later"})
"""Licences of programs that the tests start, and that no user gets."""

NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0 License": "Apache-2.0",
    "BSD 2-Clause License": "BSD-2-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "GPLv3": "GPL-3.0",
    "ISC License": "ISC",
    "Apache": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache-2.0 license": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD-3-Clause License": "BSD-3-Clause",
    "Eclipse Public License v2.0 / Eclipse Distribution License v1.0": "EPL-2.0 OR BSD-3-Clause",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0",
    "ISC License (ISCL)": "ISC",
    "LGPLv2+": "LGPL-2.1-or-later",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
    "MIT License": "MIT",
    "The MIT License (MIT)": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "PSFL": "PSF-2.0",
    "PSF": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
}
"""Names of licences in the packages' own words, as SPDX identifiers."""

SHIPPED = (
    ("stream/, scripts/, tests/", "MIT", "LICENSE"),
    ("stream/models/campplus/speaker.safetensors (CAM++, 3D-Speaker)", "Apache-2.0", "stream/models/campplus/LICENSE"),
    ("stream/models/segmentation (segmentation-3.0, pyannote)", "MIT", "stream/models/segmentation/LICENSE"),
    ("stream/models/silero_vad.safetensors (Silero VAD)", "MIT", "stream/models/silero_vad.LICENSE"),
    ("stream/models/compact", "MIT", "stream/models/compact/speaker.NOTICE"),
    ("stream/models/campplus/emotion.safetensors", "MIT", "stream/models/campplus/emotion.NOTICE"),
    ("stream/dashboard/static/vendor (uPlot)", "MIT", "stream/dashboard/static/vendor/uPlot.LICENSE"),
    ("stream/demo (LibriSpeech, CC-BY-4.0; AN4)", "CC-BY-4.0", "stream/demo/README.md"),
)
"""Files of others in the package: what, its licence, and the text."""


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package, and who needs it."""

    name: str
    version: str
    licence: str
    needed_by: str

    @property
    def issue(self) -> str | None:
        """What is wrong with its licence, None if it is allowed."""
        allowed = PERMISSIVE | WEAK_COPYLEFT | (TOOLS_ONLY if self.needed_by == "tests" else frozenset())
        alternatives = [
            {part.strip(" ()") for part in re.split(r"\bAND\b", alternative)}
            for alternative in re.split(r"\bOR\b", self.licence)
        ]
        if any({re.sub(r" WITH .*", "", part) for part in parts} <= allowed for parts in alternatives):
            return None
        return f"{self.name} {self.version}: {self.licence or 'no licence declared'}"


@cache
def packages() -> tuple[Package, ...]:
    """Return everything that tonewatch needs and that is installed: at run time first, then extras, then tests."""
    found: dict[str, Package] = {}
    for needed_by, extras in (("run time", ()), ("extras", ("evaluate", "network", "png")), ("tests", ("test",))):
        for one in _closure(extras):
            name = canonicalize_name(one.metadata["Name"])
            if name not in found:
                found[name] = Package(name, one.version, licence(one), needed_by)
    return tuple(found.values())


def _closure(extras: tuple[str, ...]) -> Iterator[Distribution]:
    """Yield the installed packages that tonewatch with these extras needs, itself included."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    own = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    seen: set[tuple[str, str]] = {("tonewatch", "")}
    pending = [(name, extra) for text in own for name, extra in _needed(text, "")]
    while pending:
        name, extra = pending.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        if name == "tonewatch":
            pending += [
                (more, inner) for text in project["optional-dependencies"][extra] for more, inner in _needed(text, "")
            ]
            continue
        try:
            one = distribution(name)
        except PackageNotFoundError:
            continue
        yield one
        for text in one.requires or ():
            pending += _needed(text, extra)


def _needed(text: str, extra: str) -> list[tuple[str, str]]:
    """Return the package, and its extras, that a requirement of an extra asks for in this environment."""
    requirement = Requirement(text)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
        return []
    return [(canonicalize_name(requirement.name), more) for more in ("", *requirement.extras)]


def licence(one: Distribution) -> str:
    """Return the licence that a package declares, as an SPDX expression where its words are known."""
    declared = _field(one, "License-Expression")
    if not declared:
        classifiers = one.metadata.get_all("Classifier", [])
        words = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: ")]
        words = [word for word in words if word != "OSI Approved"]
        short = _field(one, "License")
        named = [short] if short and "\n" not in short else words or ([short.splitlines()[0]] if short else [])
        declared = " OR ".join(NAMES.get(word, word) for word in named or _titles(one))
    return NAMES.get(declared, declared)


def _field(one: Distribution, name: str) -> str:
    return one.metadata[name].strip() if name in one.metadata else ""


def _titles(one: Distribution) -> list[str]:
    """Return the first lines of the licence texts in a package that declares none."""
    texts = [file for file in one.files or () if re.match(r"(?i)licen[cs]e", file.name)]
    lines = [one.locate_file(file) for file in texts]
    titles = [Path(str(path)).read_text(encoding="utf-8").strip().splitlines()[0].strip() for path in lines]
    return [title for title in dict.fromkeys(titles) if title in NAMES or title in PERMISSIVE]


def page(found: Sequence[Package]) -> str:
    """Return the page."""
    lines = [
        "# Licences",
        "",
        "What tonewatch ships and installs, with the licences that the packages declare. `python -m scripts.licences`",
        "writes this page, and fails for a licence that is not on its list.",
        "",
        "| shipped | licence | text |",
        "|---|---|---|",
        *(f"| {what} | {terms} | `{text}` |" for what, terms, text in SHIPPED),
        "",
        "| package | licence | needed at |",
        "|---|---|---|",
        *(f"| {one.name} | {one.licence} | {one.needed_by} |" for one in found),
    ]
    return "\n".join(lines) + "\n"


def unpinned(found: Iterable[Package]) -> list[str]:
    """Return the packages needed at run time that config/constraints.txt does not pin."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    return [one.name for one in found if one.needed_by == "run time" and one.name not in pinned]


def main(*, write: bool = True) -> int:
    """Check all licences, write the page, and return the exit code."""
    found = sorted(packages(), key=lambda one: (("run time", "extras", "tests").index(one.needed_by), one.name))
    issues = [issue for one in found if (issue := one.issue)]
    for issue in issues:
        print(issue, file=sys.stderr)
    if write:
        PAGE.write_text(page(found), encoding="utf-8")
    print(f"licences: {len(found)} packages, {len(SHIPPED)} files of others; {len(issues)} licences not on the list")
    return int(bool(issues))


if __name__ == "__main__":
    sys.exit(main())
