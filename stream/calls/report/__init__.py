"""The report of a finished call or stream: its record, its timeline, its page."""
