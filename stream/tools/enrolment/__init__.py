"""Guided enrolment, and verification of recordings against profiles."""
