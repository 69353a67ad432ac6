"""Benchmarks of this machine: speed, capacity, and the pretrained models."""
