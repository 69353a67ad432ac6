"""Offline tools: evaluation, calibration, replay, report, benchmarks, guided enrolment."""
