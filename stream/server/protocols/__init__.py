"""Telephony protocols and tonewatch's own, one module each."""
