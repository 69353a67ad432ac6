"""Online clustering of local speakers, the peer of the tracker."""

from __future__ import annotations

import numpy as np
import pytest

from stream.demo import conversation
from stream.events import SpeakerBody, TurnBody
from stream.models.campplus.model import speaker
from stream.models.segmentation.model import overlap
from stream.settings import load
from stream.tools.evaluation.online_clustering import IncrementalClustering, LocalSpeakers, labelled, local_speakers
from stream.tools.evaluation.runner import read_samples
from stream.tracking.voice import Voice
from tests.tracking.speech import voice

FRAMES = 250


def window(number: int, *shares: tuple[float, int]) -> LocalSpeakers:
    """Return the local speakers of a window: the share of its end in which each is active, and the voice."""
    activity = np.zeros((FRAMES, 3), np.float32)
    for place, (share, _) in enumerate(shares):
        activity[FRAMES - round(share * FRAMES) :, place] = 0.9
    return LocalSpeakers((number + 10) * 8_000, activity, tuple(voice(own) for _, own in shares))


def test_two_of_one_window_are_never_one_voice() -> None:
    clustering = IncrementalClustering(enrolled=[], max_distance=0.6)
    assert clustering.assign(window(0, (1.0, 0))) == {0: "S1"}
    assert clustering.assign(window(1, (1.0, 0), (0.5, 0))) == {0: "S1", 1: "S2"}


def test_a_short_stranger_takes_the_nearest_free_voice_and_moves_none() -> None:
    clustering = IncrementalClustering(enrolled=[], max_distance=0.3)
    clustering.assign(window(0, (1.0, 0)))
    assert clustering.assign(window(1, (0.2, 4))) == {0: "S1"}
    assert clustering.assign(window(2, (1.0, 4))) == {0: "S2"}, "S1 has not moved"


def test_enrolled_voices_keep_their_names_and_do_not_move() -> None:
    ann = Voice(name="Ann", exemplars=[voice(0)], enrolled=True)
    bodies = labelled([window(0, (1.0, 0)), window(1, (1.0, 4)), window(2, (0.5, 0))], [ann], threshold=0.5)
    labels = [(body.speaker, body.enrolled) for body in bodies if isinstance(body, SpeakerBody)]
    assert labels == [("Ann", True), ("S1", False), ("Ann", True)]
    turns = [(body.speaker, body.start_s, body.end_s) for body in bodies if isinstance(body, TurnBody)]
    assert turns == [("Ann", 4.5, 5.0), ("S1", 5.0, 5.5), ("Ann", 5.5, 6.0)]


@pytest.mark.slow
def test_the_bundled_networks_tell_the_people_of_the_demo_apart() -> None:
    models = load(preset="compact").models
    audio = read_samples(conversation.AUDIO)[: 25 * 16_000]
    windows = list(local_speakers(audio, segmentation=overlap(models.overlap), speaker=speaker(models.speaker)))
    bodies = labelled(windows, [], threshold=0.35)
    spoken = {body.speaker for body in bodies if isinstance(body, TurnBody) and body.end_s - body.start_s > 1}
    assert len(spoken) >= 2
