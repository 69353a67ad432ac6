"""The settings: one frozen tree, read from layers, with error messages that name layer and key."""

from __future__ import annotations

from stream.settings.alerts import AlertRuleSettings, AlertsSettings
from stream.settings.apprise import AppriseSettings
from stream.settings.calls import CallsSettings
from stream.settings.dashboard import DashboardSettings
from stream.settings.loading import (
    DEFAULT_PRESET,
    ENVIRONMENT_PREFIX,
    assignments_layer,
    build,
    config_folder,
    load,
    presets,
    presets_with_speaker,
    set_key,
)
from stream.settings.mqtt import MqttSettings
from stream.settings.serve import ServeSettings
from stream.settings.service import ServiceSettings
from stream.settings.speakers import SpeakersSettings
from stream.settings.tree import (
    EmotionCalibrationSettings,
    EmotionSettings,
    GateSettings,
    ModelSettings,
    ModelsSettings,
    PoolSettings,
    Settings,
    SourceSettings,
    TurnsSettings,
)
from stream.settings.webhook import WebhookSettings

__all__ = [
    "DEFAULT_PRESET",
    "ENVIRONMENT_PREFIX",
    "AlertRuleSettings",
    "AlertsSettings",
    "AppriseSettings",
    "CallsSettings",
    "DashboardSettings",
    "EmotionCalibrationSettings",
    "EmotionSettings",
    "GateSettings",
    "ModelSettings",
    "ModelsSettings",
    "MqttSettings",
    "PoolSettings",
    "ServeSettings",
    "ServiceSettings",
    "Settings",
    "SourceSettings",
    "SpeakersSettings",
    "TurnsSettings",
    "WebhookSettings",
    "assignments_layer",
    "build",
    "config_folder",
    "load",
    "presets",
    "presets_with_speaker",
    "set_key",
]
