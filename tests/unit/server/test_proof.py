"""Senders of webhooks prove themselves in several ways; what is signed makes two deliveries the same one."""

from __future__ import annotations

import base64
import hmac

import pytest

from kubiya_worker.server.proof import TOLERANCE, proven

SECRET = "s3cret"
BODY = b'{"a": 1}'
NOW = 1_800_000_000


def hexed(signed: bytes, secret: bytes = SECRET.encode()) -> str:
    return hmac.new(secret, signed, "sha256").hexdigest()


def standard(secret: bytes, number: str = "m1", time: int = NOW, body: bytes = BODY) -> dict[str, str]:
    digest = hmac.new(secret, f"{number}.{time}.".encode() + body, "sha256").digest()
    shown = f"v1,AAAA v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": number, "webhook-timestamp": str(time), "webhook-signature": shown}


def timed(time: object, signed_time: object = None) -> dict[str, str]:
    signed = f"{time if signed_time is None else signed_time}.".encode() + BODY
    return {"x-webhook-timestamp": str(time), "x-webhook-signature": hexed(signed)}


@pytest.mark.parametrize("headers", [timed(NOW), standard(SECRET.encode())])
def test_a_signed_time_is_right_for_five_minutes(headers: dict[str, str]) -> None:
    proof = proven(SECRET, BODY, headers)
    assert proof is not None and proof.time == NOW
    assert not any(proof.is_late(NOW + away) for away in (-TOLERANCE, 0, TOLERANCE))
    assert all(proof.is_late(NOW + away) for away in (-TOLERANCE - 1, TOLERANCE + 1))


def test_a_standard_secret_is_base64_behind_its_prefix() -> None:
    secret = "whsec_" + base64.b64encode(b"thirty-two bytes of a real key..").decode()
    proof = proven(secret, BODY, standard(b"thirty-two bytes of a real key.."))
    assert proof is not None and proof.delivery == "m1" and "id:m1" in proof.keys
    assert proven("whsec_?", BODY, standard(b"whsec_?")) is not None  # it only looks like one


@pytest.mark.parametrize(
    "headers",
    [
        timed(NOW + 1, signed_time=NOW),
        timed("soon"),
        timed("1" * 20),
        timed("٣"),
        {**timed(NOW), "x-webhook-timestamp": ""},
        {"x-webhook-signature": timed(NOW)["x-webhook-signature"]},
        {**standard(SECRET.encode()), "webhook-timestamp": str(NOW + 1)},
        {**standard(SECRET.encode()), "webhook-id": "m2"},
        standard(SECRET.encode(), body=b"{}"),
        standard(b"other"),
        standard(SECRET.encode(), number=""),
        {"webhook-signature": "v1,"},
        {},
    ],
)
def test_what_is_changed_proves_nothing(headers: dict[str, str]) -> None:
    assert proven(SECRET, BODY, headers) is None


def test_one_signature_is_one_delivery_whatever_is_not_signed() -> None:
    forms = [
        {"x-webhook-signature": hexed(BODY)},
        {"x-webhook-signature": hexed(BODY).upper(), "x-github-delivery": "1"},
        {"x-hub-signature-256": f"sha256={hexed(BODY)}", "idempotency-key": "2"},
        {"x-gitlab-token": hexed(BODY)},
        {"x-webhook-signature": hexed(BODY), "x-webhook-timestamp": "0"},  # not signed, so it says nothing
    ]
    proofs = [proven(SECRET, BODY, headers) for headers in forms]
    assert {proof.keys[0] for proof in proofs if proof} == {f"signed:{hexed(BODY)}"} and all(proofs)
    assert all(proof is not None and proof.time is None for proof in proofs)


def test_a_bare_token_goes_by_the_number_of_the_sender() -> None:
    first = proven(SECRET, BODY, {"x-gitlab-token": SECRET, "x-gitlab-event-uuid": "u1"})
    other = proven(SECRET, BODY, {"x-gitlab-token": SECRET})
    assert first is not None and first.keys == ("id:u1",)
    assert other is not None and other.keys == (f"signed:{hexed(BODY)}",)
