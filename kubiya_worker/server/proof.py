"""This module checks how a webhook's sender proves that it has the secret, and says what makes its delivery one. Pure.

What is signed          headers
the body                X-Webhook-Signature (hex), X-Hub-Signature-256 (`sha256=` and hex), X-Gitlab-Token (hex)
time, body              X-Webhook-Signature over `{time}.{body}`, with X-Webhook-Timestamp
id, time, body          webhook-signature (`v1,` and base64) over `{id}.{time}.{body}`, webhook-id, webhook-timestamp
nothing                 X-Gitlab-Token with the secret itself, which is all that GitLab sends

Whoever has seen a request can send it again, with another delivery id too unless that is signed. So a signature
identifies a delivery as well as its id does.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

TOLERANCE: Final = 300  # seconds between the signed time and ours, in both directions
# Headers in which senders number their deliveries: a repeated delivery starts nothing again.
DELIVERY: Final = ("webhook-id", "x-github-delivery", "x-gitlab-event-uuid", "idempotency-key")
STANDARD_PREFIX: Final = "whsec_"  # secrets of https://www.standardwebhooks.com begin so, and the rest is base64


@dataclass(frozen=True)
class Proof:
    """A proof says what a delivery has shown; `keys` name it, and one that was seen before makes it a repetition."""

    keys: tuple[str, ...]
    delivery: str | None = None
    time: int | None = None  # seconds since the epoch, if signed

    def is_late(self, now: float) -> bool:
        """Return whether the signed time is too far from `now`."""
        return self.time is not None and abs(now - self.time) > TOLERANCE


def proven(secret: str, body: bytes, headers: Mapping[str, str]) -> Proof | None:
    """Return the proof of a request, the strongest first, or None if its sender has not shown the secret."""
    for read in (_standard, _timed, _signed, _token):
        proof = read(secret, body, headers)
        if proof is not None:
            return proof
    return None


def _standard(secret: str, body: bytes, headers: Mapping[str, str]) -> Proof | None:
    number, time = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    digest = hmac.new(standard_key(secret), f"{number}.{time}.".encode() + body, "sha256").digest()
    right = f"v1,{base64.b64encode(digest).decode()}"
    good = [_same(each, right) for each in headers.get("webhook-signature", "").split()]  # one for each secret in use
    return _proof(digest, headers, seconds(time)) if any(good) and number and seconds(time) is not None else None


def _timed(secret: str, body: bytes, headers: Mapping[str, str]) -> Proof | None:
    time = headers.get("x-webhook-timestamp", "")
    digest = hmac.new(secret.encode(), f"{time}.".encode() + body, "sha256").digest()
    good = _same(headers.get("x-webhook-signature", "").lower(), digest.hex())
    return _proof(digest, headers, seconds(time)) if good and seconds(time) is not None else None


def _signed(secret: str, body: bytes, headers: Mapping[str, str]) -> Proof | None:
    digest = hmac.new(secret.encode(), body, "sha256").digest()
    shown = [
        _same(headers.get("x-webhook-signature", "").lower(), digest.hex()),
        _same(headers.get("x-hub-signature-256", "").lower(), f"sha256={digest.hex()}"),
        _same(headers.get("x-gitlab-token", "").lower(), digest.hex()),
    ]
    return _proof(digest, headers) if any(shown) else None


def _token(secret: str, body: bytes, headers: Mapping[str, str]) -> Proof | None:
    """Accept the secret itself. Nothing is signed, so the sender's number alone names the delivery if it has one."""
    if not _same(headers.get("x-gitlab-token", ""), secret):
        return None
    proof = _proof(hmac.new(secret.encode(), body, "sha256").digest(), headers)
    return replace(proof, keys=proof.keys[-1:])


def _proof(digest: bytes, headers: Mapping[str, str], time: int | None = None) -> Proof:
    delivery = next((value[:200] for name in DELIVERY if (value := headers.get(name, ""))), None)
    return Proof((f"signed:{digest.hex()}", *([f"id:{delivery}"] if delivery else [])), delivery, time)


def _same(shown: str, right: str) -> bool:
    return hmac.compare_digest(shown.encode(), right.encode())


def seconds(text: str) -> int | None:
    """Return the seconds since the epoch that a header says; None for another text."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None


def standard_key(secret: str) -> bytes:
    """Return the key of a secret: what `whsec_` precedes is base64."""
    if secret.startswith(STANDARD_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(STANDARD_PREFIX), validate=True)
        except binascii.Error:
            pass  # a secret that only looks like one of those
    return secret.encode()
