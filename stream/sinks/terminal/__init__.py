"""Sinks that draw on a terminal."""
