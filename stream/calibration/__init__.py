"""How well a model tells the enrolled people apart, and the calibration and threshold that follow from it."""
