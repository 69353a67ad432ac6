"""The commands of a running node, and their dispatch."""
