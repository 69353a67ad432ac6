"""All memory of what was heard: smoothing, hysteresis, identity, turns. Pure: no I/O, no clock, no tasks."""
