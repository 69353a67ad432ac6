"""Enrolled people: stored x-vectors, enrolment from audio and its quality checks, `enroll` and `reload`."""
