"""Exception tree; catching `TonewatchError` catches every error that tonewatch raises on purpose.

    TonewatchError
    ├── SettingsError            a key, value or file of the configuration is invalid
    ├── SourceError              an audio source cannot be used
    │   ├── SourceNotFound       no such file, device or source type
    │   ├── AudioFormatError     not audio, damaged, empty, or non-finite
    │   ├── PortAudioMissing     the PortAudio library is not installed
    │   └── DeviceLost           a microphone was disconnected                 (recoverable)
    ├── RingOverrun              frames were overwritten before they were read (recoverable)
    ├── ModelError               a model cannot be used
    │   ├── ModelNotFound        neither in the zoo, nor on disk, nor on the hub
    │   ├── ModelFormatError     files exist, but are not a model of this type
    │   └── InferenceError       a batch failed inside the model
    │       └── ClusterUnavailable   no replica of the model answers           (recoverable)
    ├── SinkError                events cannot be sent
    │   ├── SinkClosed           the reader closed the output
    │   └── BrokerUnreachable    the MQTT broker does not answer               (recoverable)
    ├── ProfilesError            the profile database or an import cannot be used
    │   ├── ProfilesDamaged      the profile database is damaged
    │   └── ProfileNotFound      no profile of that name
    ├── EnrolmentRefused         the audio does not suffice for an enrolment
    ├── ListenError              the listener cannot bind its address
    └── CommandRefused           a received command is malformed, unknown or not allowed (recoverable)

Every message says what is wrong and what to do. `recoverable` means that the component that raised the error continues
by itself (reopens, reconnects, skips) instead of ending.
"""

from __future__ import annotations

from typing import ClassVar


class TonewatchError(Exception):
    """Base class of all errors of tonewatch."""

    recoverable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class SettingsError(TonewatchError):
    """A key, value or file of the configuration is invalid."""

    exit_code: ClassVar[int] = 2


class SourceError(TonewatchError):
    """An audio source cannot be used."""


class SourceNotFound(SourceError):
    """No such file, device or source type."""


class AudioFormatError(SourceError):
    """The data is not audio, is damaged, is empty, or holds non-finite samples."""


class PortAudioMissing(SourceError):
    """The PortAudio library, needed for microphones, is not installed."""


class DeviceLost(SourceError):
    """A microphone was disconnected; it is reopened with backoff."""

    recoverable: ClassVar[bool] = True


class RingOverrun(TonewatchError):
    """The frames requested were overwritten before or while they were read."""

    recoverable: ClassVar[bool] = True


class ModelError(TonewatchError):
    """A model cannot be used."""


class ModelNotFound(ModelError):
    """The model is neither in the zoo, nor on disk, nor on the hub."""


class ModelFormatError(ModelError):
    """Files exist, but are not a model of this type."""


class InferenceError(ModelError):
    """A batch failed inside the model."""


class ClusterUnavailable(InferenceError):
    """No replica of the model answers; its windows fail until one does."""

    recoverable: ClassVar[bool] = True


class ProfilesError(TonewatchError):
    """The profile database or an import file cannot be used."""


class ProfilesDamaged(ProfilesError):
    """The profile database is damaged."""


class ProfileNotFound(ProfilesError):
    """There is no profile of that name."""


class EnrolmentRefused(TonewatchError):
    """The audio does not suffice for an enrolment."""


class ListenError(TonewatchError):
    """The listener cannot bind its address: the port is in use, or the address is not of this machine."""


class SinkError(TonewatchError):
    """Events cannot be sent."""


class SinkClosed(SinkError):
    """The reader closed the output (a closed pipe)."""

    exit_code: ClassVar[int] = 141  # 128 + SIGPIPE, as a shell reports it


class BrokerUnreachable(SinkError):
    """The MQTT broker does not answer; the connection is retried with backoff."""

    recoverable: ClassVar[bool] = True


class CommandRefused(TonewatchError):
    """A received command is malformed, unknown, not allowed, or cannot be executed."""

    recoverable: ClassVar[bool] = True


def missing_extra(feature: str, *, library: str, extra: str) -> str:
    """Return the message for a feature whose optional dependency is not installed."""
    return f"{feature} needs {library}; run `pip install '.[{extra}]'` in a checkout of tonewatch"
