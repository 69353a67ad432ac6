"""One error tree; a caller who catches `TonewatchError` catches all that tonewatch raises on purpose.

    TonewatchError
    ├── SettingsError            a key, value or file of the configuration is wrong
    ├── SourceError              a source of sound cannot be used
    │   ├── SourceNotFound       no such file, device or kind of source
    │   ├── AudioFormatError     not audio, damaged, empty, or not numbers
    │   ├── PortAudioMissing     the system library behind microphones is absent
    │   └── DeviceLost           a microphone went away in mid-stream          (recoverable)
    ├── RingOverrun              the reader came later than the ring remembers (recoverable)
    ├── ModelError               a model cannot be used
    │   ├── ModelNotFound        neither in the zoo, nor on disk, nor to be had from the hub
    │   ├── ModelFormatError     files are there, but they are not such a model
    │   └── InferenceError       a batch failed inside the model
    ├── SinkError                events cannot leave
    │   ├── SinkClosed           the reader of the output went away
    │   └── BrokerUnreachable    the MQTT broker does not answer               (recoverable)
    ├── ProfilesError            the file of known voices cannot be used, or what is to go into it
    │   └── ProfileNotFound      nobody is enrolled under that name
    ├── EnrolmentRefused         sound is not good enough to know somebody by
    ├── ListenError              the listener cannot listen
    └── CommandRefused           a command from outside is malformed, unknown or not allowed (recoverable)

Every message is one sentence a person can act on: what is wrong, and what to do. `recoverable` says whether the part
that raised it goes on by itself (reopening, reconnecting, skipping) or ends.
"""

from __future__ import annotations

from typing import ClassVar


class TonewatchError(Exception):
    """The root of the tree."""

    recoverable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class SettingsError(TonewatchError):
    """A key, value or file of the configuration is wrong."""

    exit_code: ClassVar[int] = 2


class SourceError(TonewatchError):
    """A source of sound cannot be used."""


class SourceNotFound(SourceError):
    """No such file, device or kind of source."""


class AudioFormatError(SourceError):
    """The bytes are not audio, are damaged, are empty, or are not numbers."""


class PortAudioMissing(SourceError):
    """The system library behind microphones is absent."""


class DeviceLost(SourceError):
    """A microphone went away in mid-stream; it is reopened with backoff."""

    recoverable: ClassVar[bool] = True


class RingOverrun(TonewatchError):
    """The samples asked for were overwritten before, or while, they were read."""

    recoverable: ClassVar[bool] = True


class ModelError(TonewatchError):
    """A model cannot be used."""


class ModelNotFound(ModelError):
    """The model is neither in the zoo, nor on disk, nor to be had from the hub."""


class ModelFormatError(ModelError):
    """Files are there, but they do not make such a model."""


class InferenceError(ModelError):
    """A batch failed inside the model."""


class ProfilesError(TonewatchError):
    """The file of known voices cannot be used, or what is to go into it."""


class ProfileNotFound(ProfilesError):
    """Nobody is enrolled under that name."""


class EnrolmentRefused(TonewatchError):
    """Sound is not good enough to know somebody by."""


class ListenError(TonewatchError):
    """The listener cannot listen: its port is taken, or its address is not this machine's."""


class SinkError(TonewatchError):
    """Events cannot leave."""


class SinkClosed(SinkError):
    """The reader of the output went away (a closed pipe)."""

    exit_code: ClassVar[int] = 141  # 128 + SIGPIPE, as a shell reports it


class BrokerUnreachable(SinkError):
    """The MQTT broker does not answer; it is tried again with backoff."""

    recoverable: ClassVar[bool] = True


class CommandRefused(TonewatchError):
    """A command from outside is malformed, unknown, not allowed, or cannot be carried out."""

    recoverable: ClassVar[bool] = True


def missing_extra(feature: str, *, library: str, extra: str) -> str:
    """Return the message for a feature whose optional dependency is not installed."""
    return f"{feature} needs {library}; run `pip install '.[{extra}]'` in a checkout of tonewatch"
