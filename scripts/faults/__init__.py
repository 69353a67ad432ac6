"""Faults on purpose: each module breaks one thing and says in figures what held.

`python -m scripts.faults.NAME`; `docs/reliability.md` says what each has to show. Everything runs on this machine, on
loopback, against real components, and cleans up after itself. The exit code is 1 when a promise was broken.
"""
