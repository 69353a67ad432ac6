"""Measurements a user runs to size a machine: `corridor` (the demo), `channels` (live streams), `models` (the nets).

Machines are noisy: what is compared is measured by turns, and medians are given.
"""
