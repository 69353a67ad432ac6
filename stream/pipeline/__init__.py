"""The live streams of a run, their processing, and the publishing of their events."""
