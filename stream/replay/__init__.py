"""A recording, or its events, looked back on: who was told when, and why."""
