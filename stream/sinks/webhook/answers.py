"""What the answer of a receiver means for a request (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Literal

MAX_RETRY_AFTER_S = 3_600.0
"""A receiver that asks for a longer pause is asked again after this one."""

RETRIED = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
"""Client errors that ask for another attempt."""

UNAVAILABLE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
"""Server errors that say nothing about the request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one request.

    `failed`: to be sent again, at the earliest after `retry_after_s`; `stumbled`: the receiver failed with this very
    request, as opposed to an outage or an overload.
    """

    verdict: Literal["accepted", "refused", "failed"]
    reason: str = ""
    retry_after_s: float = 0.0
    stumbled: bool = False


def judge(status: int, *, retry_after: str = "", time_s: float = 0.0) -> Answer:
    """Judge a status code: 2xx is accepted, 5xx and requests for patience are repeated, all else is refused."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Answer("accepted")
    reason = f"{status} {_phrase(status)}".strip()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in RETRIED:
        stumbled = status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in UNAVAILABLE
        return Answer("failed", reason, retry_after_s=_pause_s(retry_after, time_s), stumbled=stumbled)
    if status < HTTPStatus.BAD_REQUEST:
        reason += ", redirects are not followed; use the final address"
    return Answer("refused", reason)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _pause_s(text: str, time_s: float) -> float:
    """Return the seconds that `Retry-After` asks for, given as a number or as a date; 0 if it is neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(0.0, (date - datetime.fromtimestamp(time_s, UTC)).total_seconds()), MAX_RETRY_AFTER_S)
