"""Calibration of a speaker model on the enrolled people: scores, threshold, and their display."""
