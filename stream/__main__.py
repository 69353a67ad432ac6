"""`python -m stream` is `tonewatch`."""

from __future__ import annotations

from stream.cli.main import main

if __name__ == "__main__":
    main()
