"""Assembly of a node from its settings, and its runs from start to exit code."""
