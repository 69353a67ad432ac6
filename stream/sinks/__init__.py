"""Event sinks: one module each, registered in the entry-point group `stream.sinks`."""
