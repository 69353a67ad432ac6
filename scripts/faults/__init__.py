"""Fault injection: each module breaks one component and prints figures that show whether a guarantee holds.

`python -m scripts.faults.NAME`; docs/reliability.md lists the guarantees. Everything runs on this machine, on loopback,
against real components, and cleans up after itself. The exit code is 1 if a guarantee was violated.
"""
