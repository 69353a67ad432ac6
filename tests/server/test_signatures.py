"""Signatures of telephone systems, and networks."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from stream.server import signatures

SECRET = base64.b64encode(b"a client secret of some length").decode()
HEADERS = {
    "host": "calls.example.org",
    "x-api-key": "key-1",
    "audiohook-organization-id": "org",
    "audiohook-session-id": "session",
    "audiohook-correlation-id": "correlation",
}
NOW_S = 1_700_000_000


def signed(
    headers: dict[str, str], *, target: str = "/v1/audiohook", created: int = NOW_S, **more: str
) -> dict[str, str]:
    """Sign headers as a client does, after the draft of RFC 9421 that AudioHook uses."""
    names = " ".join(f'"{name}"' for name in more.get("names", " ".join(signatures.REQUIRED_COMPONENTS)).split())
    nonce = more.get("nonce", "VGhpcyBpcyBhIG5vbmNlLi4u")
    parameters = (
        f'({names});keyid="{more.get("keyid", "key-1")}";nonce="{nonce}";alg="hmac-sha256";'
        f"created={created};expires={created + 30}"
    )
    values = {"@request-target": target, "@authority": headers["host"]}
    lines = [f"{name}: {values.get(name[1:-1], headers.get(name[1:-1], ''))}" for name in names.split()]
    lines.append(f'"@signature-params": {parameters}')
    digest = hmac.new(base64.b64decode(SECRET), "\n".join(lines).encode(), hashlib.sha256).digest()
    return {
        **headers,
        "signature-input": f"sig1={parameters}",
        "signature": f"sig1=:{base64.b64encode(digest).decode()}:",
    }


def is_accepted(headers: dict[str, str], *, target: str = "/v1/audiohook", now_s: float = NOW_S + 1) -> bool:
    return signatures.GenesysSignatures(secret=SECRET).accept(headers, target=target, now_s=now_s)


def test_a_valid_genesys_signature_is_accepted() -> None:
    assert is_accepted(signed(HEADERS))


@pytest.mark.parametrize(
    "headers",
    [
        HEADERS,
        signed(HEADERS, target="/elsewhere"),
        signed(HEADERS, created=NOW_S - 3_600),
        signed(HEADERS, nonce="short"),
        signed(HEADERS, keyid="key-2"),
        signed(HEADERS, names="@request-target @authority x-api-key"),
        {**signed(HEADERS), "audiohook-session-id": "another"},
        {**signed(HEADERS), "signature": "sig1=:AAAA:"},
        {**signed(HEADERS), "signature": "sig2=:AAAA:"},
        {**signed(HEADERS), "signature-input": "sig1=()"},
        {**signed(HEADERS), "signature": "sig1=:?:"},
    ],
)
def test_an_invalid_genesys_signature_is_rejected(headers: dict[str, str]) -> None:
    assert not is_accepted(headers)


def test_a_signature_is_accepted_once() -> None:
    checker = signatures.GenesysSignatures(secret=SECRET)
    early = signed(HEADERS, created=NOW_S + signatures.MAX_SIGNATURE_AGE_S)  # from a clock that is ahead

    def accept(headers: dict[str, str], now_s: float) -> bool:
        return checker.accept(headers, target="/v1/audiohook", now_s=now_s)

    assert accept(early, NOW_S)
    assert not accept(early, NOW_S)
    assert not accept(early, NOW_S + 2 * signatures.MAX_SIGNATURE_AGE_S)  # the last moment before it expires
    assert accept(signed(HEADERS, nonce="QW5vdGhlciBub25jZS4uLi4u"), NOW_S)
    forged = {**signed(HEADERS, nonce="Rm9yZ2VkIG5vbmNlLi4uLi4u"), "signature": "sig1=:AAAA:"}
    assert not accept(forged, NOW_S)
    assert accept(signed(HEADERS, nonce="Rm9yZ2VkIG5vbmNlLi4uLi4u"), NOW_S)  # a forgery does not use up the nonce


def test_the_number_of_remembered_nonces_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "MAX_REMEMBERED_NONCES", 2)
    checker = signatures.GenesysSignatures(secret=SECRET)
    headers = [signed(HEADERS, nonce=f"nonce-number-{number:010}") for number in range(3)]
    accepted = [checker.accept(signed_headers, target="/v1/audiohook", now_s=NOW_S) for signed_headers in headers]
    assert accepted == [True, True, False]
    later = signed(HEADERS, created=NOW_S + 100, nonce="nonce-number-9999999999")
    assert checker.accept(later, target="/v1/audiohook", now_s=NOW_S + 100)


def test_a_twilio_signature_covers_the_url() -> None:
    """HMAC-SHA1 of the URL, base64, after Twilio's security page."""
    url = "wss://calls.example.org/v1/twilio"
    signature = base64.b64encode(hmac.new(b"token", url.encode(), hashlib.sha1).digest()).decode()
    assert signatures.is_signed_by_twilio(signature, url=url, key="token")
    assert signatures.is_signed_by_twilio(signature, url=f"{url}/", key="token")
    assert not signatures.is_signed_by_twilio(signature, url=f"{url}2", key="token")
    assert not signatures.is_signed_by_twilio(signature, url=url, key="another")
    assert not signatures.is_signed_by_twilio("", url=url, key="token")


def test_networks() -> None:
    assert signatures.is_within("10.1.2.3", ["10.0.0.0/8"])
    assert signatures.is_within("::ffff:10.1.2.3", ["10.0.0.0/8"])
    assert not signatures.is_within("11.1.2.3", ["10.0.0.0/8", "::1/128"])
    assert not signatures.is_within("somewhere", ["10.0.0.0/8"])
    with pytest.raises(ValueError, match="does not appear to be"):
        signatures.is_within("::1", ["everywhere"])
