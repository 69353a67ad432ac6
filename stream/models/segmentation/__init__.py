"""segmentation-3.0: which of up to three people speak in each frame. Card: SEGMENTATION.md; licence: LICENSE."""
