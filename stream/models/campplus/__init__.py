"""CAM++: the speaker model that ships inside the package. Card: SPEAKER.md; licence: LICENSE."""
