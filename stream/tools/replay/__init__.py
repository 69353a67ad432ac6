"""Replay of recordings with an explanation of every decision."""
