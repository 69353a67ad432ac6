"""`tonewatch run FILE --emotion emotion-loudness`: loud speech is angry, all other speech neutral."""

import numpy as np

from stream.types import SAMPLE_RATE_HZ, ModelInfo, Scores, Task, WindowSpec

LOUD_DBFS, WIDTH_DB = -20.0, 3.0


class LoudnessModel:
    info = ModelInfo(name="emotion-loudness", revision="1", task=Task.EMOTION, labels=("angry", "neutral"))

    def __init__(self, settings):
        length, hop = (round(seconds * SAMPLE_RATE_HZ) for seconds in (settings.window_s, settings.hop_s))
        self.spec = WindowSpec(length_samples=length, hop_samples=hop, minimum_samples=SAMPLE_RATE_HZ // 2)

    def infer(self, batch):  # stateless, called from worker threads; one result per window
        return [self._score(window) for window in batch]

    def _score(self, window):
        level_dbfs = 10 * np.log10(np.square(window.samples).mean() + 1e-12)
        angry = 1 / (1 + np.exp((LOUD_DBFS - level_dbfs) / WIDTH_DB))
        values = np.array([angry, 1 - angry], np.float32)
        return Scores(self.info.name, window.source_id, window.index, window.start_sample, window.end_sample, values)
