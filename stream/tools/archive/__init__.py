"""Recordings of an archive, processed on a cluster, one task a file."""
