"""Enrolment models that recognise tones."""

from __future__ import annotations

from stream.settings import Settings
from stream.tools.enrolment.enrolment import EnrolmentModels
from stream.types import Task
from tests.support.fakes import FakeDetector
from tests.support.tones import ToneModel


class ToneEnrolmentModels(EnrolmentModels):
    """A tone model and a detector by level."""

    def __init__(self) -> None:
        self.settings, self.model, self.detector = Settings(), ToneModel(Task.SPEAKER), FakeDetector()
        self.segmentation = None
